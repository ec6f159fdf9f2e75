"""Builders that several test modules share."""

from __future__ import annotations

import numpy as np

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from swift_stvg.video.timeline import Timeline


def grid(size: int = 10, interval_s: float = 0.5, unit: str = "frame") -> Timeline:
    """`size` samples of a 10 frames-per-second clip."""
    frames = (np.arange(size) * interval_s * 10).astype(np.int64)
    return Timeline(frames, frames / 10.0, 0.0, interval_s, unit, frames, size * interval_s)


def row_truth(
    span: tuple[int, int] = (2, 5),
    box: tuple[int, int, int, int] = (20, 20, 60, 60),
    *,
    gaps: tuple[int, ...] = (),
    fmt: AnswerFormat | None = None,
    floor: float | None = None,
    frames: str = "shared",
    row_id: str = "row",
) -> RowTruth:
    """A row of a 100 x 100 video whose object stands still."""
    fmt = fmt or AnswerFormat()
    index = np.array([i for i in range(span[0], span[1] + 1) if i not in gaps and fmt.boxes], dtype=np.int64)
    return RowTruth(
        id=row_id,
        sentence="the red square moves left.",
        dataset="made",
        split="up",
        query="declarative",
        category=None,
        settings=Settings(
            think=fmt.think,
            index_unit=fmt.unit,
            coords=fmt.coords,
            spatial_floor=floor,
            boxes=fmt.boxes,
            style=fmt.style,
            spatial_frames=frames,
        ),
        size_wh=(100, 100),
        source_wh=(200, 200),
        timeline=grid(unit=fmt.unit),
        annotated=grid(unit=fmt.unit).index_frames,
        span=span,
        index=index,
        boxes_xyxy=np.tile(np.array(box, dtype=np.float64), (len(index), 1)),
    )


def boxes(first: int, last: int, box: str = "20, 20, 60, 60") -> str:
    """The text of a list with the same box for each index."""
    return ", ".join(f"{i}. [{box}]" for i in range(first, last + 1))


def answer(span: str, think: str, pred: str) -> str:
    """The text of an answer."""
    return f"<time> {span} </time> <think_bbox> {think} </think_bbox> <pred_bbox> {pred} </pred_bbox>"
