"""What several subcommands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from swift_stvg.errors import DataError, RowError
from swift_stvg.records import Sample
from swift_stvg.report.text.blocks import REPORT_FORMATS
from swift_stvg.rewards.functions import check_rewards
from swift_stvg.scoring.score import GroundTruth
from swift_stvg.settings import Settings
from swift_stvg.sources.loading import LoadReport, load_samples
from swift_stvg.util.writing import write_text_atomic


def add_delivery(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how and where a report goes."""
    parser.add_argument("--format", choices=REPORT_FORMATS, default="table", help="default: table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the report there instead of printing it")


def deliver(text: str, out: Path | None) -> None:
    """Write a report to the file that was asked for, or print it.

    Raises:
        DataError: the file cannot be written.
    """
    if out:
        write_text_atomic(out, text)
    else:
        print(text, end="")


def check_writable(*paths: Path | None) -> None:
    """Refuse files that cannot be written because of where they are said to be.

    Raises:
        DataError: there is one.
    """
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise DataError(f"{path} cannot be written: there is no folder {path.absolute().parent}")
        if path is not None and path.is_dir():
            raise DataError(f"{path} cannot be written: it is a folder")


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which rewards make the total."""
    parser.add_argument("--reward_funcs", nargs="+", metavar="NAME", help="default: the paper's five")
    parser.add_argument("--reward_weights", nargs="+", type=float, metavar="W", help="one for each of --reward_funcs")


def read_weights(args: argparse.Namespace) -> dict[str, float] | None:
    """Weight of each reward as asked for; None for the usual ones.

    Raises:
        DataError: a reward is unknown, or names and weights do not go together.
    """
    names, weights = args.reward_funcs, args.reward_weights
    if names is None and weights is None:
        return None
    if names is None or (weights is not None and len(names) != len(weights)):
        raise DataError("--reward_weights needs one number for each of --reward_funcs")
    if len(set(names)) < len(names) or not all(math.isfinite(weight) for weight in weights or ()):
        raise DataError("each of --reward_funcs may be given once, and --reward_weights must be finite")
    check_rewards(names)
    return dict(zip(names, weights or [1.0] * len(names), strict=True))


def read_dataset(name: str, settings: Settings) -> tuple[list[Sample], GroundTruth]:
    """The annotations of NAME:SUBSET, and the same as a denominator.

    Raises:
        DataError: as `load_samples`, or none can be scored.
    """
    dataset, _, split = name.partition(":")
    report = LoadReport(name)
    samples = load_samples(dataset, split, settings, report)
    if not all(sample.time_only for sample in samples):
        for sample in samples:
            if sample.time_only:
                report.drop(RowError("no usable box", f"none annotated, row {sample.id}"))
        samples = [sample for sample in samples if not sample.time_only]
    return samples, GroundTruth.of_samples(name, samples, report)


def names_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """What reads an option's A,B of known names."""

    def read(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; known are {', '.join(known)}")
        return list(dict.fromkeys(names))

    return read


def add_config(parser: argparse.ArgumentParser, config: type[Any], *names: str) -> None:
    """Add an option for each named field of a configuration class, with its default."""
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


def read_config(config: type[Any], args: argparse.Namespace) -> Any:
    """The configuration that the options of `add_config` ask for."""
    given = {f.name: getattr(args, f.name) for f in fields(config) if hasattr(args, f.name)}
    return config(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
