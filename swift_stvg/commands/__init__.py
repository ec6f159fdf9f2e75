"""The larger subcommands of `swift-stvg`, one a module."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from swift_stvg.jsonfile import write_whole
from swift_stvg.records import Sample
from swift_stvg.scoring import GroundTruth
from swift_stvg.settings import Settings
from swift_stvg.sources import LoadReport, load_samples


def deliver(text: str, out: Path | None) -> None:
    """Write a report to the file that was asked for, or print it.

    Raises:
        DataError: the file cannot be written.
    """
    if out:
        write_whole(out, text)
    else:
        print(text, end="")


def read_dataset(name: str, settings: Settings) -> tuple[list[Sample], GroundTruth]:
    """The annotations of NAME:SUBSET, and the same as a denominator.

    Raises:
        DataError: as `load_samples`, or none can be scored.
    """
    dataset, _, split = name.partition(":")
    report = LoadReport(name)
    samples = load_samples(dataset, split, settings, report)
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
