"""`swift-stvg tiny`: make a small random model."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from swift_stvg.commands.shared import add_config, read_config
from swift_stvg.synthetic.tiny import TinyConfig, build


def add_options(tiny: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    tiny.add_argument("out", type=Path, help="folder of the model, new or empty")
    add_config(tiny, TinyConfig, *(f.name for f in fields(TinyConfig)))
    tiny.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the model."""
    count = build(args.out, read_config(TinyConfig, args))
    print(f"{args.out}: random {args.architecture}, {count:,} parameters")
    return 0
