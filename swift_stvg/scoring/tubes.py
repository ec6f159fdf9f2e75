"""Predicted tubes on native frames, from an answer on the grid or from a file that any system can write.

The file is one JSON object. Frames count from 0 in the whole video, both ends of the span are included, and boxes are
in pixels of the annotation. Frames of the span may lack a box; the scorer interpolates such boxes linearly:

    {"ID": {"span_frames": [50, 124], "boxes": {"50": [10.0, 20.0, 60.0, 90.0], "62": [11.0, 20.0, 61.0, 90.0]}}}

An entry may also have the form of HC-STVG's own script (`eval_hcvg.py`), with frames that count from 1:

    {"ID": {"st_frame": 51, "ed_frame": 125, "bbox": {"51": [10.0, 20.0, 60.0, 90.0]}}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.answers.format import BoxList
from swift_stvg.errors import DataError
from swift_stvg.geometry import IntArray, to_picture
from swift_stvg.records import MAX_COORDINATE, MAX_VIDEO_FRAMES, Truth, Tube
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.util.json_reading import PARSE_ERRORS, RepeatedKeys, json_integer, read_json


def answer_tube(span: tuple[int, int], boxes: BoxList | None, row_truth: RowTruth, sample: Truth) -> Tube:
    """Convert an answer to a row to a tube on the annotation's frames; see `tube_on`."""
    return tube_on(span, boxes, row_truth.scale_wh, row_truth.annotated, sample.clip, sample.size_wh)


def tube_on(
    span: tuple[int, int],
    boxes: BoxList | None,
    scale_wh: tuple[int, int],
    at: IntArray,
    clip: tuple[int, int],
    size_wh: tuple[int, int],
) -> Tube:
    """Convert an answer to a tube on native frames, which are numbered by the annotation or by the file.

    A native frame belongs to the nearest index, as everywhere on the timeline. So the span reaches half-way to the
    neighbours of its first and last index; at the ends of the grid it reaches the ends of the clip. A box belongs to
    the frame of its index, and is clipped to the picture.

    Args:
        span: closed span of indices; the first one is on the grid.
        boxes: in text coordinates; an inverted box counts as unreadable.
        scale_wh: extent of the text coordinates.
        at: (size,) frame of each index.
        clip: frames [first, end) that the model was shown.
        size_wh: size of the picture in pixels, for the tube's boxes.
    """
    last_index = len(at) - 1
    first, last = span[0], min(span[1], last_index)
    begin, end = clip
    begin = begin if first == 0 else min((at[first - 1] + at[first]) // 2 + 1, at[first])
    end = end - 1 if last == last_index else max((at[last] + at[last + 1]) // 2, at[last])
    span_frames = (int(begin), int(end))
    if boxes is None:
        return Tube(span_frames, np.empty(0, dtype=np.int64), np.empty((0, 4)))
    index, boxes_xyxy = boxes.first_of_each()
    inside = (index >= first) & (index <= last)
    index = index[inside]
    new_frame = np.diff(at[index], prepend=-1) > 0  # two indices may point at the same one
    return Tube(span_frames, at[index][new_frame], to_picture(boxes_xyxy[inside][new_frame], scale_wh, size_wh))


def read_tubes(path: Path) -> tuple[dict[str, Tube], dict[str, tuple[str, str]], list[str]]:
    """Read a file of tubes.

    Returns:
        The tubes by id. "unparsable" or "inconsistent" with a reason, by id, for entries that make no tube. The
        repeated ids; the last entry of a repeated id counts.

    Raises:
        DataError: the file is missing, is not JSON, or does not hold an object with ids.
    """
    content = read_json(path, keep_repeated=True)
    if not isinstance(content, dict) or not content:
        raise DataError(
            f"{path} must hold an object with at least one id, got {type(content).__name__} {content!r:.20}"
        )
    tubes: dict[str, Tube] = {}
    faults: dict[str, tuple[str, str]] = {}
    for name, entry in content.items():
        try:
            tube = _tube(entry)
        except PARSE_ERRORS as error:
            faults[name] = "unparsable", str(error) if type(error) is ValueError else repr(error)
            continue
        if tube.span_frames[0] > tube.span_frames[1]:
            faults[name] = "inconsistent", f"`span_frames` {list(tube.span_frames)} runs backwards"
        else:
            tubes[name] = tube
    return tubes, faults, content.repeated if isinstance(content, RepeatedKeys) else []


def _frame(key: str) -> int:
    """Read a frame number from a key: digits, and perhaps zeros after a point."""
    number, _, fraction = key.partition(".")
    if not (key.isascii() and number.removeprefix("-").isdigit()) or fraction.strip("0"):
        raise ValueError(f"{key!r} is not a frame number")
    return int(number)


def _tube(entry: Any) -> Tube:
    one_based = "span_frames" not in entry and "st_frame" in entry
    span = (entry["st_frame"], entry["ed_frame"]) if one_based else entry["span_frames"]
    first, last = (json_integer(frame) - one_based for frame in span)
    boxes = entry["bbox" if one_based else "boxes"]
    for part in (entry, boxes):
        if isinstance(part, RepeatedKeys):
            raise ValueError(f"the key {part.repeated[0]!r} is repeated")
    frames = np.fromiter(map(_frame, boxes), dtype=np.int64, count=len(boxes)) - one_based
    boxes_xyxy = np.array(list(boxes.values()), dtype=np.float64).reshape(-1, 4)
    if len(boxes_xyxy) != len(frames):
        raise ValueError("a box must hold four numbers")
    usable = np.all(np.abs(boxes_xyxy) <= MAX_COORDINATE, axis=1)  # false for NaN
    if not usable.all():
        wrong = int(np.flatnonzero(~usable)[0])
        raise ValueError(f"the box of frame {frames[wrong]} is {boxes_xyxy[wrong].tolist()}, which are not pixels")
    numbers = [first, last, int(frames.min(initial=0)), int(frames.max(initial=0))]
    if min(numbers) < 0 or max(numbers) > MAX_VIDEO_FRAMES:
        raise ValueError(f"frames must be numbers from 0 to {MAX_VIDEO_FRAMES}")
    steps = np.diff(frames)
    if not (steps > 0).all():
        order = np.argsort(frames)
        frames, boxes_xyxy = frames[order], boxes_xyxy[order]
        if not (np.diff(frames) > 0).all():
            raise ValueError("a frame has two boxes")
    return Tube((first, last), frames, boxes_xyxy)
