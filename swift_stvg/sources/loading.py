"""Rows for ms-swift from the samples of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift_stvg.errors import DataError, RowError, VideoError
from swift_stvg.records import Sample, VideoInfo
from swift_stvg.rows.making import fit_notes, make_row
from swift_stvg.settings import Settings
from swift_stvg.sources.load_report import LoadReport
from swift_stvg.sources.proposals import load_proposals
from swift_stvg.sources.registry import load_samples
from swift_stvg.video.probing import probe_all


def load_rows(
    dataset: str, split: str, settings: Settings, *, strict: bool = False
) -> tuple[list[dict[str, Any]], LoadReport]:
    """The ms-swift rows of one split, and the report of dropped rows.

    Raises:
        DataError: no row is left, or an error of `load_samples`.
    """
    report = LoadReport(f"{dataset}:{split}", strict)
    rows = make_rows(load_samples(dataset, split, settings, report), settings, report)
    if not rows:
        raise DataError(f"no usable row. {report.summary()}")
    return rows, report


def make_rows(
    samples: Sequence[Sample], settings: Settings, report: LoadReport, *, nominal: bool = False
) -> list[dict[str, Any]]:
    """The ms-swift rows of all usable samples; the report counts the others.

    Args:
        samples: the annotations.
        settings: the settings of the rows.
        report: counts dropped rows and notes.
        nominal: whether to trust the annotations, so that videos need not exist.

    Raises:
        DataError: a row is bad in strict mode, or the tracks cannot be read (`load_proposals`).
    """
    videos = {} if nominal else probe_all({sample.video for sample in samples}, report.name, settings)
    proposals = load_proposals(settings)
    rows = []
    for sample in samples:
        video = VideoInfo.nominal(sample) if nominal else videos[sample.video]
        try:
            if isinstance(video, VideoError):
                raise VideoError(video.reason, f"{video.detail}, row {sample.id}")
            rows.append(make_row(sample, video, settings, proposals.of(sample.video)))
            if not nominal:
                report.videos[sample.video] = video
                if video.aside:
                    report.note("rows of folders with files that are not pictures", f"{video.aside} in {video.path}")
            left_out = len(sample.tube_frames) - len(sample.usable_tube()[0])
            if left_out:
                report.note("events with boxes left out", f"{left_out} without area, row {sample.id}")
            for note in fit_notes(sample, video.at_rate(sample.annotated_fps)):
                report.note(*note)
        except (RowError, VideoError) as error:
            report.drop(error)
    report.kept = len(rows)
    return rows
