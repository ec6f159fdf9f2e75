"""`swift-stvg synth`: a synthetic dataset of moving shapes."""

from __future__ import annotations

import argparse
from pathlib import Path

from swift_stvg.commands.shared import add_config, check_writable, read_config
from swift_stvg.synthetic.clips import SynthConfig, generate
from swift_stvg.synthetic.tracks import write_tracks
from swift_stvg.util.output_folder import make_folder


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
        help="splits and their numbers of clips (default: train=1000 val=100 test=200); SCALE changes the annotated "
        "boxes: too tight (0.7), too loose (1.3), or a random scale for each clip (0.5:0.9)",
    )
    add_config(synth, SynthConfig, "difficulty", "size_wh", "duration_s", "fps", "sentences_per_clip", "seed")
    synth.add_argument(
        "--objects",
        type=int,
        nargs=2,
        metavar=("FEWEST", "MOST"),
        help="minimum and maximum number of objects in a clip (default: from the difficulty)",
    )
    synth.add_argument(
        "--background",
        type=int,
        nargs=2,
        metavar=("DARKEST", "LIGHTEST"),
        help="darkest and lightest gray of backgrounds, 0 to 255 (default: from the difficulty)",
    )
    synth.add_argument(
        "--sides",
        type=float,
        nargs=2,
        metavar=("SMALLEST", "LARGEST"),
        help="smallest and largest side of an object, as a share of the frame's shorter side, 0.1 to 0.6 (default: "
        "from the difficulty)",
    )
    synth.add_argument(
        "--tracks",
        type=Path,
        metavar="FILE.json",
        help="also write the tracks of all objects, for STVG_PROPOSALS and answers that name an object",
    )
    synth.add_argument(
        "--track_noise",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="error of the tracks' boxes, as a share of their sides (default: 0)",
    )
    synth.add_argument(
        "--track_missing",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the objects without a track (default: 0)",
    )
    synth.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the clips and their annotations."""
    splits, config = {name: count for name, count, _ in args.splits}, read_config(SynthConfig, args)
    make_folder(args.out)  # the tracks may lie in it or beside it
    check_writable(args.tracks)
    generate(
        args.out,
        splits,
        config,
        label_scale={name: scale for name, _, scale in args.splits},
    )
    if args.tracks is not None:
        write_tracks(args.tracks, splits, config, noise=args.track_noise, missing=args.track_missing)
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
