"""A batch of completions with the truth of their rows, parsed once for all rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from swift_stvg.answers.format import LAST_INDEX, Answer, BoxList
from swift_stvg.geometry import FloatArray, IntArray, clip_boxes, paired_iou_and_giou, paired_l1
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.util import validation

INDICES = LAST_INDEX + 1
"""Number of different indices in answers."""
WORST_GIOU, WORST_L1 = -1.0, 4.0
"""GIoU and L1 of a box that is missing or unreadable."""
Term: TypeAlias = Callable[[FloatArray, FloatArray], FloatArray]
"""A function of GIoU and L1 whose mean is a spatial reward."""


@dataclass(frozen=True, slots=True, eq=False)
class BoxPairs:
    """The boxes of one part of the answers and the true boxes, frame by frame, over all completions of a batch.

    Attributes:
        owner: (K,) number of the completion of each frame, not decreasing.
        index: (K,) grid index of each frame.
        usable: (K,) whether the answer has a readable box at the frame.
        boxes_xyxy: (K, 4) the answer's boxes, normalised to [0, 1] and clipped to the frame; 0 if not usable.
        true_xyxy: (K, 4) the true boxes, normalised to [0, 1].

    Raises:
        RecordError: lengths differ.
    """

    owner: IntArray
    index: IntArray
    usable: npt.NDArray[np.bool_]
    boxes_xyxy: FloatArray
    true_xyxy: FloatArray

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in ("owner", "index", "usable", "boxes_xyxy", "true_xyxy")}
        validation.same_length("frame", "", **columns)


@dataclass(frozen=True, slots=True, eq=False)
class BoxTerms:
    """Agreement of one box list with the truth, frame by frame, over all completions of a batch.

    Attributes:
        owner: (K,) number of the completion of each frame, not decreasing.
        index: (K,) grid index of each frame.
        iou: (K,) in [0, 1].
        giou: (K,) in [-1, 1].
        l1: (K,) in [0, 4].
        asked: (B,) whether the format of each completion has this list.

    Raises:
        RecordError: lengths differ.
    """

    owner: IntArray
    index: IntArray
    iou: FloatArray
    giou: FloatArray
    l1: FloatArray
    asked: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in ("owner", "index", "iou", "giou", "l1")}
        validation.same_length("frame", "", **columns)


class Batch:
    """Completions with the truths of their rows, parsed once.

    Args:
        completions: B strings that a model wrote.
        row_truths: the truth of each completion's row, B of them.
        read: (B,) the answer that was read from each completion, and whether the completion has exactly the form. If
            None, each completion is read in the form that its row asks for.

    Raises:
        RecordError: the lists differ in length, or hold values of another type.
    """

    def __init__(
        self,
        completions: Sequence[str],
        row_truths: Sequence[RowTruth],
        read: Sequence[tuple[Answer, bool]] | None = None,
    ) -> None:
        validation.all_instances("completions", completions, str)
        validation.all_instances("row_truths", row_truths, RowTruth, ", as RowTruth.from_json reads them from rows")
        validation.same_length("completion", completions=completions, row_truths=row_truths)
        self.completions, self.row_truths = completions, row_truths
        if read is None:
            read = [c.read(text) for text, c in zip(completions, row_truths, strict=True)]
        validation.same_length("completion", completions=completions, read=read)
        self.answers: list[Answer] = [answer for answer, _ in read]
        self.valid: list[bool] = [valid for _, valid in read]

    def __len__(self) -> int:
        return len(self.row_truths)

    def only(self, i: int) -> Batch:
        """A batch of completion `i` alone. The completion is not read again."""
        return Batch([self.completions[i]], [self.row_truths[i]], [(self.answers[i], self.valid[i])])

    @cached_property
    def faults(self) -> list[tuple[str, str] | None]:
        """The `Answer.fault` of each answer; None for an answer that makes a tube."""
        return [a.fault(c.timeline.size, c.scale_wh) for a, c in zip(self.answers, self.row_truths, strict=True)]

    @cached_property
    def complete(self) -> npt.NDArray[np.bool_]:
        """(B,) whether each answer makes a tube."""
        return np.array([fault is None for fault in self.faults], dtype=bool)

    @cached_property
    def think_terms(self) -> BoxTerms:
        """Agreement of the intermediate boxes over T_cap (Eq. 6)."""
        asked = np.array([row_truth.format.think for row_truth in self.row_truths], dtype=bool)
        return self._terms([answer.think for answer in self.answers], asked)

    @cached_property
    def pred_terms(self) -> BoxTerms:
        """Agreement of the final boxes over T_cap (Eq. 6)."""
        asked = np.array([row_truth.format.boxes for row_truth in self.row_truths], dtype=bool)
        return self._terms([answer.pred for answer in self.answers], asked)

    @cached_property
    def frames_of_either(self) -> FloatArray:
        """(B,) annotated frames of the event, plus frames of the answer's span outside it (0 for a backward span)."""
        counts = np.array([len(row_truth.index) for row_truth in self.row_truths], dtype=np.float64)
        for i, (answer, row_truth) in enumerate(zip(self.answers, self.row_truths, strict=True)):
            if answer.span is not None and answer.span[0] <= answer.span[1]:
                (first, last), (low, high) = answer.span, row_truth.span
                counts[i] += last - first + 1 - max(0, min(last, high) - max(first, low) + 1)
        return counts

    @cached_property
    def floors(self) -> FloatArray:
        """(B,) lower bound of the per-frame spatial term; -inf if the row sets none."""
        return np.array(
            [-np.inf if c.settings.spatial_floor is None else c.settings.spatial_floor for c in self.row_truths]
        )

    @cached_property
    def _truth(self) -> tuple[IntArray, IntArray, FloatArray]:
        """Owner (N,), index (N,) and normalised box (N, 4) of every annotated index of every row."""
        owner = np.repeat(np.arange(len(self)), [len(row_truth.index) for row_truth in self.row_truths])
        boxes_xyxy = np.concatenate([np.empty((0, 4)), *(row_truth.boxes_xyxy for row_truth in self.row_truths)])
        index = np.concatenate([np.empty(0, dtype=np.int64), *(row_truth.index for row_truth in self.row_truths)])
        return owner, index, boxes_xyxy / self._limits[owner]

    @cached_property
    def _limits(self) -> FloatArray:
        """(B, 4) extent of the text coordinates."""
        return np.array([2 * row_truth.scale_wh for row_truth in self.row_truths], dtype=np.float64).reshape(-1, 4)

    @cached_property
    def _spans(self) -> IntArray:
        """(B, 2) closed spans of the answers; (0, -1) for an answer without a span."""
        return np.array([answer.span or (0, -1) for answer in self.answers], dtype=np.int64).reshape(-1, 2)

    def pairs(self, lists: Sequence[BoxList | None]) -> BoxPairs:
        """The boxes of B lists and the true boxes, over the annotated frames of T_cap."""
        readable = np.array([boxes is not None for boxes in lists], dtype=bool)
        owner, index, true_xyxy = self._truth
        inside = readable[owner] & (index >= self._spans[owner, 0]) & (index <= self._spans[owner, 1])
        owner, index, true_xyxy = owner[inside], index[inside], true_xyxy[inside]  # (K,), (K,), (K, 4)

        found = [boxes for boxes in lists if boxes is not None]
        written_by = np.repeat(np.flatnonzero(readable), [len(boxes.index) for boxes in found])  # (W,)
        written = np.concatenate([np.empty(0, dtype=np.int64), *(boxes.index for boxes in found)])
        # one number for each (list, index); the first box of a repeated index counts
        places, first = np.unique(written_by * INDICES + written, return_index=True)
        wanted = owner * INDICES + index
        place = np.minimum(np.searchsorted(places, wanted), max(len(places) - 1, 0))  # (K,)
        there = places[place] == wanted if len(places) else np.zeros(len(wanted), dtype=bool)
        boxes_xyxy = np.zeros((len(wanted), 4))
        if len(places):
            boxes_xyxy = np.concatenate([boxes.boxes_xyxy for boxes in found])[first[place]] / self._limits[owner]
        usable = there & np.all(boxes_xyxy[:, :2] <= boxes_xyxy[:, 2:], axis=1)  # false for NaN
        clipped = clip_boxes(np.where(usable[:, None], boxes_xyxy, 0.0), (1.0, 1.0))
        return BoxPairs(owner, index, usable, clipped, true_xyxy)

    def _terms(self, lists: Sequence[BoxList | None], asked: npt.NDArray[np.bool_]) -> BoxTerms:
        pairs = self.pairs(lists)
        iou, giou = paired_iou_and_giou(pairs.boxes_xyxy, pairs.true_xyxy)
        return BoxTerms(
            pairs.owner,
            pairs.index,
            np.where(pairs.usable, iou, 0.0),
            np.where(pairs.usable, giou, WORST_GIOU),
            np.where(pairs.usable, paired_l1(pairs.boxes_xyxy, pairs.true_xyxy), WORST_L1),
            asked,
        )

    def spatial_frames(self, terms: BoxTerms) -> FloatArray:
        """(B,) number of frames in `spatial_mean`: T_cap, or the union of both spans (STVG_SPATIAL_FRAMES)."""
        shared = np.bincount(terms.owner, minlength=len(self)).astype(np.float64)
        either = np.array([row_truth.settings.spatial_frames == "either" for row_truth in self.row_truths], dtype=bool)
        return np.where(either & terms.asked, self.frames_of_either, shared)

    def spatial_mean(self, terms: BoxTerms, term: Term) -> FloatArray:
        """(B,) mean of a term over the frames of each completion, with the row's lower bound; 0 without frames.

        If the row counts the union of both spans, a frame of only one span counts as the worst box.
        """
        sums = self.sums(terms, np.maximum(term(terms.giou, terms.l1), self.floors[terms.owner]))
        frames = self.spatial_frames(terms)
        without = frames - np.bincount(terms.owner, minlength=len(self))
        worst = np.maximum(term(np.array(WORST_GIOU), np.array(WORST_L1)), self.floors)
        return (sums + without * worst) / np.maximum(frames, 1)

    def sums(self, terms: BoxTerms, per_frame: FloatArray) -> FloatArray:
        """(B,) sum of `per_frame` (K,) over the frames of each completion."""
        return np.bincount(terms.owner, weights=per_frame, minlength=len(self)).astype(np.float64)
