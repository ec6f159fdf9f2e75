"""`swift-stvg`: the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from swift_stvg import __version__
from swift_stvg.answers import UNITS
from swift_stvg.errors import DataError, StvgError
from swift_stvg.jsonfile import write_whole
from swift_stvg.metrics import THRESHOLDS
from swift_stvg.results import Answers, Tubes, read_predictions
from swift_stvg.scoring import ALL_PROTOCOLS, FACETS, GroundTruth, score
from swift_stvg.settings import Settings, as_text, describe_settings
from swift_stvg.sources import LoadReport, load_samples
from swift_stvg.synth import SynthConfig, generate
from swift_stvg.tables import FORMATS, render, with_published
from swift_stvg.tiny import TinyConfig, build


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0, or 1 after an error said in one line."""
    args = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except StvgError as error:
        print(f"swift-stvg: error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="swift-stvg", description="Spatio-temporal video grounding for ms-swift.")
    parser.add_argument("--version", action="version", version=f"swift-stvg {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    plugin = commands.add_parser("plugin", help="print the path that --external_plugins takes from ms-swift 4.5.3 on")
    plugin.set_defaults(run=_plugin)

    settings = commands.add_parser("settings", help="list the STVG_* settings with their values here, and check them")
    settings.set_defaults(run=_settings)

    synth = commands.add_parser("synth", help="render a synthetic dataset of moving shapes")
    synth.add_argument("out", type=Path, help="a folder; call it stvg_synthetic and set STVG_DATA_ROOT to its parent")
    synth.add_argument(
        "--split",
        dest="splits",
        nargs="+",
        type=_split,
        metavar="NAME=CLIPS[@SCALE]",
        default=[("train", 1000, 1.0), ("val", 100, 1.0), ("test", 200, 1.0)],
        help="splits and their numbers of clips (default: train=1000 val=100 test=200); with SCALE the annotated boxes "
        "are drawn too tight (0.7) or too loose (1.3)",
    )
    _options(synth, SynthConfig, "difficulty", "size_wh", "duration_s", "fps", "sentences_per_clip", "seed")
    synth.set_defaults(run=_synth)

    tiny = commands.add_parser("tiny", help="write a random Qwen2.5-VL of about a million parameters")
    tiny.add_argument("out", type=Path, help="a new folder")
    _options(tiny, TinyConfig, *(f.name for f in fields(TinyConfig)))
    tiny.set_defaults(run=_tiny)

    _score_parser(commands.add_parser("score", help="metrics of predictions under the protocols of published tables"))
    return parser


def _score_parser(score: argparse.ArgumentParser) -> None:
    add = score.add_argument
    add(
        "results",
        type=Path,
        nargs="*",
        help=".jsonl of `swift infer`, or .json with tubes; later ones against the first",
    )
    add(
        "--dataset",
        metavar="NAME:SUBSET",
        help="ground truth from annotation files below STVG_DATA_ROOT, without videos",
    )
    add("--oracle", metavar="NAME:SUBSET", help="score the ground truth itself as an answer: the ceiling of the format")
    add("--protocol", nargs="+", default=[], choices=ALL_PROTOCOLS, help="default: those that apply")
    add("--by", nargs="*", default=["query"], choices=FACETS, help="break figures down (default: query)")
    add("--thresholds", nargs="+", type=_share, default=THRESHOLDS, metavar="R", help="of tIoU@R and vIoU@R")
    add("--partial", action="store_true", help="score what can be read of inconsistent answers, which else count 0")
    add("--no-interpolation", action="store_true", help="frames of a span without a box count 0")
    add("--compare-to", choices=["published"], help="print the tables of the paper beside ours")
    add("--format", choices=FORMATS, default="table", help="default: table")
    add("--out", type=Path, metavar="FILE", help="write the report there instead of printing it")
    add("--failures", type=Path, metavar="FILE", help="write all that counts 0 or was set aside there, one JSON a line")
    score.set_defaults(run=_score)


def _options(parser: argparse.ArgumentParser, config: type[Any], *names: str) -> None:
    """An option for each named field of a configuration class, with its default."""
    defaults = config()
    for name in names:
        default = getattr(defaults, name)
        pair = isinstance(default, tuple)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default[0]) if pair else type(default),
            nargs=2 if pair else None,
            default=default,
            help=f"default: {default}",
        )


def _configured(config: type[Any], args: argparse.Namespace) -> Any:
    given = {f.name: getattr(args, f.name) for f in fields(config) if hasattr(args, f.name)}
    return config(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def _split(text: str) -> tuple[str, int, float]:
    name, _, rest = text.partition("=")
    count, _, scale = rest.partition("@")
    if not name or not count.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=CLIPS or NAME=CLIPS@SCALE, such as train=1000")
    return name, int(count), float(scale or 1.0)


def _plugin(args: argparse.Namespace) -> int:
    print(Path(__file__).with_name("plugin.py"))
    return 0


def _settings(args: argparse.Namespace) -> int:
    here = Settings.from_env()
    for (name, default, meaning), setting in zip(describe_settings(), fields(Settings), strict=True):
        print(f"{name}={as_text(getattr(here, setting.name))}\n    {meaning} (default: {default})")
    return 0


def _synth(args: argparse.Namespace) -> int:
    generate(
        args.out,
        {name: count for name, count, _ in args.splits},
        _configured(SynthConfig, args),
        label_scale={name: scale for name, _, scale in args.splits},
    )
    return 0


def _tiny(args: argparse.Namespace) -> int:
    count = build(args.out, _configured(TinyConfig, args))
    print(f"{args.out}: random Qwen2.5-VL, {count:,} parameters")
    return 0


def _score(args: argparse.Namespace) -> int:
    if bool(args.results) == bool(args.oracle):
        raise DataError("give either result files or --oracle NAME:SUBSET")
    settings = Settings.from_env()
    systems: list[Answers | Tubes] = [read_predictions(path) for path in args.results]
    name = args.oracle or args.dataset
    if name:
        dataset, _, split = name.partition(":")
        report = LoadReport(name)
        truth = GroundTruth.of_samples(name, load_samples(dataset, split, settings, report), report)
        if args.oracle:
            units = (replace(settings, think=False, index_unit=unit) for unit in UNITS)
            systems = [Answers.oracle(truth.samples or [], unit) for unit in units]
    else:
        answers = [system for system in systems if isinstance(system, Answers)]
        if len(answers) < len(systems):
            raise DataError("tubes need a ground truth to be scored against: give --dataset NAME:SUBSET")
        truth = GroundTruth.of_rows(answers)
    report_, scored = score(
        systems,
        truth,
        protocols=args.protocol,
        by=args.by,
        thresholds=args.thresholds,
        partial=args.partial,
        interpolate=not args.no_interpolation,
    )
    if args.compare_to:
        report_ = with_published(report_)
    if args.failures:
        write_whole(args.failures, "".join(s.failures() for s in scored))
    text = render(report_, args.format)
    if args.out:
        write_whole(args.out, text)
    else:
        print(text, end="")
    return 0


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not in [0, 1)")
    return value


if __name__ == "__main__":
    sys.exit(main())
