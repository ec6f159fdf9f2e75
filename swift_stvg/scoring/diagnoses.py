"""Why answers lose: bias of their times, the loss of vIoU by cause, identity switches, and good boxes at wrong times.

Answers are diagnosed on their own grid of indices, as the protocol `native` scores them. Tubes are diagnosed on every
annotated frame, as `hcstvg_official` scores them. Below, "frame" means such an index or frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.records import Sample
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.ground_truth import GroundTruth
from swift_stvg.scoring.matching import NATIVE, Scored
from swift_stvg.scoring.metrics import BoolArray
from swift_stvg.scoring.protocols import frame_ious
from swift_stvg.util import validation

GOOD = 0.5
"""Boxes and times are good from this IoU on; a box that has reached it is on the object."""
LEFT = 0.1
"""A box has left the object at this IoU or below."""
CAUSES = ("time", "place", "missing_boxes", "no_answer")
TIE_S = 1e-6
"""Time errors of at most this many seconds count as exact."""


@dataclass(frozen=True, eq=False)
class Diagnoses:
    """What is wrong with each of N predictions, from the frames of both spans.

    Attributes:
        protocol: the protocol whose vIoU is split.
        with_boxes: (N,) whether the sample has boxes.
        answered: (N,) whether a prediction is scored.
        tiou: (N,) temporal IoU; 0 if not answered.
        either: (N,) frames that the vIoU divides by; above 0.
        owner: (K,) sample of each annotated frame inside both spans, not decreasing.
        frames: (K,) the frame, increasing for each sample.
        usable: (K,) whether the prediction has a box there.
        iou: (K,) IoU of the box in [0, 1]; 0 if not usable.
        true_s, given_s: (N, 2) start and end of the event and of the prediction in seconds; NaN if not answered.

    Raises:
        RecordError: lengths differ.
    """

    protocol: str
    with_boxes: BoolArray
    answered: BoolArray
    tiou: FloatArray
    either: FloatArray
    owner: IntArray
    frames: IntArray
    usable: BoolArray
    iou: FloatArray
    true_s: FloatArray
    given_s: FloatArray

    def __post_init__(self) -> None:
        for unit, names in (
            ("sample", ("with_boxes", "answered", "tiou", "either", "true_s", "given_s")),
            ("frame", ("owner", "frames", "usable", "iou")),
        ):
            validation.same_length(unit, **{name: getattr(self, name) for name in names})

    @classmethod
    def of(cls, scored: Scored, truth: GroundTruth) -> Diagnoses:
        """Diagnose the predictions of one system."""
        if isinstance(scored.system, AnswerFile):
            return _of_answers(scored, scored.system, truth)
        if truth.samples is None:
            raise ValueError("tubes need samples")
        return _of_tubes(scored, truth.samples, truth.with_boxes)

    @cached_property
    def errors_s(self) -> FloatArray:
        """(N, 2) start and end of the prediction minus those of the event, in seconds.

        A negative begin means that the prediction starts too early; a negative end, that it ends too early. NaN if not
        answered.
        """
        return self.given_s - self.true_s

    @cached_property
    def loss(self) -> dict[str, FloatArray]:
        """1 - vIoU of each sample by cause, (N,) each; the causes sum to 1 - vIoU. NaN for a sample without boxes.

        With n frames in the denominator of the vIoU:

        - time: frames that are not in both spans, over n;
        - missing_boxes: frames of both spans without a usable predicted box, over n;
        - place: sum of 1 - IoU over the other frames of both spans, over n;
        - no_answer: 1 if the sample has no prediction that is scored; the other three are 0 then.
        """
        shared, usable = self._count(np.ones_like(self.iou)), self._count(self.usable)
        parts = {
            "time": (self.either - shared) / self.either,
            "place": (usable - self._count(self.iou)) / self.either,
            "missing_boxes": (shared - usable) / self.either,
        }
        found = {name: np.where(self.answered, part, 0.0) for name, part in parts.items()}
        found["no_answer"] = np.where(self.answered, 0.0, 1.0)
        return {name: np.where(self.with_boxes, found[name], np.nan) for name in CAUSES}

    @cached_property
    def switches(self) -> IntArray:
        """(N,) identity switches: how often the box leaves the object after it was on it.

        Among the frames of both spans that have a predicted box, in order: a box with IoU >= 0.5 is on the object; a
        later box with IoU <= 0.1 has left it, and the next switch needs a box on the object again. Boxes between 0.1
        and 0.5 and frames without a box change nothing.
        """
        decided = self.usable & ((self.iou >= GOOD) | (self.iou <= LEFT))
        owner, is_on = self.owner[decided], self.iou[decided] >= GOOD
        leaves = is_on[:-1] & ~is_on[1:] & (owner[:-1] == owner[1:])
        return np.bincount(owner[1:][leaves], minlength=len(self.tiou)).astype(np.int64)

    @cached_property
    def box_iou(self) -> FloatArray:
        """(N,) mean IoU of the predicted boxes over the frames of both spans that have one; NaN if there is none."""
        usable = self._count(self.usable)
        means: FloatArray = np.divide(self._count(self.iou), usable, out=np.full(len(usable), np.nan), where=usable > 0)
        return means

    @cached_property
    def kinds(self) -> dict[str, BoolArray]:
        """(N,) members of each kind of answered sample with boxes; every such sample is of one kind.

        Times are good if tIoU >= 0.5, boxes if `box_iou` >= 0.5. Without a box in both spans, boxes cannot be judged.
        """
        judged = self.answered & self.with_boxes
        known = ~np.isnan(self.box_iou)
        boxes, time = np.nan_to_num(self.box_iou) >= GOOD, self.tiou >= GOOD
        return {
            "both_good": judged & known & boxes & time,
            "boxes_good_time_wrong": judged & known & boxes & ~time,
            "time_good_boxes_wrong": judged & known & ~boxes & time,
            "both_wrong": judged & known & ~boxes & ~time,
            "no_box_in_both_spans": judged & ~known,
        }

    def _count(self, weights: FloatArray | BoolArray) -> FloatArray:
        """(N,) sums of (K,)."""
        sums: FloatArray = np.bincount(self.owner, weights=weights, minlength=len(self.tiou)).astype(np.float64)
        return sums

    def summary(self) -> dict[str, Any]:
        """The figures over all samples, as JSON data. Times are over answered samples, losses over those with boxes."""
        found: dict[str, Any] = {"protocol": self.protocol, "answered": int(self.answered.sum())}
        for name, errors in zip(("onset_s", "end_s"), self.errors_s.T, strict=True):
            given = errors[self.answered]
            found[name] = None
            if len(given):
                found[name] = {
                    "mean": float(given.mean()),
                    "median": float(np.median(given)),
                    "too_early": float((given < -TIE_S).mean()),
                    "too_late": float((given > TIE_S).mean()),
                }
        count = int(self.with_boxes.sum())
        if count:
            loss = {name: float(part[self.with_boxes].mean()) for name, part in self.loss.items()}
            found["loss"] = loss | {"total": sum(loss.values())}
            found["identity_switches"] = {
                "answers": int((self.switches > 0).sum()),
                "switches": int(self.switches.sum()),
                "judged": int((self.answered & self.with_boxes).sum()),
            }
            found["boxes_and_time"] = {name: int(members.sum()) for name, members in self.kinds.items()}
        return found

    def sample(self, i: int) -> dict[str, Any]:
        """The figures of sample `i`, as JSON data."""
        onset_s, end_s = (None if np.isnan(error) else float(error) for error in self.errors_s[i])
        found: dict[str, Any] = {"answered": bool(self.answered[i]), "onset_s": onset_s, "end_s": end_s}
        if self.with_boxes[i]:
            found["loss"] = {name: float(part[i]) for name, part in self.loss.items()}
            found["identity_switches"] = int(self.switches[i])
            found["box_iou"] = None if np.isnan(self.box_iou[i]) else float(self.box_iou[i])
            found["kind"] = next((name for name, members in self.kinds.items() if members[i]), "no_answer")
        return found


def _of_answers(scored: Scored, system: AnswerFile, truth: GroundTruth) -> Diagnoses:
    batch, count = system.batch, len(truth)
    rows, samples = scored.matched
    sample_of = np.full(len(batch), -1, dtype=np.int64)
    sample_of[rows] = samples
    true_s, given_s = np.full((2, count, 2), np.nan)
    shared_owner, shared_frames = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for row, i in zip(rows.tolist(), samples.tolist(), strict=True):
        row_truth, span = batch.row_truths[row], batch.answers[row].span
        on_grid = row_truth.on_grid(span)
        if span is None or on_grid is None:
            raise ValueError(f"answer {row} is scored and has no span")
        true_s[i], given_s[i] = row_truth.timeline.clip_span_s(row_truth.span), row_truth.timeline.clip_span_s(on_grid)
        inside = row_truth.index[(row_truth.index >= span[0]) & (row_truth.index <= span[1])]
        shared_owner.append(np.full(len(inside), row, dtype=np.int64))
        shared_frames.append(inside)
    owner, frames = np.concatenate(shared_owner), np.concatenate(shared_frames)
    usable, iou = np.zeros(len(frames), dtype=bool), np.zeros(len(frames))
    pairs, terms = batch.pairs([answer.pred for answer in batch.answers]), batch.pred_terms
    stride = 1 << 32
    order = np.argsort(owner * stride + frames)
    owner, frames = owner[order], frames[order]
    if len(pairs.index) and len(frames):
        at = np.searchsorted(pairs.owner * stride + pairs.index, owner * stride + frames)
        at = np.minimum(at, len(pairs.index) - 1)
        known = (pairs.owner[at] == owner) & (pairs.index[at] == frames)
        usable, iou = known & pairs.usable[at], np.where(known, terms.iou[at], 0.0)
    order = np.argsort(sample_of[owner], kind="stable")
    either = np.ones(count)
    either[samples] = np.maximum(batch.frames_of_either[rows], 1)
    answered = np.zeros(count, dtype=bool)
    answered[samples] = True
    return Diagnoses(
        protocol=NATIVE,
        with_boxes=truth.with_boxes,
        answered=answered,
        tiou=scored.scores(NATIVE).tiou,
        either=either,
        owner=sample_of[owner][order],
        frames=frames[order],
        usable=usable[order],
        iou=iou[order],
        true_s=true_s,
        given_s=given_s,
    )


def _of_tubes(scored: Scored, samples: Sequence[Sample], with_boxes: BoolArray) -> Diagnoses:
    protocol = "hcstvg_official"
    tubes = scored.tubes("pred")
    found = frame_ious(samples, tubes, interpolate=scored.interpolate)
    spans = np.array([s.span_frames for s in samples], dtype=np.float64).reshape(-1, 2)
    given = np.full((len(samples), 2), np.nan)
    for i, tube in enumerate(tubes):
        if tube is not None and tube.span_frames[0] <= tube.span_frames[1]:
            given[i] = tube.span_frames[0], tube.span_frames[1] + 1
    answered = ~np.isnan(given[:, 0])
    hull = np.fmax(spans[:, 1], given[:, 1]) - np.fmin(spans[:, 0], given[:, 0])
    rates = np.array([s.annotated_fps for s in samples])[:, None]
    keep = found.inside & answered[found.owner]
    return Diagnoses(
        protocol=protocol,
        with_boxes=with_boxes,
        answered=answered,
        tiou=scored.scores(protocol).tiou,
        either=hull,
        owner=found.owner[keep],
        frames=found.frames[keep],
        usable=found.usable[keep],
        iou=found.iou[keep],
        true_s=np.where(answered[:, None], spans / rates, np.nan),
        given_s=given / rates,
    )
