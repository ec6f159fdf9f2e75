"""The evaluation protocols behind published STVG tables, on native frames and whole datasets at once.

Each protocol is what a public evaluator computes, quirks included, so that its numbers can stand beside the tables made
with it. A sample without a prediction scores 0, and the ground truth is always the denominator.

| name | unit and ends | frames | denominator of vIoU |
|---|---|---|---|
| hcstvg_official | 1-based frames, inclusive | every annotated one | hull of both spans |
| tubedetr | frames, end exclusive | sampled at 5 per second, 200 at most | sampled frames of the hull |
| cg_stvg | ground truth's end as annotated, used as exclusive | every one | frames of the hull |
| ptd | sampled frames, inclusive | 2 per second over the clip, 4 to 64 | sampled frames with a box in either |

The hull runs from the earlier beginning to the later end. Sources: tzhhhh123/HC-STVG `eval_hcvg.py`; antoyang/TubeDETR
`datasets/hcstvg_eval.py`, `datasets/vidstg_eval.py`; HengLan/CGSTVG `datasets/evaluation/`, which STCAT and TA-STVG
share; mbzuai-oryx/ParallelTubeDecoding `evaluation/lmms_eval/lmms_eval/tasks/`, `data/prepare_*_eval.py`.

`cg_stvg` skips VidSTG's sentences whose trajectory has gaps, which are scored here, and its mean spatial IoU on
VidSTG counts the frame at `end_fid` as well, which is left out here. `ptd` lays its grid over the frames that OpenCV
counts in the video and leaves out HC-STVG's events between two frames of it; here the grid lies over the annotated
frames, and such events score 0.
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

    Raises:
        RecordError: lengths differ.
    """

    owner: IntArray
    frames: IntArray
    inside: _BoolArray
    usable: _BoolArray
    iou: FloatArray

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in ("owner", "frames", "inside", "usable", "iou")}
        validation.same_length("frame", **columns)


def frame_ious(truths: Sequence[Truth], predictions: Sequence[Tube | None], *, interpolate: bool = True) -> FrameIous:
    """IoU at each annotated frame, as `hcstvg_official` sums it; arguments as `evaluate` takes them."""
    truth, prediction = _Truths.of(truths), _Prediction.of(predictions, interpolate)
    iou, usable = prediction.iou_with(truth)
    return FrameIous(
        truth.owner, truth.frames, prediction.covers(truth.owner, truth.frames), usable, np.where(usable, iou, 0.0)
    )


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

    def covers(self, owner: IntArray, frames: IntArray) -> _BoolArray:
        """(K,) whether each frame (K,) of the samples `owner` (K,) is in the predicted span."""
        inside: _BoolArray = (frames >= self.spans[owner, 0]) & (frames < self.spans[owner, 1])
        return inside

    def boxes_at(self, owner: IntArray, frames: IntArray) -> tuple[FloatArray, _BoolArray]:
        """Boxes (K, 4) at frames of samples, both (K,) and rising; and whether there is one, given or interpolated.

        Boxes are interpolated inside the span alone.
        """
        boxes_xyxy, found = np.zeros((len(frames), 4)), np.zeros(len(frames), dtype=bool)
        if len(self.frames) == 0:
            return boxes_xyxy, found
        keys, wanted = self.owner * _STRIDE + self.frames, owner * _STRIDE + frames
        right = np.searchsorted(keys, wanted)  # (K,) first box at or after the frame
        at_most = np.minimum(right, len(keys) - 1)
        found = keys[at_most] == wanted
        boxes_xyxy[found] = self.boxes_xyxy[at_most[found]]
        if not self.interpolate:
            return boxes_xyxy, found

        open_ = np.flatnonzero(self.covers(owner, frames) & ~found)
        owner, right = owner[open_], right[open_]
        has_left = (right > 0) & (self.owner[right - 1] == owner)
        has_right = (right < len(keys)) & (self.owner[np.minimum(right, len(keys) - 1)] == owner)
        between = has_left | has_right
        open_, right, has_left, has_right = open_[between], right[between], has_left[between], has_right[between]
        after = np.where(has_right, right, right - 1)
        before = np.where(has_left, right - 1, right)
        boxes_xyxy[open_] = interpolate(self.frames, self.boxes_xyxy, before, after, frames[open_])
        found[open_] = True
        return boxes_xyxy, found

    def iou_with(self, truth: _Truths) -> tuple[FloatArray, _BoolArray]:
        """(K,) IoU at each annotated frame, 0 without a predicted box; and whether the frame has a box in the span."""
        boxes_xyxy, found = self.boxes_at(truth.owner, truth.frames)
        iou = np.zeros(len(truth.frames))
        iou[found] = _iou(boxes_xyxy[found], truth.boxes_xyxy[found])
        return iou, found & self.covers(truth.owner, truth.frames)


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


def _ptd(truth: _Truths, prediction: _Prediction) -> Scores:
    """PTD's evaluator: its own 2 frames per second, 64 at most, boxes in whole thousandths; R counts from R on."""
    grids = [
        _ptd_grid(first, end, fps) for (first, end), fps in zip(truth.clips.tolist(), truth.fps.tolist(), strict=True)
    ]
    count = len(grids)
    owner = np.repeat(np.arange(count, dtype=np.int64), [len(grid) for grid in grids])
    frames = np.concatenate([np.empty(0, dtype=np.int64), *grids])
    index = np.concatenate([np.empty(0, dtype=np.int64), *(np.arange(len(grid)) for grid in grids)])
    scale = truth.size_wh[owner][:, [0, 1, 0, 1]]

    repaired, known = _repaired(truth), np.zeros(len(frames), dtype=bool)
    place = np.minimum(np.searchsorted(truth.keys, owner * _STRIDE + frames), max(len(truth.frames) - 1, 0))
    if len(truth.frames):
        known = (truth.keys[place] == owner * _STRIDE + frames) & ~np.isnan(repaired[place, 0])
    inside = prediction.covers(owner, frames)
    boxes_xyxy, found = prediction.boxes_at(owner, frames)
    found &= inside & ~np.isnan(boxes_xyxy).any(axis=1)

    both = known & found
    iou = np.zeros(len(frames))
    iou[both] = _iou(_thousandths(boxes_xyxy[both], scale[both]), _thousandths(repaired[place[both]], scale[both]))

    def of_each(values: npt.NDArray[np.generic]) -> FloatArray:
        sums: FloatArray = np.bincount(owner, weights=values, minlength=count).astype(np.float64)
        return sums

    spans = [_ends(owner[members], index[members], count) for members in (known, inside)]
    shared = np.maximum(np.minimum(spans[0][:, 1], spans[1][:, 1]) - np.maximum(spans[0][:, 0], spans[1][:, 0]), 0)
    is_given = (_length(spans[0]) > 0) & (_length(spans[1]) > 0)
    return Scores(
        np.where(is_given, shared / np.maximum(_length(_hull(*spans)), 1), 0.0),
        of_each(iou) / np.maximum(of_each(known | found), 1),
        of_each(iou) / np.maximum(of_each(known), 1),
    )


def _ptd_grid(first: int, end: int, fps: float) -> IntArray:
    """The frames of [first, end) that PTD's evaluator looks at."""
    length = end - first
    count = min(max(int(length / fps * 2.0), 4), 64, length)
    frames = np.rint(first + np.arange(count) * (length - 1) / max(count - 1, 1))
    return frames.astype(np.int64)


def _ends(owner: IntArray, index: IntArray, count: int) -> IntArray:
    """(N, 2) first and last + 1 of the indices (K,) of each sample; (0, 0) for none."""
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, -1, dtype=np.int64)
    np.minimum.at(first, owner, index)
    np.maximum.at(last, owner, index)
    return np.stack([np.where(last < 0, 0, first), last + 1], axis=1)


def _repaired(truth: _Truths) -> FloatArray:
    """(K, 4) true boxes; HC-STVG's boxes of negative size are interpolated, NaN if the sample has no other box."""
    negative = truth.one_based[truth.owner] & (truth.boxes_xyxy[:, 2:] < truth.boxes_xyxy[:, :2]).any(axis=1)
    if not negative.any():
        return truth.boxes_xyxy
    keep = ~negative
    whole = np.array([[0, np.iinfo(np.int64).max]] * len(truth.spans), dtype=np.int64).reshape(-1, 2)
    others = _Prediction(whole, truth.owner[keep], truth.frames[keep], truth.boxes_xyxy[keep], True)
    boxes_xyxy, found = others.boxes_at(truth.owner, truth.frames)
    return np.where(found[:, None], boxes_xyxy, np.nan)


def _thousandths(boxes_xyxy: FloatArray, scale: IntArray) -> FloatArray:
    """Boxes (K, 4) in pixels as whole thousandths of the frame `scale` (K, 4), inside it and with ordered corners."""
    rounded = np.clip(np.rint(boxes_xyxy / scale * 1000), 0, 1000)
    low, high = np.minimum(rounded[:, :2], rounded[:, 2:]), np.maximum(rounded[:, :2], rounded[:, 2:])
    return np.concatenate([low, high], axis=1)


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
    "ptd": _ptd,
}
"""Protocols by name."""
AT_LEAST = frozenset({"ptd"})
"""Protocols for which a value equal to R counts in tIoU@R and vIoU@R."""
