"""The plugin as a file, for ms-swift from 4.5.3 on: `--external_plugins "$(swift-stvg plugin)"`."""

import swift_stvg

swift_stvg.register()
