"""The rewards of STVG-o1 (arXiv 2511.21375, Eq. 3-10) and two metrics in the same form, on whole batches.

Every function takes a `Batch` and returns floats (B,). A completion is parsed once for all functions. For any
completion the result is finite and within the stated bounds, and the time is linear in its length. Coordinates are
first normalised to [0, 1], and predicted boxes are clipped to the frame.

The value of a box list depends on the row's STVG_SPATIAL_FRAMES:

| a box list | `shared`, the paper's | `either` |
|---|---|---|
| frames of its mean, R_spa | annotated, in both spans | annotated, and the answer's frames outside the event |
| a frame of one span only | left out | the worst box |
| an index without a usable box in a readable list | the worst box | the worst box |
| no readable time or list, or a span that runs backwards | 0 | the worst box in all its frames |
| a list that the format does not have | 0 | 0 |

The worst box has GIoU -1 and L1 4. If the row sets a larger floor (STVG_SPATIAL_FLOOR), that floor is its value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from swift_stvg.answers.format import Answer, AnswerFormat
from swift_stvg.errors import DataError
from swift_stvg.geometry import THRESHOLDS, FloatArray, span_iou
from swift_stvg.rewards.batch import Batch, BoxTerms, Term
from swift_stvg.rows.objects import mean_iou, object_boxes
from swift_stvg.rows.row_truth import RowTruth


def format_reward(batch: Batch) -> FloatArray:
    """R_f (Eq. 3), 0 or 1: the whole output has the form, with each part once and in order."""
    return np.array(batch.valid, dtype=np.float64)


def consistency_reward(batch: Batch) -> FloatArray:
    """R_c (Eq. 4), 0 or 1: each box list holds exactly one box for ts, ts + 1, ..., te, in order.

    For a format without boxes: the span does not run backwards.
    """

    def consistent(answer: Answer, fmt: AnswerFormat) -> bool:
        lists = [answer.think] * fmt.think + [answer.pred] * fmt.boxes
        span = answer.span
        return span is not None and span[0] <= span[1] and all(b is not None and b.covers(span) for b in lists)

    return np.array(
        [consistent(a, c.format) for a, c in zip(batch.answers, batch.row_truths, strict=True)], dtype=np.float64
    )


def temporal_reward(batch: Batch) -> FloatArray:
    """R_t (Eq. 5), in [0, 1]: IoU of the predicted and the true span in grid indices, both ends included."""
    return np.array(
        [
            0.0 if a.span is None else span_iou(a.span, c.span)
            for a, c in zip(batch.answers, batch.row_truths, strict=True)
        ],
        dtype=np.float64,
    )


def spatial_term(giou: FloatArray, l1: FloatArray) -> FloatArray:
    """The per-frame term of R_spa (Eq. 7), in [-5, 1]."""
    return giou - l1


def spatial_reward(batch: Batch) -> FloatArray:
    """R_s (Eq. 6-8), in [-10, 2]: R_spa(B_t) + R_spa(B_p), where R_spa is the mean over T_cap of GIoU - L1.

    For a format without think boxes it is R_spa(B_p), in [-5, 1]; for a format without boxes it is 0. The table in the
    module's docstring gives the value of unreadable parts.
    """
    return _both(batch, spatial_term)


def spatial_giou_reward(batch: Batch) -> FloatArray:
    """R_s where R_spa is the mean GIoU alone, in [-2, 2] (the paper's Tab. 7)."""
    return _both(batch, lambda giou, _: giou)


def spatial_l1_reward(batch: Batch) -> FloatArray:
    """R_s where R_spa is the mean of -L1 alone, in [-8, 0] (the paper's Tab. 7)."""
    return _both(batch, lambda _, l1: -l1)


def _both(batch: Batch, term: Term) -> FloatArray:
    return batch.spatial_mean(batch.think_terms, term) + batch.spatial_mean(batch.pred_terms, term)


def think_reward(batch: Batch) -> FloatArray:
    """R_k (Eq. 9), in [0, 6]: max(R_spa(B_p) - R_spa(B_t), 0); 0 if a list is unreadable or not asked for."""
    think, pred = (batch.spatial_mean(terms, spatial_term) for terms in (batch.think_terms, batch.pred_terms))
    readable = np.array([a.think is not None and a.pred is not None for a in batch.answers], dtype=bool)
    return np.where(readable, np.maximum(pred - think, 0.0), 0.0)


def object_reward(batch: Batch) -> FloatArray:
    """0 or 1: the answer names the right object. 0 for a row without a right object, and for answers with boxes.

    Source: arXiv 2602.11730 (STVG-R1); github.com/XiaowZhang00/stvg-r1, src/open_r1/grpo_video.py.
    """
    pairs = zip(batch.answers, batch.row_truths, strict=True)
    return np.array([bool(c.object) and a.object == c.object for a, c in pairs], dtype=np.float64)


def object_viou_reward(batch: Batch) -> FloatArray:
    """In [0, 1]: mean IoU of the named object's boxes with the annotated boxes. With the true span it is the vIoU.

    An object that is nearly right earns a part. 0 for a number that no object has, and for answers with boxes.
    """

    def cover(answer: Answer, row_truth: RowTruth) -> float:
        boxes = object_boxes(row_truth.objects, answer.object or 0, row_truth.index)
        return 0.0 if boxes is None else mean_iou(boxes, row_truth.boxes_xyxy)

    return np.array([cover(a, c) for a, c in zip(batch.answers, batch.row_truths, strict=True)], dtype=np.float64)


def tiou(batch: Batch) -> FloatArray:
    """tIoU on the sampled grid as the scorer counts it, in [0, 1]: R_t, or 0 if the answer does not make a tube."""
    return np.where(batch.complete, temporal_reward(batch), 0.0)


def viou(batch: Batch) -> FloatArray:
    """vIoU on the sampled grid as the scorer counts it, in [0, 1]: `boxes_viou` of the final boxes, or 0."""
    return np.where(batch.complete, boxes_viou(batch, batch.pred_terms), 0.0)


def _viou_above(batch: Batch, threshold: float) -> FloatArray:
    """vIoU@R, 0 or 1: whether `viou` is greater than the threshold."""
    return (viou(batch) > threshold).astype(np.float64)


def boxes_viou(batch: Batch, terms: BoxTerms) -> FloatArray:
    """(B,) sum of IoU over the shared frames, divided by the number of frames in the union of both spans.

    Frames without annotation are left out of both. Other faults of the answer do not count here.
    """
    return batch.sums(terms, terms.iou) / np.maximum(batch.frames_of_either, 1)


def boxes_siou(batch: Batch, terms: BoxTerms) -> FloatArray:
    """(B,) mean IoU over the annotated frames of the event; the IoU is 0 at frames outside the predicted span."""
    annotated = np.array([len(row_truth.index) for row_truth in batch.row_truths], dtype=np.float64)
    return batch.sums(terms, terms.iou) / np.maximum(annotated, 1)


REWARDS: dict[str, Callable[[Batch], FloatArray]] = {
    "stvg_format": format_reward,
    "stvg_consistency": consistency_reward,
    "stvg_temporal": temporal_reward,
    "stvg_spatial": spatial_reward,
    "stvg_think": think_reward,
    "stvg_spatial_giou": spatial_giou_reward,
    "stvg_spatial_l1": spatial_l1_reward,
    "stvg_object": object_reward,
    "stvg_object_viou": object_viou_reward,
    "stvg_tiou": tiou,
    "stvg_viou": viou,
    **{f"stvg_viou@{r}": partial(_viou_above, threshold=r) for r in THRESHOLDS},
}
"""Rewards and logged metrics by their names in ms-swift."""

OBJECT_REWARDS = frozenset({"stvg_object", "stvg_object_viou"})
"""Rewards that need answers which name an object; they are 0 for other answers."""
BOX_REWARDS = frozenset(REWARDS) - {"stvg_format", "stvg_consistency", "stvg_temporal", "stvg_tiou"} - OBJECT_REWARDS
"""Rewards that need boxes; they are 0 for a format without boxes."""

WEIGHTS = {"stvg_format": 1.0, "stvg_consistency": 1.0, "stvg_temporal": 1.0, "stvg_spatial": 1.0, "stvg_think": 0.5}
"""The paper's rewards and weights (Eq. 10)."""


OBJECT_WEIGHTS = {"stvg_format": 1.0, "stvg_temporal": 1.0, "stvg_object": 1.0}
"""STVG-R1's rewards and weights, for answers that name an object."""


def applies(name: str, row_truth: RowTruth) -> bool:
    """Whether a reward applies to a row: the row has the boxes or the objects that the reward needs."""
    if name == "stvg_object":
        return bool(row_truth.object)
    if name in OBJECT_REWARDS:
        return row_truth.object is not None
    return name not in BOX_REWARDS or row_truth.format.boxes


def usual_weights(row_truths: Sequence[RowTruth]) -> dict[str, float]:
    """The paper's weights, without the rewards that need think boxes or boxes which the rows do not have.

    For answers that name an object, STVG-R1's weights.
    """
    if all(row_truth.format.names_object for row_truth in row_truths):
        return dict(OBJECT_WEIGHTS)
    thinks, boxes = (all(getattr(c.format, part) for c in row_truths) for part in ("think", "boxes"))
    unfit = BOX_REWARDS if not boxes else set() if thinks else {"stvg_think"}
    return {name: weight for name, weight in WEIGHTS.items() if name not in unfit}


def total(batch: Batch, weights: Mapping[str, float]) -> FloatArray:
    """Weighted sum of the rewards, (B,)."""
    return sum((weight * REWARDS[name](batch) for name, weight in weights.items()), start=np.zeros(len(batch)))


def check_rewards(names: Iterable[str]) -> None:
    """Refuse unknown names of rewards.

    Raises:
        DataError: a name is unknown.
    """
    if unknown := sorted(set(names) - set(REWARDS)):
        raise DataError(f"unknown reward {', '.join(unknown)}; the rewards are {', '.join(REWARDS)}")
