"""What an answer says: a span, and boxes by index. Every style of answer is read into these records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.util import validation

LAST_INDEX = 10**8 - 1
"""Upper bound of indices: the readers accept at most seven digits."""
MAX_TEXT_COORDINATE = 1e16
"""Upper bound of coordinates: the readers accept at most fifteen digits before the point."""
FAR_OUTSIDE = 10
"""A coordinate of more than this many times the longer side of the picture makes an answer inconsistent."""


@dataclass(frozen=True, slots=True, eq=False)
class BoxList:
    """Boxes of one part of an answer, as written.

    Attributes:
        index: (K,) in the order of the text; an index may repeat.
        boxes_xyxy: (K, 4) in text coordinates; NaN for a box that could not be read.
        unplaced: text of the first box without a readable index, which is not in the list; "" if there is none.

    Raises:
        RecordError: a shape, a range or a length is wrong.
    """

    index: IntArray
    boxes_xyxy: FloatArray
    unplaced: str = ""

    def __post_init__(self) -> None:
        index = validation.integers("index", self.index, most=LAST_INDEX, rising=None)
        boxes_xyxy = validation.boxes("boxes_xyxy", self.boxes_xyxy, index, largest=MAX_TEXT_COORDINATE, unread=True)
        validation.set_fields(self, index=index, boxes_xyxy=boxes_xyxy)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BoxList)
            and self.unplaced == other.unplaced
            and np.array_equal(self.index, other.index)
            and np.array_equal(self.boxes_xyxy, other.boxes_xyxy, equal_nan=True)
        )

    def covers(self, span: tuple[int, int]) -> bool:
        """Whether the list holds exactly one readable box for each index of the closed span, in order."""
        first, last = span
        return (
            not self.unplaced
            and len(self.index) == last - first + 1
            and bool((self.index == np.arange(first, first + len(self.index))).all())
            and not np.isnan(self.boxes_xyxy).any()
        )

    def lies_in(self, span: tuple[int, int]) -> bool:
        """Whether the list holds readable boxes only, at most one for each index of the closed span, in order."""
        return (
            not self.unplaced
            and bool((np.diff(self.index) > 0).all())
            and bool(((self.index >= span[0]) & (self.index <= span[1])).all())
            and not np.isnan(self.boxes_xyxy).any()
        )

    def misfit(self, span: tuple[int, int]) -> str:
        """Describe the difference between the list and the span; call it if `covers` is False."""
        if self.unplaced:
            return f"a box has no index that can be read: {self.unplaced!r}"
        if np.isnan(self.boxes_xyxy).any():
            return f"the box of index {self.index[np.isnan(self.boxes_xyxy).any(axis=1)][0]} cannot be read"
        wanted = f"the span {span[0]} - {span[1]}"
        if len(self.index) != span[1] - span[0] + 1:
            return f"{len(self.index)} boxes for {wanted}"
        return f"the boxes do not have the indices of {wanted}, in order"

    def first_of_each(self) -> tuple[IntArray, FloatArray]:
        """The different indices (U,), increasing, and their boxes (U, 4); the first box of a repeated index counts."""
        if (self.index[1:] > self.index[:-1]).all():
            return self.index, self.boxes_xyxy
        known, first = np.unique(self.index, return_index=True)
        return known, self.boxes_xyxy[first]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the reader found in a completion.

    Attributes:
        span: closed span of indices as written (it may run backwards); None if unreadable.
        think: the intermediate boxes; None if unreadable or not asked for.
        pred: the final boxes; None if unreadable or not asked for.
        failures: reasons for unreadable parts, by part: "time", "think_bbox", "pred_bbox".
        seen: unexpected forms in the text: `CLOCK_TIMES` for the span; `SHARES` or `NO_SHARES` for boxes, which are
            unreadable.
        gaps: whether the style allows indices of the span without a box, for example where the object is not visible.
        object: the number of the object that the answer names; 0 if it says that no number fits; None in styles that
            write boxes. The object's boxes come from the row (`PromptSpec.read`).

    Raises:
        RecordError: the span is not two indices, or a list is not a BoxList.
    """

    span: tuple[int, int] | None
    think: BoxList | None
    pred: BoxList | None
    failures: Mapping[str, str] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()
    gaps: bool = False
    object: int | None = None

    def __post_init__(self) -> None:
        for name, boxes in (("think", self.think), ("pred", self.pred)):
            if not (boxes is None or isinstance(boxes, BoxList)):
                validation.refuse(name, "be a BoxList or None", type(boxes).__name__)
        if self.span is not None:
            validation.set_fields(self, span=validation.integer_pair("span", self.span, low=0, high=LAST_INDEX))

    def fault(self, size: int, scale_wh: tuple[int, int]) -> tuple[str, str] | None:
        """Why the span and the final boxes do not make a tube; None if they do.

        Args:
            size: number of indices of the grid.
            scale_wh: extent of the text coordinates.

        Returns:
            The kind and the detail. "unparsable": a part is unreadable. "inconsistent": the boxes are not exactly one
            for each index of the span, in order (with `gaps`: at most one); or the span leaves the grid; or a
            coordinate is far outside the picture.
        """
        if self.span is None or "pred_bbox" in self.failures:
            return "unparsable", "; ".join(
                self.failures[part] for part in ("time", "pred_bbox") if part in self.failures
            )
        first, last = self.span
        if first > last:
            return "inconsistent", f"the span {first} - {last} runs backwards"
        if last >= size:
            return "inconsistent", f"the span {first} - {last} goes beyond the last index, {size - 1}"
        if self.pred is None:
            return None
        if not (self.pred.lies_in(self.span) if self.gaps else self.pred.covers(self.span)):
            return "inconsistent", self.pred.misfit(self.span)
        if np.abs(self.pred.boxes_xyxy).max() > FAR_OUTSIDE * max(scale_wh):
            worst = int(np.abs(self.pred.boxes_xyxy).max(axis=1).argmax())
            box = self.pred.boxes_xyxy[worst].tolist()
            return "inconsistent", f"the box {box} of index {self.pred.index[worst]} is far outside the picture"
        return None
