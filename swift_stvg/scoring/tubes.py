"""Predicted tubes on native frames: from an answer on the grid, or from a file that any system can write.

The file is one JSON object, with frames counted from 0 in the whole video, the span's ends both included, and boxes in
pixels of the annotation, in every frame or in some (those between are interpolated linearly when scored):

    {"ID": {"span_frames": [50, 124], "boxes": {"50": [10.0, 20.0, 60.0, 90.0], "62": [11.0, 20.0, 61.0, 90.0]}}}

An entry may also be as HC-STVG's own script (`eval_hcvg.py`) reads it, with frames counted from 1:

    {"ID": {"st_frame": 51, "ed_frame": 125, "bbox": {"51": [10.0, 20.0, 60.0, 90.0]}}}
"""

from __future__ import annotations

from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from swift_stvg.answers.format import BoxList
from swift_stvg.errors import DataError
from swift_stvg.geometry import IntArray, to_picture
from swift_stvg.records import MAX_COORDINATE, MAX_VIDEO_FRAMES, Truth, Tube
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.util.json_reading import PARSE_ERRORS, RepeatedKeys, json_integer, no_garbage_collection, read_json


def answer_tube(span: tuple[int, int], boxes: BoxList | None, row_truth: RowTruth, sample: Truth) -> Tube:
    """What an answer to a row means on the annotation's frames; see `tube_on`."""
    return tube_on(span, boxes, row_truth.scale_wh, row_truth.annotated, sample.clip, sample.size_wh)


def tube_on(
    span: tuple[int, int],
    boxes: BoxList | None,
    scale_wh: tuple[int, int],
    at: IntArray,
    clip: tuple[int, int],
    size_wh: tuple[int, int],
) -> Tube:
    """What an answer means on native frames, as the annotation numbers them or the file.

    A native frame belongs to the nearest index, as everywhere on the timeline, so the span reaches half an interval
    beyond its first and last index, and to the ends of the clip from its ends. A box stands at the frame that its index
    points at, clipped to the picture.

    Args:
        span: closed span of indices, the first of them on the grid.
        boxes: in the coordinates of the text; an inverted box counts as unreadable.
        scale_wh: extent of the text's coordinates.
        at: (size,) frame that each index points at.
        clip: frames [first, end) that the question is about.
        size_wh: of the picture in pixels, in which the tube's boxes are.
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
    """A file of tubes.

    Returns:
        The tubes by id; "unparsable" or "inconsistent" with a reason for the ids whose entry makes no tube; and the
        ids that the file holds more than once, of which the last one counts.

    Raises:
        DataError: the file is missing, no JSON, or no object of ids.
    """
    clean = _read_clean(path)
    if clean:
        return clean, {}, []
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


class _Entry(msgspec.Struct, gc=False):
    span_frames: tuple[int, int]
    boxes: dict[int, tuple[float, float, float, float]]


def _read_clean(path: Path) -> dict[str, Tube] | None:
    """The tubes of a file in which nothing is wrong, several times faster than one by one; None for any other."""
    try:
        with no_garbage_collection():
            data = path.read_bytes()
            entries = msgspec.json.decode(data, type=dict[str, _Entry])
            counts = [len(entry.boxes) for entry in entries.values()]
            n_boxes = sum(counts)
            if data.count(b":") != 3 * len(entries) + n_boxes:  # a repeated key, or other keys
                return None
            every_frame = chain.from_iterable(entry.boxes for entry in entries.values())
            numbers = chain.from_iterable(chain.from_iterable(entry.boxes.values() for entry in entries.values()))
            frames = np.fromiter(every_frame, dtype=np.int64, count=n_boxes)
            boxes_xyxy = np.fromiter(numbers, dtype=np.float64, count=4 * n_boxes).reshape(-1, 4)
            spans = np.array([entry.span_frames for entry in entries.values()], dtype=np.int64).reshape(-1, 2)
    except (OSError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None
    starts = np.cumsum([0, *counts])
    steps = np.diff(frames, prepend=-1)
    steps[starts[:-1][starts[:-1] < n_boxes]] = 1
    if not (
        (steps > 0).all()
        and (np.abs(boxes_xyxy) <= MAX_COORDINATE).all()
        and ((spans >= 0) & (spans <= MAX_VIDEO_FRAMES)).all()
        and (spans[:, 0] <= spans[:, 1]).all()
        and ((frames >= 0) & (frames <= MAX_VIDEO_FRAMES)).all()
    ):
        return None
    return {
        name: Tube(entry.span_frames, frames[first:end], boxes_xyxy[first:end])
        for (name, entry), (first, end) in zip(entries.items(), pairwise(starts.tolist()), strict=True)
    }


def _frame(key: str) -> int:
    """A frame's number as a key: digits, and zeros behind a point."""
    number, _, fraction = key.partition(".")
    if not (key.isascii() and number.removeprefix("-").isdigit()) or fraction.strip("0"):
        raise ValueError(f"{key!r} is no frame number")
    return int(number)


def _tube(entry: Any) -> Tube:
    one_based = "span_frames" not in entry and "st_frame" in entry
    span = (entry["st_frame"], entry["ed_frame"]) if one_based else entry["span_frames"]
    first, last = (json_integer(frame) - one_based for frame in span)
    boxes = entry["bbox" if one_based else "boxes"]
    for part in (entry, boxes):
        if isinstance(part, RepeatedKeys):
            raise ValueError(f"{part.repeated[0]!r} stands there twice")
    frames = np.fromiter(map(_frame, boxes), dtype=np.int64, count=len(boxes)) - one_based
    boxes_xyxy = np.array(list(boxes.values()), dtype=np.float64).reshape(-1, 4)
    if len(boxes_xyxy) != len(frames):
        raise ValueError("a box must hold four numbers")
    usable = np.all(np.abs(boxes_xyxy) <= MAX_COORDINATE, axis=1)  # NaN is not
    if not usable.all():
        wrong = int(np.flatnonzero(~usable)[0])
        raise ValueError(f"the box of frame {frames[wrong]} is {boxes_xyxy[wrong].tolist()}: no pixels")
    numbers = [first, last, int(frames.min(initial=0)), int(frames.max(initial=0))]
    if min(numbers) < 0 or max(numbers) > MAX_VIDEO_FRAMES:
        raise ValueError(f"frames count from 0, to {MAX_VIDEO_FRAMES} at most")
    steps = np.diff(frames)
    if not (steps > 0).all():
        order = np.argsort(frames)
        frames, boxes_xyxy = frames[order], boxes_xyxy[order]
        if not (np.diff(frames) > 0).all():
            raise ValueError("a frame has two boxes")
    return Tube((first, last), frames, boxes_xyxy)
