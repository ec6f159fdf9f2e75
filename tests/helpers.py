"""Builders that several test modules share."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.answers.format import AnswerFormat, BoxList
from swift_stvg.answers.styles import STYLE_CLASSES
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import COORDS, UNITS, Settings, style_fault
from swift_stvg.video.timeline import Timeline

EVERY_FORMAT = [
    AnswerFormat(think, unit, coords, boxes, style)
    for style, unit, coords, boxes, think in product(STYLE_CLASSES, UNITS, COORDS, (True, False), (True, False))
    if style != "ids"
    and not style_fault(style, unit, coords, boxes)
    and not (think and not (boxes and STYLE_CLASSES[style].think))
    and (boxes or coords == "pixel" or style == "fig8")
]
"""Every combination of style, unit, coordinates and lists; formats without boxes have one kind of coordinates.

Answers that name an object have tests of their own (test_named_objects.py).
"""


def grid(size: int = 10, interval_s: float = 0.5, unit: str = "frame") -> Timeline:
    """`size` samples of a 10 frames-per-second clip."""
    frames = (np.arange(size) * interval_s * 10).astype(np.int64)
    return Timeline(frames, frames / 10.0, 0.0, interval_s, unit, frames, size * interval_s)


def true_box(fmt: AnswerFormat) -> tuple[int, int, int, int]:
    """The box of `row_truth` in another format's coordinates."""
    unit = {"pixel": 20, "source": 40}.get(fmt.coords, 200)
    return unit, unit, 3 * unit, 3 * unit


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
        objects=tuple(_still(each) for each in ((0, 0, 10, 10), box)) if fmt.names_object else (),
        object=2 if fmt.names_object else None,
    )


def _still(box: tuple[int, int, int, int]) -> BoxList:
    return BoxList(np.arange(10), np.tile(np.array(box, dtype=np.float64), (10, 1)))


def boxes(first: int, last: int, box: str = "20, 20, 60, 60") -> str:
    """The text of a list with the same box for each index."""
    return ", ".join(f"{i}. [{box}]" for i in range(first, last + 1))


def answer(span: str, think: str, pred: str) -> str:
    """The text of an answer."""
    return f"<time> {span} </time> <think_bbox> {think} </think_bbox> <pred_bbox> {pred} </pred_bbox>"


def hcstvg_entry(line: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A line of stvg_jsonl in HC-STVG v1's form: name of the video, and its entry."""
    width, height = line["size_wh"]
    entry = {
        "bbox": [[x1, y1, x2 - x1, y2 - y1] for _, x1, y1, x2, y2 in line["tube"]],
        "st_frame": line["tube"][0][0] + 1,
        "img_num": line["n_frames"],
        "caption": line["sentence"],
        "width": width,
        "height": height,
    }
    return Path(line["video"]).name, entry


def stcat_entry(number: int, line: dict[str, Any]) -> dict[str, Any]:
    """A line of stvg_jsonl in STCAT's form for sentences of VidSTG."""
    first, end = line["span_frames"]
    boxes = [dict(zip(("xmin", "ymin", "xmax", "ymax"), row[1:], strict=True)) for row in line["tube"]]
    return {
        "id": number,
        "vid": Path(line["video"]).stem,
        "fps": line["fps"],
        "used_segment": {"begin_fid": 0, "end_fid": line["n_frames"] - 1},
        "width": line["size_wh"][0],
        "height": line["size_wh"][1],
        "ori_temp_gt": {"begin_fid": first, "end_fid": end},
        "frame_count": line["n_frames"],
        "temp_gt": {"begin_fid": first, "end_fid": end - 1},
        "target_category": "adult",
        "target_bboxs": boxes,
        "qtype": "declar",
        "sentence": {"description": line["sentence"], "type": "person", "target_id": 1},
    }
