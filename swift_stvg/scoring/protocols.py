"""The evaluation protocols behind published STVG tables, on native frames and whole datasets at once.

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

The last one skips VidSTG's sentences whose trajectory has gaps, which are scored here, and its mean spatial IoU on
VidSTG counts the frame at `end_fid` as well, which is left out here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from swift_stvg.errors import RecordError
from swift_stvg.geometry import FloatArray, IntArray, interpolate, paired_iou
from swift_stvg.records import Truth, Tube
from swift_stvg.util import validation

TUBEDETR_FPS = 5
TUBEDETR_MOST_FRAMES = 200
_AT_ONCE = 512
"""Samples that are scored at once: more take more memory and no less time."""
_STRIDE = 1 << 32
"""Distance between the keys of two samples; a frame's key is its sample's number times this, plus its own number."""
_BoolArray: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One number for each sample, in [0, 1].

    Attributes:
        tiou: (N,) temporal IoU.
        viou: (N,) spatio-temporal IoU.
        siou: (N,) mean IoU of the boxes over the annotated event (gt_vIoU in TubeDETR's code).

    Raises:
        RecordError: lengths differ, or a number is not in [0, 1].
    """

    tiou: FloatArray
    viou: FloatArray
    siou: FloatArray

    def __post_init__(self) -> None:
        found = {
            name: validation.numbers(name, getattr(self, name), low=0, high=1) for name in ("tiou", "viou", "siou")
        }
        validation.same_length("sample", "", **found)
        validation.set_fields(self, **found)


def evaluate(
    truths: Sequence[Truth], predictions: Sequence[Tube | None], protocol: str, *, interpolate: bool = True
) -> Scores:
    """Score predictions (N) against truths (N); None, or a span that runs backwards, scores 0.

    Args:
        truths: the ground truth.
        predictions: in the same order.
        protocol: a name of `PROTOCOLS`.
        interpolate: whether a frame of the predicted span without a box gets one, linearly between its neighbours and
            the nearest one beyond the first and last; otherwise such a frame scores 0.

    Raises:
        RecordError: the protocol is unknown, the lengths differ, or a value is not a Truth or a Tube.
    """
    if protocol not in PROTOCOLS:
        raise RecordError(f"unknown protocol {protocol!r}; the protocols are: {', '.join(PROTOCOLS)}")
    validation.all_instances("truths", truths, Truth)
    validation.all_instances("predictions", predictions, (Tube, type(None)))
    validation.same_length("truth", truths=truths, predictions=predictions)
    parts = []
    for i in range(0, max(len(truths), 1), _AT_ONCE):
        tubes = predictions[i : i + _AT_ONCE]
        answered = np.array([t is not None and t.span_frames[0] <= t.span_frames[1] for t in tubes], dtype=bool)
        scores = PROTOCOLS[protocol](_Truths.of(truths[i : i + _AT_ONCE]), _Prediction.of(tubes, interpolate))
        parts.append([np.where(answered, values, 0.0) for values in (scores.tiou, scores.viou, scores.siou)])
    return Scores(*(np.concatenate(values) for values in zip(*parts, strict=True)))


@dataclass(frozen=True, slots=True, eq=False)
class FrameIous:
    """IoU at each annotated frame of all samples.

    Attributes:
        owner: (K,) number of each frame's sample, not decreasing.
        frames: (K,) the frame.
        inside: (K,) whether the frame is in the predicted span.
        usable: (K,) whether the frame is in the predicted span and has a predicted box, given or interpolated.
        iou: (K,) IoU in [0, 1]; 0 if not usable.
    """

    owner: IntArray
    frames: IntArray
    inside: _BoolArray
    usable: _BoolArray
    iou: FloatArray


def frame_ious(truths: Sequence[Truth], predictions: Sequence[Tube | None], *, interpolate: bool = True) -> FrameIous:
    """IoU at each annotated frame, as `hcstvg_official` sums it; arguments as `evaluate` takes them."""
    truth, prediction = _Truths.of(truths), _Prediction.of(predictions, interpolate)
    iou, usable = prediction.iou_with(truth)
    return FrameIous(truth.owner, truth.frames, prediction.spans_frame(truth), usable, np.where(usable, iou, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class _Truths:
    """N samples as arrays; spans and clips are [first, end), K frames with a box in all."""

    spans: IntArray  # (N, 2)
    clips: IntArray  # (N, 2)
    fps: FloatArray  # (N,)
    size_wh: IntArray  # (N, 2)
    one_based: _BoolArray  # (N,)
    owner: IntArray  # (K,) sample of each frame
    frames: IntArray  # (K,)
    boxes_xyxy: FloatArray  # (K, 4)

    @classmethod
    def of(cls, samples: Sequence[Truth]) -> _Truths:
        counts = [len(s.tube_frames) for s in samples]
        return cls(
            spans=np.array([s.span_frames for s in samples], dtype=np.int64).reshape(-1, 2),
            clips=np.array([s.clip for s in samples], dtype=np.int64).reshape(-1, 2),
            fps=np.array([s.annotated_fps for s in samples], dtype=np.float64),
            size_wh=np.array([s.size_wh for s in samples], dtype=np.int64).reshape(-1, 2),
            one_based=np.array([s.one_based for s in samples], dtype=bool),
            owner=np.repeat(np.arange(len(samples), dtype=np.int64), counts),
            frames=np.concatenate([np.empty(0, dtype=np.int64), *(s.tube_frames for s in samples)]),
            boxes_xyxy=np.concatenate([np.empty((0, 4)), *(s.tube_xyxy for s in samples)]),
        )

    @property
    def keys(self) -> IntArray:
        return self.owner * _STRIDE + self.frames

    def sum(self, per_frame: npt.NDArray[np.generic]) -> FloatArray:
        """(N,) sums of (K,)."""
        return np.bincount(self.owner, weights=per_frame, minlength=len(self.spans)).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Prediction:
    """N tubes as arrays; spans are [first, end), empty for none."""

    spans: IntArray  # (N, 2)
    owner: IntArray  # (P,)
    frames: IntArray  # (P,)
    boxes_xyxy: FloatArray  # (P, 4)
    interpolate: bool

    @classmethod
    def of(cls, tubes: Sequence[Tube | None], interpolate: bool) -> _Prediction:
        given = [(i, tube) for i, tube in enumerate(tubes) if tube is not None]
        spans = np.zeros((len(tubes), 2), dtype=np.int64)
        for i, tube in given:
            spans[i] = tube.span_frames[0], tube.span_frames[1] + 1
        return cls(
            spans,
            np.repeat(np.array([i for i, _ in given], dtype=np.int64), [len(tube.frames) for _, tube in given]),
            np.concatenate([np.empty(0, dtype=np.int64), *(tube.frames for _, tube in given)]),
            np.concatenate([np.empty((0, 4)), *(tube.boxes_xyxy for _, tube in given)]),
            interpolate,
        )

    def spans_frame(self, truth: _Truths) -> _BoolArray:
        """(K,) whether each annotated frame is in the predicted span."""
        inside: _BoolArray = (truth.frames >= self.spans[truth.owner, 0]) & (truth.frames < self.spans[truth.owner, 1])
        return inside

    def iou_with(self, truth: _Truths) -> tuple[FloatArray, _BoolArray]:
        """(K,) IoU at each annotated frame, 0 without a predicted box; and whether the frame has a box in the span."""
        inside = self.spans_frame(truth)
        iou = np.zeros(len(truth.frames))
        if len(self.frames) == 0:
            return iou, np.zeros_like(inside)
        keys = self.owner * _STRIDE + self.frames
        right = np.searchsorted(keys, truth.keys)  # (K,) first box at or after the frame
        at_most = np.minimum(right, len(keys) - 1)
        given = keys[at_most] == truth.keys
        iou[given] = _iou(self.boxes_xyxy[at_most[given]], truth.boxes_xyxy[given])
        if not self.interpolate:
            return iou, given & inside

        open_ = np.flatnonzero(inside & ~given)
        owner, right = truth.owner[open_], right[open_]
        has_left = (right > 0) & (self.owner[right - 1] == owner)
        has_right = (right < len(keys)) & (self.owner[np.minimum(right, len(keys) - 1)] == owner)
        between = has_left | has_right
        open_, right, has_left, has_right = open_[between], right[between], has_left[between], has_right[between]
        after = np.where(has_right, right, right - 1)
        before = np.where(has_left, right - 1, right)
        boxes = interpolate(self.frames, self.boxes_xyxy, before, after, truth.frames[open_])
        iou[open_] = _iou(boxes, truth.boxes_xyxy[open_])
        given[open_] = True
        return iou, given & inside


_Protocol: TypeAlias = Callable[[_Truths, _Prediction], Scores]


def _hcstvg_official(truth: _Truths, prediction: _Prediction) -> Scores:
    """HC-STVG's own script: every annotated frame, both ends included."""
    iou, in_both = prediction.iou_with(truth)
    hull = _length(_hull(truth.spans, prediction.spans))
    return Scores(
        truth.sum(in_both) / hull,
        truth.sum(iou * in_both) / hull,
        truth.sum(iou) / np.maximum(truth.sum(np.ones_like(iou)), 1),
    )


def _tubedetr(truth: _Truths, prediction: _Prediction) -> Scores:
    """TubeDETR's evaluators: frames sampled at 5 per second, ends excluded, first frame counted from 0.

    A candidate for STVG-o1's tables, as cg_stvg is: its text refers to TubeDETR for the metrics.
    """
    sampled = [
        i * _STRIDE + _sampled(first, end, fps)
        for i, ((first, end), fps) in enumerate(zip(truth.clips.tolist(), truth.fps.tolist(), strict=True))
    ]
    return _half_open(truth, prediction, truth.spans, np.concatenate([np.empty(0, dtype=np.int64), *sampled]))


def _tubedetr_as_shipped(truth: _Truths, prediction: _Prediction) -> Scores:
    """As tubedetr, with HC-STVG's first frame, which counts from 1, taken to count from 0, as its code does."""
    one_later = truth.one_based.astype(np.int64)
    return _tubedetr(
        replace(truth, spans=truth.spans + one_later[:, None], frames=truth.frames + one_later[truth.owner]), prediction
    )


def _cg_stvg(truth: _Truths, prediction: _Prediction) -> Scores:
    """CG-STVG's evaluator, shared with STCAT and TA-STVG: every frame, HC-STVG's last annotated one never counted.

    A candidate for STVG-o1's tables, as tubedetr is: its first author wrote CG-STVG and TA-STVG.
    """
    limit = np.where(truth.one_based[:, None], truth.size_wh, np.inf)  # only HC-STVG's boxes are clipped there
    boxes_xyxy = truth.boxes_xyxy.copy()
    boxes_xyxy[:, 2:] = np.minimum(boxes_xyxy[:, 2:], limit[truth.owner])
    end = np.minimum(truth.spans[:, 1] - truth.one_based, truth.clips[:, 1] - 1)
    spans = np.stack([truth.spans[:, 0], end], axis=1)
    return _half_open(replace(truth, boxes_xyxy=boxes_xyxy), prediction, spans, None)


def _half_open(truth: _Truths, prediction: _Prediction, spans: IntArray, counted: IntArray | None) -> Scores:
    """Scores with event spans (N, 2) and predicted ones both [first, end), over the frames with keys `counted` (C,).

    None counts every frame.
    """
    low = np.maximum(spans[:, 0], prediction.spans[:, 0])
    high = np.minimum(spans[:, 1], prediction.spans[:, 1])
    shared = np.maximum(high - low, 0)
    hull = _hull(spans, prediction.spans)

    iou, _ = prediction.iou_with(truth)
    is_counted = np.ones(len(iou), dtype=bool) if counted is None else np.isin(truth.keys, counted)
    in_both = is_counted & (truth.frames >= low[truth.owner]) & (truth.frames < high[truth.owner])
    if counted is None:
        in_hull = _length(hull)
    else:
        base = np.arange(len(hull), dtype=np.int64) * _STRIDE
        in_hull = np.searchsorted(counted, base + hull[:, 1]) - np.searchsorted(counted, base + hull[:, 0])
    return Scores(
        shared / np.maximum(_length(spans) + _length(prediction.spans) - shared, 1),
        truth.sum(iou * in_both) / np.maximum(in_hull, 1),
        truth.sum(iou * is_counted) / np.maximum(truth.sum(is_counted), 1),
    )


def _sampled(first: int, end: int, fps: float) -> IntArray:
    """The frames of [first, end) that TubeDETR looks at."""
    ticks = np.floor(np.arange(first, max(end - 1, first + 1)) * (TUBEDETR_FPS / fps))
    frames = first + np.flatnonzero(np.diff(ticks, prepend=ticks[0] - 1) > 0)
    if len(frames) > TUBEDETR_MOST_FRAMES:
        frames = frames[np.arange(TUBEDETR_MOST_FRAMES) * len(frames) // TUBEDETR_MOST_FRAMES]
    return frames.astype(np.int64)


def _hull(spans: IntArray, others: IntArray) -> IntArray:
    return np.stack([np.minimum(spans[:, 0], others[:, 0]), np.maximum(spans[:, 1], others[:, 1])], axis=1)


def _length(spans: IntArray) -> IntArray:
    return spans[:, 1] - spans[:, 0]


def _iou(boxes_xyxy: FloatArray, truth_xyxy: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):  # two equal boxes without area: 0 here, NaN in the public code
        return np.nan_to_num(paired_iou(boxes_xyxy, truth_xyxy))


PROTOCOLS: dict[str, _Protocol] = {
    "hcstvg_official": _hcstvg_official,
    "tubedetr": _tubedetr,
    "tubedetr_as_shipped": _tubedetr_as_shipped,
    "cg_stvg": _cg_stvg,
}
"""Protocols by name."""
