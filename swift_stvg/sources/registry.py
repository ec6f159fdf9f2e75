"""The datasets by name, and the module that reads each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from swift_stvg.errors import DataError, RowError
from swift_stvg.records import Sample, tube_in_span
from swift_stvg.settings import Settings
from swift_stvg.sources import hcstvg, jsonl, vidstg
from swift_stvg.sources.files import DataRoot
from swift_stvg.sources.load_report import LoadReport


@dataclass(frozen=True, slots=True)
class Source:
    """One dataset.

    Attributes:
        load: reads a split; it takes the data root, the dataset's name, the split and the report, and returns samples.
        splits: names of the splits; empty if a split is the path of a file.
        open_splits: whether other splits may exist.
    """

    load: Callable[[DataRoot, str, str, LoadReport], list[Sample]]
    splits: tuple[str, ...]
    open_splits: bool = False


SOURCES = {
    "hcstvg_v1": Source(hcstvg.load, ("train", "test")),
    "hcstvg_v2": Source(hcstvg.load, ("train", "val")),
    "vidstg": Source(vidstg.load, ("train", "val", "test", "test_declarative", "test_interrogative")),
    "stvg_jsonl": Source(jsonl.load, (), open_splits=True),
    "stvg_synthetic": Source(jsonl.load_synthetic, ("train", "val", "test"), open_splits=True),
}
"""The datasets by name."""


def parse_dataset(text: str) -> tuple[str, list[str], int | None]:
    """Parse a value of ms-swift's `--dataset`, `NAME:SPLIT/SPLIT#ROWS`, to dataset, splits and number of rows.

    Raises:
        DataError: the dataset is unknown, or the number of rows is not a positive number.
    """
    name, _, rest = text.partition(":")
    source = SOURCES.get(name)
    rest, _, count = rest.rpartition("#") if "#" in rest else (rest, "", "")
    if not source:
        raise DataError(f"unknown dataset {name.partition('#')[0]!r}; the datasets are: {', '.join(SOURCES)}")
    if count and not (re.fullmatch("[0-9]{1,9}", count) and int(count)):
        raise DataError(f"{text}: the number of rows after # must be a whole number above 0, got {count!r}")
    splits = [part.strip() for part in rest.split("/")] if source.splits else [rest]
    if splits == ["all"]:
        splits = [split for split in source.splits if not is_part(split)]
    return name, splits, int(count) if count else None


def is_part(split: str) -> bool:
    """Whether a split is a part of another split, as vidstg:test_declarative is a part of vidstg:test."""
    return "_" in split


def load_samples(dataset: str, split: str, settings: Settings, report: LoadReport) -> list[Sample]:
    """Read the samples of one split, without opening a video.

    Raises:
        DataError: the dataset or the split is unknown, files are missing, or, in strict mode, a row is bad.
    """
    if dataset not in SOURCES:
        raise DataError(f"unknown dataset {dataset!r}; the datasets are: {', '.join(SOURCES)}")
    source = SOURCES[dataset]
    if not source.open_splits and split not in source.splits:
        raise DataError(f"{dataset} has no subset {split!r}; its subsets are: {', '.join(source.splits)}")
    found = source.load(DataRoot(settings.root, settings.outside), dataset, split, report)
    kept = []
    for sample in found:
        try:
            kept.append(_within_clip(sample, report))
        except RowError as error:
            report.drop(error)
    return kept


def _within_clip(sample: Sample, report: LoadReport) -> Sample:
    """Cut the event of a sample to its clip; the report counts the events that were cut.

    Raises:
        RowError: the rest of the event has no box.
    """
    (first, end), (low, high) = sample.span_frames, sample.clip
    if low <= first and end <= high:
        return sample
    span = max(first, low), min(end, high)
    frames, boxes_xyxy = tube_in_span(sample.tube_frames, sample.tube_xyxy, span)
    report.note(
        "events cut to their clip",
        f"frames [{first}, {end}) with {len(sample.tube_frames)} boxes; {len(frames)} boxes are in the clip "
        f"[{low}, {high}), row {sample.id}",
    )
    return replace(sample, span_frames=span, tube_frames=frames, tube_xyxy=boxes_xyxy)
