"""The subcommands of `swift-stvg`. Each has a module with `add_options`, which also sets the function that runs."""
