"""The plugin as a file: `--external_plugins "$(swift-stvg plugin)"`, for where its name is not understood.

It has a folder of its own, since ms-swift puts a plugin's folder first on the path, where other modules would be hidden
by ours that have the same name.
"""

import swift_stvg

swift_stvg.register()
