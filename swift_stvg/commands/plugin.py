"""`swift-stvg plugin`: print the path of the plugin file."""

from __future__ import annotations

import argparse
from pathlib import Path

import swift_stvg


def add_options(plugin: argparse.ArgumentParser) -> None:
    """Set the function that runs; the command has no options."""
    plugin.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the path."""
    print(Path(swift_stvg.__file__).parent / "plugin/swift_stvg_plugin.py")
    return 0
