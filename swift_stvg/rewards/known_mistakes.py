"""What the rewards pay for the exact answer and for known mistakes, on the rows of a dataset under its settings.

GRPO may teach a mistake that earns as much as the exact answer, so check this before training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from swift_stvg.answers.format import Answer, BoxList
from swift_stvg.answers.styles import STYLE_CLASSES
from swift_stvg.geometry import FloatArray, IntArray, box_areas, clip_boxes
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import BOX_REWARDS, REWARDS, total
from swift_stvg.rows.row_truth import RowTruth

EXACT = "exact answer"
SAME = 1e-9
"""Sums of rewards that differ by less than this are equal."""
_BOTH_LISTS, _ONE_LIST = (
    {"stvg_spatial": 2.0, "stvg_spatial_giou": 2.0},
    {"stvg_spatial": 1.0, "stvg_spatial_giou": 1.0},
)
_NOTHING = {"stvg_think": 0.0, "stvg_spatial_l1": 0.0}


def full_mark(row_truth: RowTruth, weights: Mapping[str, float]) -> float:
    """The total that the exact answer must earn: 5 with the paper's weights, 4 without think boxes, 3 without boxes.

    An answer that names an object must earn 3 with STVG-R1's weights, or 2 if the row has no right object. Its rewards
    for boxes depend on the quality of the track.
    """
    if row_truth.format.names_object:
        exact = Batch([row_truth.format.render(row_truth.answer)], [row_truth])
        earned = {name: float(REWARDS[name](exact)[0]) for name in BOX_REWARDS | {"stvg_object_viou"}}
        earned |= {} if row_truth.object else {"stvg_object": 0.0}
        return sum(weight * earned.get(name, 1.0) for name, weight in weights.items())
    marks = (_BOTH_LISTS if row_truth.format.think else _ONE_LIST) | _NOTHING
    marks |= {} if row_truth.format.boxes else dict.fromkeys(BOX_REWARDS, 0.0)
    return sum(weight * marks.get(name, 1.0) for name, weight in weights.items())


def rewards_of_mistakes(row_truths: Sequence[RowTruth], weights: Mapping[str, float]) -> dict[str, Any]:
    """The rewards that each mistake earns, on the rows in which it is possible.

    Args:
        row_truths: the truths of the rows, at least one.
        weights: weight of each reward in the total.

    Returns:
        `rows`; `weights`; `lines`: for each mistake the number of rows in which it is possible, and for each reward and
        "total" [mean, lowest, highest]; `faults`: for each mistake the number of rows on which it earns as much as the
        exact answer, and an example. The exact answer is a fault if it does not earn the full mark.
    """
    exact_texts = [row_truth.format.render(row_truth.answer) for row_truth in row_truths]
    exact = total(Batch(exact_texts, row_truths), weights)
    full = np.array([full_mark(row_truth, weights) for row_truth in row_truths])
    lines, faults = {}, {}
    for name, write in MISTAKES.items():
        texts = [write(row_truth) for row_truth in row_truths]
        made = [i for i, text in enumerate(texts) if text is not None and (name == EXACT or text != exact_texts[i])]
        if not made:
            continue
        batch = Batch([texts[i] or "" for i in made], [row_truths[i] for i in made])
        earned = total(batch, weights)
        columns = {reward: REWARDS[reward](batch) for reward in weights} | {"total": earned}
        lines[name] = {
            "rows": len(made),
            "earns": {c: [float(v.mean()), float(v.min()), float(v.max())] for c, v in columns.items()},
        }
        wrong = np.abs(earned - full[made]) > SAME if name == EXACT else earned > exact[made] - SAME
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            row = made[first]
            faults[name] = {
                "rows": int(wrong.sum()),
                "example": f"row {row_truths[row].id}: earns {earned[first]:.6g}, "
                + (f"not {full[row]:.6g}" if name == EXACT else f"the exact answer {exact[row]:.6g}"),
            }
    return {"rows": len(row_truths), "weights": dict(weights), "lines": lines, "faults": faults}


def _exact(row_truth: RowTruth) -> tuple[tuple[int, int], FloatArray]:
    """The true span and a box for each of its indices, (W, 4); zeros if the format has no boxes."""
    answer, (first, last) = row_truth.answer, row_truth.span
    return (first, last), np.zeros((last - first + 1, 4)) if answer.pred is None else answer.pred.boxes_xyxy


def _written(row_truth: RowTruth, span: tuple[int, int], think_xyxy: FloatArray, pred_xyxy: FloatArray) -> str:
    index = np.arange(span[0], span[1] + 1, dtype=np.int64)
    think = BoxList(index, think_xyxy) if row_truth.format.think else None
    pred = BoxList(index, pred_xyxy) if row_truth.format.boxes else None
    return row_truth.format.render(Answer(span, think, pred, object=row_truth.object))


def _moved(row_truth: RowTruth, by: int) -> str | None:
    """The whole answer, moved later; or earlier, if the clip ends too soon."""
    (first, last), boxes_xyxy = _exact(row_truth)
    if last + by >= row_truth.timeline.size:
        by = -by
    return None if first + by < 0 else _written(row_truth, (first + by, last + by), boxes_xyxy, boxes_xyxy)


def _stretched(row_truth: RowTruth, span: tuple[int, int], true_index: IntArray) -> str:
    """Another span of W indices, each with the box of the true index (W,) that is given for it, or the nearest one."""
    (first, last), boxes_xyxy = _exact(row_truth)
    boxes_xyxy = boxes_xyxy[np.clip(true_index, first, last) - first]
    return _written(row_truth, span, boxes_xyxy, boxes_xyxy)


def _whole_clip(row_truth: RowTruth) -> str:
    end = row_truth.timeline.size
    return _stretched(row_truth, (0, end - 1), np.arange(end, dtype=np.int64))


def _first_index(row_truth: RowTruth) -> str:
    first = row_truth.span[0]
    return _stretched(row_truth, (first, first), np.array([first]))


def _other_unit(row_truth: RowTruth) -> str:
    """Seconds if an index is a sampled frame, and sampled frames if an index is a second."""
    line = row_truth.timeline
    if line.unit == "frame":
        first, last = (int(np.rint(line.times_s[i])) for i in row_truth.span)
        return _stretched(row_truth, (first, last), line.index(np.arange(first, last + 1, dtype=np.float64)))
    first, last = (int(np.abs(line.times_s - i).argmin()) for i in row_truth.span)
    return _stretched(row_truth, (first, last), line.index(line.times_s[first : last + 1]))


def _boxes(
    change: Callable[[RowTruth, FloatArray], FloatArray], lists: tuple[str, ...] = ("think", "pred")
) -> Callable[[RowTruth], str | None]:
    """The exact answer with other boxes in some lists; None if they mean the same, or the format lacks a list."""

    def write(row_truth: RowTruth) -> str | None:
        if not row_truth.format.boxes or row_truth.format.names_object:
            return None
        span, boxes_xyxy = _exact(row_truth)
        changed = np.rint(change(row_truth, boxes_xyxy))
        if np.array_equal(clip_boxes(changed, row_truth.scale_wh), boxes_xyxy):
            return None
        if len(lists) == 1 and not row_truth.format.think:
            return None
        return _written(row_truth, span, *(changed if part in lists else boxes_xyxy for part in ("think", "pred")))

    return write


def _rescaled(boxes_xyxy: FloatArray, from_wh: tuple[int, int], to_wh: tuple[int, int]) -> FloatArray:
    factor: FloatArray = np.array([*to_wh, *to_wh], dtype=np.float64) / np.array([*from_wh, *from_wh])
    return boxes_xyxy * factor


def _written_in(row_truth: RowTruth, boxes_xyxy: FloatArray, to_wh: tuple[int, int]) -> FloatArray:
    """Boxes whose written numbers have another extent. Shares of 1 are kept as thousandths, so these grow too."""
    return _rescaled(boxes_xyxy, row_truth.scale_wh, to_wh) * (1000 if row_truth.format.shares else 1)


def _other_coordinates(row_truth: RowTruth, boxes_xyxy: FloatArray) -> FloatArray:
    return _written_in(row_truth, boxes_xyxy, (1000, 1000) if row_truth.format.coords == "pixel" else row_truth.size_wh)


def _source_pixels(row_truth: RowTruth, boxes_xyxy: FloatArray) -> FloatArray:
    return _written_in(row_truth, boxes_xyxy, row_truth.source_wh)


def _xywh(_: RowTruth, boxes_xyxy: FloatArray) -> FloatArray:
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1)


def _whole_frame(row_truth: RowTruth, boxes_xyxy: FloatArray) -> FloatArray:
    return np.tile(np.array([0.0, 0.0, *row_truth.scale_wh]), (len(boxes_xyxy), 1))


def _beside(row_truth: RowTruth, boxes_xyxy: FloatArray) -> FloatArray:
    """Boxes shifted by half their width, towards the side with more room."""
    half = (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) / 2
    left = boxes_xyxy[:, 0] > row_truth.scale_wh[0] - boxes_xyxy[:, 2]
    shift = np.where(left, -half, half)[:, None] * np.array([1.0, 0.0, 1.0, 0.0])
    return clip_boxes(boxes_xyxy + shift, row_truth.scale_wh)


def _corner(row_truth: RowTruth, boxes_xyxy: FloatArray) -> FloatArray:
    """Boxes one unit wide, in the farthest corner of the picture."""
    limit = np.array(row_truth.scale_wh, dtype=np.float64)
    far = np.where(boxes_xyxy[:, :2] + boxes_xyxy[:, 2:] < limit, limit - 1, 0.0)  # (W, 2)
    return np.concatenate([far, far + 1], axis=1)


def _without(*lists: str, keep: bool = False) -> Callable[[RowTruth], str | None]:
    """The exact answer with empty lists, or with every second box of the lists if `keep`."""

    def write(row_truth: RowTruth) -> str | None:
        if row_truth.format.names_object:
            return None
        if not row_truth.format.boxes or (lists == ("think",) and not row_truth.format.think):
            return None
        left = slice(None, None, 2) if keep else slice(0)

        def rest(boxes: BoxList | None, part: str) -> BoxList | None:
            return boxes if boxes is None or part not in lists else BoxList(boxes.index[left], boxes.boxes_xyxy[left])

        answer, span = row_truth.answer, row_truth.span
        think, pred = rest(answer.think, "think"), rest(answer.pred, "pred")
        if keep and pred is not None and not STYLE_CLASSES[row_truth.format.style].says_span:
            span = span[0], int(pred.index[-1])
        return row_truth.format.render(Answer(span, think, pred))

    return write


def _named(choose: Callable[[RowTruth], int]) -> Callable[[RowTruth], str | None]:
    """The exact answer with another object; None if the other object is right, or the row has no right object."""

    def write(row_truth: RowTruth) -> str | None:
        if not row_truth.object or choose(row_truth) == row_truth.object:
            return None
        return row_truth.format.render(Answer(row_truth.span, None, None, object=choose(row_truth)))

    return write


def _largest(row_truth: RowTruth) -> int:
    areas = [float(box_areas(boxes.boxes_xyxy).max()) for boxes in row_truth.objects]
    return int(np.argmax(areas)) + 1


MISTAKES: dict[str, Callable[[RowTruth], str | None]] = {
    EXACT: lambda row_truth: row_truth.format.render(row_truth.answer),
    "span one index off": lambda row_truth: _moved(row_truth, 1),
    "span beside the event": lambda row_truth: _moved(row_truth, row_truth.span[1] - row_truth.span[0] + 1),
    "span of the whole clip": _whole_clip,
    "first index of the event only": _first_index,
    "indices in the other unit": _other_unit,
    "coordinates of the other convention": _boxes(_other_coordinates),
    "coordinates in pixels of the file": _boxes(_source_pixels),
    "y before x": _boxes(lambda _, boxes_xyxy: boxes_xyxy[:, [1, 0, 3, 2]]),
    "x, y, width, height": _boxes(_xywh),
    "first box repeated": _boxes(lambda _, boxes_xyxy: np.repeat(boxes_xyxy[:1], len(boxes_xyxy), axis=0)),
    "boxes of the whole frame": _boxes(_whole_frame),
    "all boxes half a width off": _boxes(_beside),
    "all boxes far off": _boxes(_corner),
    "think boxes far off, final boxes right": _boxes(_corner, ("think",)),
    "think boxes right, final boxes far off": _boxes(_corner, ("pred",)),
    "every second box left out": _without("think", "pred", keep=True),
    "no think boxes": _without("think"),
    "no boxes": _without("think", "pred"),
    "always object 1": _named(lambda row_truth: 1),
    "always the largest object": _named(_largest),
    "a number that no object has": _named(lambda row_truth: len(row_truth.objects) + 1),
    "text after the exact answer": lambda row_truth: row_truth.format.render(row_truth.answer) + " That is all.",
    "empty answer": lambda row_truth: "",
}
"""Functions by the name of the mistake. Each writes an answer with the mistake; None if the row does not allow it."""
