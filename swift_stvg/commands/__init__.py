"""The subcommands of `swift-stvg`: one module each, with `add_options`, which names what runs."""
