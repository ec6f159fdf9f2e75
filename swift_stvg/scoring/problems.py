"""Keys of samples, and the parts of files that are not scored or count 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swift_stvg.geometry import FloatArray
from swift_stvg.sources.registry import SOURCES

Key = tuple[str, str]
"""Subset and id, the key of a ground-truth sample."""
NO_LINE = 0
MISSING, NO_ROW, OTHER_ANNOTATION = "missing", "no row", "other annotation"
COUNT_ZERO = frozenset({MISSING, "unparsable", "inconsistent", NO_ROW, OTHER_ANNOTATION})
"""Reasons for which a sample counts 0. With other reasons, a part of a file that belongs to no sample is set aside."""


def subset(dataset: str, split: str) -> str:
    """Name of the subset in which an id is unique.

    Parts of a split, such as `vidstg:test_declarative`, share the ids of the whole split. A file has its own name as
    subset, wherever it lies.
    """
    source = SOURCES.get(dataset)
    if source is not None and not source.splits:
        split = Path(split).name
    elif source is not None and split in source.splits:
        split = split.partition("_")[0]
    return f"{dataset}:{split}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of a file that is not scored, or counts 0.

    Attributes:
        reason: short fixed phrase, under which it is counted.
        detail: the value or the cause.
        subset, id: the sample's key, if known.
        line: line of the file, from 1; 0 if there is none.
        response: the text that the model wrote.
    """

    reason: str
    detail: str
    subset: str | None = None
    id: str | None = None
    line: int = NO_LINE
    response: str | None = None

    @property
    def where(self) -> str:
        """Line and id."""
        places = [f"line {self.line}" if self.line else "", f"id {self.id}" if self.id is not None else ""]
        return ", ".join(place for place in places if place)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.detail) if part)


def box_warnings(lists_xyxy: Sequence[FloatArray], extent: str, *, shares: bool) -> list[str]:
    """Warnings about a file whose boxes all follow another convention than expected.

    Args:
        lists_xyxy: lists of boxes (K, 4), as written; NaN where a box could not be read.
        extent: the expected unit of coordinates, in words.
        shares: whether the file holds boxes in shares of 1 that were not read.
    """
    boxes_xyxy = np.concatenate([np.empty((0, 4)), *lists_xyxy])
    boxes_xyxy = boxes_xyxy[~np.isnan(boxes_xyxy).any(axis=1)]
    found = []
    if (shares or len(boxes_xyxy)) and ((boxes_xyxy >= 0) & (boxes_xyxy <= 1)).all():
        found.append(f"all boxes lie within [0, 1], as shares of the picture do; they should be {extent}")
    if len(boxes_xyxy) and (boxes_xyxy[:, :2] > boxes_xyxy[:, 2:]).any(axis=1).all():
        found.append(
            f"all {len(boxes_xyxy)} boxes have their right left of their left or their bottom above their top, so none "
            "counts: the order is left, top, right, bottom"
        )
    return found
