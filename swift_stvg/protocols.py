"""The evaluation protocols behind published STVG tables, on native frames.

Each protocol is what a public evaluator computes, quirks included, so that its numbers can stand beside the tables made
with it. A sample without a prediction scores 0, and the ground truth is always the denominator.

| name | unit and ends | frames | denominator of vIoU |
|---|---|---|---|
| hcstvg_official | 1-based frames, inclusive | every annotated one | hull of both spans |
| tubedetr | frames, end exclusive | sampled at 5 per second, 200 at most | sampled frames of the hull |
| cg_stvg | ground truth's end as annotated, used as exclusive | every one | frames of the hull |

The hull runs from the earlier beginning to the later end. Sources: tzhhhh123/HC-STVG `eval_hcvg.py`; antoyang/TubeDETR
`datasets/hcstvg_eval.py`, `datasets/vidstg_eval.py`; HengLan/CGSTVG `datasets/evaluation/`, which STCAT and TA-STVG
share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from swift_stvg.geometry import FloatArray, IntArray, paired_iou_and_giou

TUBEDETR_FPS = 5
TUBEDETR_MOST_FRAMES = 200


@dataclass(frozen=True, slots=True, eq=False)
class Tube:
    """A span with boxes.

    Attributes:
        span_frames: first and last native frame, from 0, both included.
        frames: (K,) native frames that have a box, increasing.
        boxes_xyxy: (K, 4) in pixels of the annotation.
    """

    span_frames: tuple[int, int]
    frames: IntArray
    boxes_xyxy: FloatArray

    def interpolated(self) -> Tube:
        """A box in every frame of the span: linear between neighbours, the nearest one beyond the first and last."""
        if len(self.frames) == 0:
            return self
        frames = np.arange(self.span_frames[0], self.span_frames[1] + 1, dtype=np.int64)
        columns = [np.interp(frames, self.frames, self.boxes_xyxy[:, i]) for i in range(4)]
        return Tube(self.span_frames, frames, np.stack(columns, axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The annotation of one sample, as its file has it.

    Attributes:
        tube: the event and its boxes, unclipped.
        fps: nominal frames per second.
        size_wh: annotated frame size in pixels.
        clip_frames: native frames [first, end) that the sentence is asked about.
        annotated_end: the number that the annotation gives as the event's end: its last frame for HC-STVG, the one
            after it for VidSTG.
        one_based: whether the file counts frames from 1, as HC-STVG's `st_frame` does.
    """

    tube: Tube
    fps: float
    size_wh: tuple[int, int]
    clip_frames: tuple[int, int]
    annotated_end: int
    one_based: bool


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One number for each sample, in [0, 1].

    Attributes:
        tiou: (N,) temporal IoU.
        viou: (N,) spatio-temporal IoU.
        siou: (N,) mean IoU of the boxes over the annotated event (gt_vIoU in TubeDETR).
    """

    tiou: FloatArray
    viou: FloatArray
    siou: FloatArray


def evaluate(truths: Sequence[Truth], predictions: Sequence[Tube | None], protocol: str) -> Scores:
    """Score predictions (N) against truths (N); None, or a span that runs backwards, scores 0.

    Raises:
        ValueError: unknown protocol, or other lengths.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; the protocols are: {', '.join(PROTOCOLS)}")
    score = PROTOCOLS[protocol]
    rows = [
        (0.0, 0.0, 0.0) if p is None or p.span_frames[0] > p.span_frames[1] else score(t, p)
        for t, p in zip(truths, predictions, strict=True)
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return Scores(table[:, 0], table[:, 1], table[:, 2])


def _hcstvg_official(truth: Truth, prediction: Tube) -> tuple[float, float, float]:
    frames, iou = _shared(truth.tube, prediction)
    (first, last), (p_first, p_last) = truth.tube.span_frames, prediction.span_frames
    hull = max(last, p_last) - min(first, p_first) + 1
    return len(frames) / hull, float(iou.sum()) / hull, float(iou.sum()) / max(len(truth.tube.frames), 1)


def _tubedetr(truth: Truth, prediction: Tube) -> tuple[float, float, float]:
    first, end = truth.clip_frames
    ticks = np.floor(np.arange(first, max(end - 1, first + 1)) * (TUBEDETR_FPS / truth.fps))
    sampled = first + np.flatnonzero(np.diff(ticks, prepend=ticks[0] - 1) > 0)
    if len(sampled) > TUBEDETR_MOST_FRAMES:
        sampled = sampled[np.arange(TUBEDETR_MOST_FRAMES) * len(sampled) // TUBEDETR_MOST_FRAMES]
    gt = (truth.tube.span_frames[0], truth.tube.span_frames[1] + 1)
    return _half_open(truth.tube, prediction, gt, sampled)


def _tubedetr_as_shipped(truth: Truth, prediction: Tube) -> tuple[float, float, float]:
    """As `tubedetr`, with HC-STVG's 1-based first frame taken as 0-based, which is what its preprocessing does."""
    if truth.one_based:
        tube = truth.tube
        later = Tube((tube.span_frames[0] + 1, tube.span_frames[1] + 1), tube.frames + 1, tube.boxes_xyxy)
        truth = replace(truth, tube=later)
    return _tubedetr(truth, prediction)


def _cg_stvg(truth: Truth, prediction: Tube) -> tuple[float, float, float]:
    width, height = truth.size_wh
    clipped = np.minimum(truth.tube.boxes_xyxy, (np.inf, np.inf, width, height))
    tube = replace(truth.tube, boxes_xyxy=clipped)
    gt = (tube.span_frames[0], min(truth.annotated_end, truth.clip_frames[1] - 1))
    every = np.arange(min(gt[0], prediction.span_frames[0]), max(gt[1], prediction.span_frames[1] + 1), dtype=np.int64)
    return _half_open(tube, prediction, gt, every)


def _half_open(truth: Tube, prediction: Tube, gt: tuple[int, int], counted: IntArray) -> tuple[float, float, float]:
    """tIoU of half-open spans, and vIoU and sIoU over the frames that are `counted` (C,)."""
    predicted = (prediction.span_frames[0], prediction.span_frames[1] + 1)
    both = (max(gt[0], predicted[0]), min(gt[1], predicted[1]))
    hull = (min(gt[0], predicted[0]), max(gt[1], predicted[1]))
    shared_length = max(both[1] - both[0], 0)
    tiou = shared_length / max(gt[1] - gt[0] + predicted[1] - predicted[0] - shared_length, 1)

    frames, iou = _shared(truth, prediction)
    is_counted = np.isin(frames, counted)
    in_both = is_counted & (frames >= both[0]) & (frames < both[1])
    in_hull = int(np.count_nonzero((counted >= hull[0]) & (counted < hull[1])))
    annotated = int(np.count_nonzero(np.isin(truth.frames, counted)))
    return tiou, float(iou[in_both].sum()) / max(in_hull, 1), float(iou[is_counted].sum()) / max(annotated, 1)


def _shared(truth: Tube, prediction: Tube) -> tuple[IntArray, FloatArray]:
    """Frames (S,) in which both have a box, and the IoU (S,) of the two."""
    frames, i, j = np.intersect1d(truth.frames, prediction.frames, assume_unique=True, return_indices=True)
    with np.errstate(invalid="ignore"):  # two equal boxes without area: 0 here, NaN in the public code
        iou = paired_iou_and_giou(prediction.boxes_xyxy[j], truth.boxes_xyxy[i])[0]
    return frames, np.nan_to_num(iou)


PROTOCOLS: dict[str, Callable[[Truth, Tube], tuple[float, float, float]]] = {
    "hcstvg_official": _hcstvg_official,
    "tubedetr": _tubedetr,
    "tubedetr_as_shipped": _tubedetr_as_shipped,
    "cg_stvg": _cg_stvg,
}
"""Protocols by name. STVG-o1 most plausibly reports `cg_stvg` (an inference: its first author wrote CG-STVG)."""
