"""Sources: what reads which dataset. Each gives `Sample` records; `load_rows` turns them into ms-swift rows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swift_stvg.errors import DataError, RowError, VideoError
from swift_stvg.records import Sample, VideoInfo, tube_in_span
from swift_stvg.rows.making import fit_notes, make_row
from swift_stvg.settings import Settings
from swift_stvg.sources import hcstvg, jsonl, vidstg
from swift_stvg.sources.files import DataRoot
from swift_stvg.sources.load_report import LoadReport
from swift_stvg.video.reader import Probes

__all__ = [
    "SOURCES",
    "LoadReport",
    "Source",
    "is_part",
    "load_rows",
    "load_samples",
    "make_rows",
    "parse_dataset",
    "probe_all",
]


@dataclass(frozen=True, slots=True)
class Source:
    """One dataset.

    Attributes:
        load: reads a split: (data root, dataset name, split, report) to samples.
        splits: the names of its splits; empty if a split is a file's path.
        open_splits: whether there may be others.
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


def parse_dataset(text: str) -> tuple[str, list[str], int | None]:
    """Dataset, splits and number of rows of what ms-swift's `--dataset` takes, `NAME:SPLIT/SPLIT#ROWS`.

    Raises:
        DataError: the dataset is unknown or the number is none.
    """
    name, _, rest = text.partition(":")
    source = SOURCES.get(name)
    rest, _, count = rest.rpartition("#") if "#" in rest else (rest, "", "")
    if not source:
        raise DataError(f"unknown dataset {name.partition('#')[0]!r}; the datasets are: {', '.join(SOURCES)}")
    if count and not (re.fullmatch("[0-9]{1,9}", count) and int(count)):
        raise DataError(f"{text}: after # comes a number of rows, above 0, got {count!r}")
    splits = [part.strip() for part in rest.split("/")] if source.splits else [rest]
    if splits == ["all"]:
        splits = [split for split in source.splits if not is_part(split)]
    return name, splits, int(count) if count else None


def is_part(split: str) -> bool:
    """Whether a split is a part of another one, as vidstg:test_declarative is."""
    return "_" in split


def load_samples(dataset: str, split: str, settings: Settings, report: LoadReport) -> list[Sample]:
    """Samples of one split, without opening a video.

    Raises:
        DataError: unknown name or subset, missing files, or, in strict mode, the first bad row.
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
    """A sample whose event keeps within the clip; the report counts those that were annotated beyond.

    Raises:
        RowError: what is left has no box.
    """
    (first, end), (low, high) = sample.span_frames, sample.clip
    if low <= first and end <= high:
        return sample
    span = max(first, low), min(end, high)
    frames, boxes_xyxy = tube_in_span(sample.tube_frames, sample.tube_xyxy, span)
    report.note(
        "events cut to their clip",
        f"frames [{first}, {end}) with {len(sample.tube_frames)} boxes, of which {len(frames)} are in the clip "
        f"[{low}, {high}), row {sample.id}",
    )
    return replace(sample, span_frames=span, tube_frames=frames, tube_xyxy=boxes_xyxy)


def load_rows(
    dataset: str, split: str, settings: Settings, *, strict: bool = False
) -> tuple[list[dict[str, Any]], LoadReport]:
    """ms-swift rows of one split, and what was dropped on the way.

    Raises:
        DataError: as `load_samples`, or no row is left.
    """
    report = LoadReport(f"{dataset}:{split}", strict)
    rows = make_rows(load_samples(dataset, split, settings, report), settings, report)
    if not rows:
        raise DataError(f"no usable row. {report.summary()}")
    return rows, report


def make_rows(
    samples: Sequence[Sample], settings: Settings, report: LoadReport, *, nominal: bool = False
) -> list[dict[str, Any]]:
    """ms-swift rows of those samples that can be used; the report counts the others.

    Args:
        samples: the annotations.
        settings: under which rows are made.
        report: what was dropped and noted so far.
        nominal: whether the annotations are believed, so that no video need be there.

    Raises:
        DataError: in strict mode, the first bad row.
    """
    videos = {} if nominal else probe_all({sample.video for sample in samples}, report.name, settings)
    rows = []
    for sample in samples:
        video = VideoInfo.nominal(sample) if nominal else videos[sample.video]
        try:
            if isinstance(video, VideoError):
                raise VideoError(video.reason, f"{video.detail}, row {sample.id}")
            rows.append(make_row(sample, video, settings))
            if not nominal:
                report.videos[sample.video] = video
                if video.aside:
                    report.note("rows of folders with files that are no pictures", f"{video.aside} in {video.path}")
            left_out = len(sample.tube_frames) - len(sample.usable_tube()[0])
            if left_out:
                report.note("events with boxes left out", f"{left_out} without area, row {sample.id}")
            for note in fit_notes(sample, video.at_rate(sample.annotated_fps)):
                report.note(*note)
        except (RowError, VideoError) as error:
            report.drop(error)
    report.kept = len(rows)
    return rows


def _kept_in(settings: Settings) -> Path | None:
    try:
        return Path(settings.cache_dir).expanduser() if settings.cache_dir else None
    except RuntimeError:  # a container's user may have no home
        return None


def probe_all(paths: set[Path], name: str, settings: Settings) -> dict[Path, VideoInfo | VideoError]:
    """What each video is, or why it cannot be read; a progress bar called `name` if there are many."""
    from tqdm import tqdm

    probes = Probes(_kept_in(settings))

    def try_probe(path: Path) -> VideoInfo | VideoError:
        try:
            return probes.get(path).at_rate(settings.folder_fps)
        except VideoError as error:
            return error

    ordered = sorted(paths)
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        found = pool.map(try_probe, ordered)
        progress = tqdm(found, total=len(ordered), desc=f"{name}: videos", unit="video", disable=len(ordered) < 200)
        return dict(zip(ordered, progress, strict=True))
