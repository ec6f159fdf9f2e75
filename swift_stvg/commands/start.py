"""`swift-stvg start`: the small trained model that comes with this package."""

from __future__ import annotations

import argparse

from swift_stvg.start import environment, folder


def add_options(start: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    start.add_argument("--settings", action="store_true", help="print the settings of its training instead")
    start.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the folder, or the settings."""
    print(" ".join(f"{name}={text}" for name, text in environment().items()) if args.settings else folder())
    return 0
