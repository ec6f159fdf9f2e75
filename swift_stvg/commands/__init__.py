"""The larger subcommands of `swift-stvg`, one a module."""
