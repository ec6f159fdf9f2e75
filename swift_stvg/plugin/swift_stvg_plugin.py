"""The plugin as a file: `--external_plugins "$(swift-stvg plugin)"`, for an ms-swift that does not accept its name.

ms-swift puts the folder of a plugin first on the module path. This file has a folder of its own, so that no module of
this package hides another module of the same name.
"""

import swift_stvg

swift_stvg.register()
