"""What the rewards pay for the exact answer and for known mistakes, on the rows of a dataset and under its settings.

A mistake that earns as much as the exact answer is one that GRPO may teach, so this is looked at before training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from swift_stvg.answers.format import Answer, BoxList
from swift_stvg.geometry import FloatArray, IntArray, clip_boxes
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import BOX_REWARDS, REWARDS, total
from swift_stvg.rows.contract import Contract

EXACT = "exact answer"
SAME = 1e-9
"""Sums of rewards that differ by less are the same."""
_BOTH_LISTS, _ONE_LIST = (
    {"stvg_spatial": 2.0, "stvg_spatial_giou": 2.0},
    {"stvg_spatial": 1.0, "stvg_spatial_giou": 1.0},
)
_NOTHING = {"stvg_think": 0.0, "stvg_spatial_l1": 0.0}


def full_mark(contract: Contract, weights: Mapping[str, float]) -> float:
    """What the exact answer must earn: 5 with the paper's rewards and weights, 4 without think boxes, 3 without any."""
    marks = (_BOTH_LISTS if contract.format.think else _ONE_LIST) | _NOTHING
    marks |= {} if contract.format.boxes else dict.fromkeys(BOX_REWARDS, 0.0)
    return sum(weight * marks.get(name, 1.0) for name, weight in weights.items())


def landscape(contracts: Sequence[Contract], weights: Mapping[str, float]) -> dict[str, Any]:
    """What each mistake earns on the rows that it can be made in.

    Args:
        contracts: of the rows, at least one.
        weights: weight of each reward in the total.

    Returns:
        rows; weights; lines: by mistake the number of rows that leave room for it, and by reward and "total" [mean,
        lowest, highest]; faults: by mistake the number of rows on which it earns as much as the exact answer, or on
        which the exact answer does not earn the full mark, and an example.
    """
    exact_texts = [contract.format.render(contract.answer) for contract in contracts]
    exact = total(Batch(exact_texts, contracts), weights)
    full = np.array([full_mark(contract, weights) for contract in contracts])
    lines, faults = {}, {}
    for name, write in MISTAKES.items():
        texts = [write(contract) for contract in contracts]
        made = [i for i, text in enumerate(texts) if text is not None and (name == EXACT or text != exact_texts[i])]
        if not made:
            continue
        batch = Batch([texts[i] or "" for i in made], [contracts[i] for i in made])
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
                "example": f"row {contracts[row].id}: earns {earned[first]:.6g}, "
                + (f"not {full[row]:.6g}" if name == EXACT else f"the exact answer {exact[row]:.6g}"),
            }
    return {"rows": len(contracts), "weights": dict(weights), "lines": lines, "faults": faults}


def _exact(contract: Contract) -> tuple[tuple[int, int], FloatArray]:
    """Span and a box for each index of it, (W, 4), of zeros where none are asked for."""
    answer, (first, last) = contract.answer, contract.span
    return (first, last), np.zeros((last - first + 1, 4)) if answer.pred is None else answer.pred.boxes_xyxy


def _written(contract: Contract, span: tuple[int, int], think_xyxy: FloatArray, pred_xyxy: FloatArray) -> str:
    index = np.arange(span[0], span[1] + 1, dtype=np.int64)
    think = BoxList(index, think_xyxy) if contract.format.think else None
    return contract.format.render(Answer(span, think, BoxList(index, pred_xyxy) if contract.format.boxes else None))


def _moved(contract: Contract, by: int) -> str | None:
    """The whole answer later, or earlier where there is no room."""
    (first, last), boxes_xyxy = _exact(contract)
    if last + by >= contract.timeline.size:
        by = -by
    return None if first + by < 0 else _written(contract, (first + by, last + by), boxes_xyxy, boxes_xyxy)


def _stretched(contract: Contract, span: tuple[int, int], true_index: IntArray) -> str:
    """Another span (W indices); each of its indices has the box of a true index (W,), or of the nearest to it."""
    (first, last), boxes_xyxy = _exact(contract)
    boxes_xyxy = boxes_xyxy[np.clip(true_index, first, last) - first]
    return _written(contract, span, boxes_xyxy, boxes_xyxy)


def _whole_clip(contract: Contract) -> str:
    end = contract.timeline.size
    return _stretched(contract, (0, end - 1), np.arange(end, dtype=np.int64))


def _first_index(contract: Contract) -> str:
    first = contract.span[0]
    return _stretched(contract, (first, first), np.array([first]))


def _other_unit(contract: Contract) -> str:
    """Seconds where sampled frames are asked for, and the other way round."""
    line = contract.timeline
    if line.unit == "frame":
        first, last = (int(np.rint(line.times_s[i])) for i in contract.span)
        return _stretched(contract, (first, last), line.index(np.arange(first, last + 1, dtype=np.float64)))
    first, last = (int(np.abs(line.times_s - i).argmin()) for i in contract.span)
    return _stretched(contract, (first, last), line.index(line.times_s[first : last + 1]))


def _boxes(
    change: Callable[[Contract, FloatArray], FloatArray], lists: tuple[str, ...] = ("think", "pred")
) -> Callable[[Contract], str | None]:
    """The exact answer with other boxes in some lists; None where they mean the same or there is one list only."""

    def write(contract: Contract) -> str | None:
        if not contract.format.boxes:
            return None
        span, boxes_xyxy = _exact(contract)
        changed = np.rint(change(contract, boxes_xyxy))
        if np.array_equal(clip_boxes(changed, contract.scale_wh), boxes_xyxy):
            return None
        if len(lists) == 1 and not contract.format.think:
            return None
        return _written(contract, span, *(changed if part in lists else boxes_xyxy for part in ("think", "pred")))

    return write


def _rescaled(boxes_xyxy: FloatArray, from_wh: tuple[int, int], to_wh: tuple[int, int]) -> FloatArray:
    factor: FloatArray = np.array([*to_wh, *to_wh], dtype=np.float64) / np.array([*from_wh, *from_wh])
    return boxes_xyxy * factor


def _other_coordinates(contract: Contract, boxes_xyxy: FloatArray) -> FloatArray:
    return _rescaled(
        boxes_xyxy, contract.scale_wh, (1000, 1000) if contract.format.coords == "pixel" else contract.size_wh
    )


def _source_pixels(contract: Contract, boxes_xyxy: FloatArray) -> FloatArray:
    return _rescaled(boxes_xyxy, contract.scale_wh, contract.source_wh)


def _xywh(_: Contract, boxes_xyxy: FloatArray) -> FloatArray:
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1)


def _whole_frame(contract: Contract, boxes_xyxy: FloatArray) -> FloatArray:
    return np.tile(np.array([0.0, 0.0, *contract.scale_wh]), (len(boxes_xyxy), 1))


def _beside(contract: Contract, boxes_xyxy: FloatArray) -> FloatArray:
    """Shifted by half their width, towards the side with more room."""
    half = (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) / 2
    left = boxes_xyxy[:, 0] > contract.scale_wh[0] - boxes_xyxy[:, 2]
    shift = np.where(left, -half, half)[:, None] * np.array([1.0, 0.0, 1.0, 0.0])
    return clip_boxes(boxes_xyxy + shift, contract.scale_wh)


def _corner(contract: Contract, boxes_xyxy: FloatArray) -> FloatArray:
    """One unit wide, in the corner that is farthest away."""
    limit = np.array(contract.scale_wh, dtype=np.float64)
    far = np.where(boxes_xyxy[:, :2] + boxes_xyxy[:, 2:] < limit, limit - 1, 0.0)  # (W, 2)
    return np.concatenate([far, far + 1], axis=1)


def _without(*lists: str, keep: bool = False) -> Callable[[Contract], str | None]:
    """The exact answer with lists that are empty, or with every second of their boxes."""

    def write(contract: Contract) -> str | None:
        text = contract.format.render(contract.answer)
        if contract.format.style != "tags" or not contract.format.boxes:
            return None
        if lists == ("think_bbox",) and not contract.format.think:
            return None
        for tag in lists:
            before, opening, rest = text.partition(f"<{tag}> ")
            boxes, closing, after = rest.partition(f" </{tag}>")
            kept = "], ".join(boxes.split("], ")[::2]) if keep else ""
            kept += "]" * (keep and not kept.endswith("]"))
            text = before + opening + kept + closing + after
        return text

    return write


MISTAKES: dict[str, Callable[[Contract], str | None]] = {
    EXACT: lambda contract: contract.format.render(contract.answer),
    "span one index off": lambda contract: _moved(contract, 1),
    "span beside the event": lambda contract: _moved(contract, contract.span[1] - contract.span[0] + 1),
    "span of the whole clip": _whole_clip,
    "first index of the event only": _first_index,
    "indices in the other unit": _other_unit,
    "coordinates of the other convention": _boxes(_other_coordinates),
    "coordinates in pixels of the file": _boxes(_source_pixels),
    "y before x": _boxes(lambda _, boxes_xyxy: boxes_xyxy[:, [1, 0, 3, 2]]),
    "x, y, width, height": _boxes(_xywh),
    "first box repeated": _boxes(lambda _, boxes_xyxy: np.repeat(boxes_xyxy[:1], len(boxes_xyxy), axis=0)),
    "boxes of the whole frame": _boxes(_whole_frame),
    "boxes half a width off, think alike": _boxes(_beside),
    "boxes far off, think alike": _boxes(_corner),
    "think boxes far off, final ones right": _boxes(_corner, ("think",)),
    "think boxes right, final ones far off": _boxes(_corner, ("pred",)),
    "every second box left out": _without("think_bbox", "pred_bbox", keep=True),
    "no think boxes": _without("think_bbox"),
    "no boxes": _without("think_bbox", "pred_bbox"),
    "text after the exact answer": lambda contract: contract.format.render(contract.answer) + " That is all.",
    "nothing": lambda contract: "",
}
"""By name, what writes an answer with the mistake; None where the row leaves no room for it."""
