"""Boxes over time: the true boxes, and the readable boxes of an answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swift_stvg.answers.format import Answer, BoxList
from swift_stvg.geometry import FloatArray, interpolate, to_picture
from swift_stvg.records import MAX_COORDINATE
from swift_stvg.rows.row_truth import PromptSpec, RowTruth
from swift_stvg.util import validation

TRACK_KINDS = ("truth", "think", "pred", "first", "second")
"""The truth; think and final boxes of an answer; final boxes of two systems that are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Boxes of one kind over time. The functions here use clip time: seconds from the clip's first frame.

    Attributes:
        kind: one of `TRACK_KINDS`.
        span_s: start and end of the event.
        times_s: (K,) times of the indices of the span, increasing.
        boxes_xyxy: (K, 4) in shares of the frame's width and height; NaN for a box that is missing or unreadable.

    Raises:
        RecordError: the kind is unknown; or a shape, an order or a length is wrong.
    """

    kind: str
    span_s: tuple[float, float]
    times_s: FloatArray
    boxes_xyxy: FloatArray

    def __post_init__(self) -> None:
        if self.kind not in TRACK_KINDS:
            validation.refuse("kind", f"be one of {', '.join(TRACK_KINDS)}", repr(self.kind))
        validation.numbers("span_s", self.span_s, rising="weakly")
        times_s = validation.numbers("times_s", self.times_s, rising="weakly")
        boxes_xyxy = validation.boxes("boxes_xyxy", self.boxes_xyxy, times_s, largest=MAX_COORDINATE, unread=True)
        validation.set_fields(self, times_s=times_s, boxes_xyxy=boxes_xyxy)

    def at(self, time_s: float, tolerance_s: float) -> tuple[FloatArray, bool] | None:
        """The box (4,) at a time, and whether it is a given box (not an interpolated one); None if there is no box.

        Args:
            time_s: the time.
            tolerance_s: up to this distance from the time of a given box, that box counts as given, not interpolated.
        """
        if not self.span_s[0] - 1e-6 <= time_s <= self.span_s[1] + 1e-6 or len(self.times_s) == 0:
            return None
        right = int(np.searchsorted(self.times_s, time_s))
        before, after = max(right - 1, 0), min(right, len(self.times_s) - 1)
        nearest = before if abs(time_s - self.times_s[before]) <= abs(self.times_s[after] - time_s) else after
        given = bool(abs(self.times_s[nearest] - time_s) <= tolerance_s)
        (box,) = interpolate(self.times_s, self.boxes_xyxy, np.array([before]), np.array([after]), np.array([time_s]))
        if np.isnan(box).any() and given:  # the other box of the interpolation is unreadable
            box = self.boxes_xyxy[nearest]
        return None if np.isnan(box).any() else (box, given)


def true_tracks(spec: PromptSpec) -> list[Track]:
    """The track of the truth; an empty list for a prompt spec without truth."""
    if not isinstance(spec, RowTruth):
        return []
    return _tracks(spec, spec.span, {"truth": BoxList(spec.index, spec.boxes_xyxy)})


def answer_tracks(spec: PromptSpec, answer: Answer | None) -> list[Track]:
    """The think track and the final track of an answer. A track with an unreadable span or list is left out."""
    if answer is None or answer.span is None:
        return []
    return _tracks(spec, answer.span, {"think": answer.think, "pred": answer.pred})


def _tracks(spec: PromptSpec, span: tuple[int, int], lists: dict[str, BoxList | None]) -> list[Track]:
    line, on_grid = spec.timeline, spec.on_grid(span)
    if on_grid is None:
        return []
    first, last = on_grid
    wanted = np.arange(first, last + 1, dtype=np.int64)
    found = []
    for kind, boxes in lists.items():
        if boxes is None:
            continue
        index, given_xyxy = boxes.first_of_each()
        inside = (index >= first) & (index <= last)
        boxes_xyxy = np.full((len(wanted), 4), np.nan)
        boxes_xyxy[index[inside] - first] = to_picture(given_xyxy[inside], spec.scale_wh, (1.0, 1.0))
        found.append(Track(kind, line.clip_span_s(on_grid), line.seconds(wanted), boxes_xyxy))
    return found
