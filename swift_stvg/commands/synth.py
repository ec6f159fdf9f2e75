"""`swift-stvg synth`: a synthetic dataset of moving shapes."""

from __future__ import annotations

import argparse
from pathlib import Path

from swift_stvg.commands.shared import add_config, read_config
from swift_stvg.synthetic.clips import SynthConfig, generate


def add_options(synth: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    synth.add_argument("out", type=Path, help="a folder; call it stvg_synthetic and set STVG_DATA_ROOT to its parent")
    synth.add_argument(
        "--split",
        dest="splits",
        nargs="+",
        type=_split,
        metavar="NAME=CLIPS[@SCALE[:SCALE]]",
        default=[(name, count, (1.0, 1.0)) for name, count in (("train", 1000), ("val", 100), ("test", 200))],
        help="splits and their numbers of clips (default: train=1000 val=100 test=200); with SCALE the annotated boxes "
        "are drawn too tight (0.7), too loose (1.3) or, for each clip anew, something between two (0.5:0.9)",
    )
    add_config(synth, SynthConfig, "difficulty", "size_wh", "duration_s", "fps", "sentences_per_clip", "seed")
    synth.add_argument(
        "--objects",
        type=int,
        nargs=2,
        metavar=("FEWEST", "MOST"),
        help="minimum and maximum number of things in a clip (default: from the difficulty)",
    )
    synth.add_argument(
        "--background",
        type=int,
        nargs=2,
        metavar=("DARKEST", "LIGHTEST"),
        help="gray of backgrounds, 0 to 255, plain or with faint waves (default: the difficulty's)",
    )
    synth.add_argument(
        "--sides",
        type=float,
        nargs=2,
        metavar=("SMALLEST", "LARGEST"),
        help="sides of things, in units of the frame's shorter side, 0.1 to 0.6 (default: the difficulty's)",
    )
    synth.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the clips and their annotations."""
    generate(
        args.out,
        {name: count for name, count, _ in args.splits},
        read_config(SynthConfig, args),
        label_scale={name: scale for name, _, scale in args.splits},
    )
    return 0


def _split(text: str) -> tuple[str, int, tuple[float, float]]:
    name, _, rest = text.partition("=")
    count, _, scale = rest.partition("@")
    low, _, high = scale.partition(":")
    try:
        if not name:
            raise ValueError("no name")
        return name, int(count), (float(low or 1.0), float(high or low or 1.0))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=CLIPS, NAME=CLIPS@SCALE or NAME=CLIPS@SCALE:SCALE, such as train=1000"
        ) from None
