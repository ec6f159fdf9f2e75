"""`swift-stvg plugin`: where the plugin lies as a file."""

from __future__ import annotations

import argparse
from pathlib import Path

import swift_stvg


def add_options(plugin: argparse.ArgumentParser) -> None:
    """Say what runs; there are no options."""
    plugin.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the path."""
    print(Path(swift_stvg.__file__).parent / "plugin/swift_stvg_plugin.py")
    return 0
