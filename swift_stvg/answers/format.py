"""The answer format: the instruction, the exact answer, the strict check and the reading of any text, in one object.

`styles` has one class for each way of writing an answer. A format chooses a style, the unit of an index, the coordinate
convention, and the box lists of an answer. The strict check accepts exactly the form of the instruction; `parse` reads
any string.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swift_stvg.answers.answer import FAR_OUTSIDE, LAST_INDEX, MAX_TEXT_COORDINATE, Answer, BoxList
from swift_stvg.answers.styles import STYLE_CLASSES, Style
from swift_stvg.settings import COORDS, STYLES, UNITS, Settings, style_fault

__all__ = ["FAR_OUTSIDE", "LAST_INDEX", "MAX_TEXT_COORDINATE", "Answer", "AnswerFormat", "BoxList"]

_EXTENTS = {
    "pixel": "pixels of the frames",
    "norm1000": "thousandths of the frame's width and height",
    "unit": "shares of the frame's width and height",
    "source": "pixels of the video",
}


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """One variant of the answer format.

    Args:
        think: whether the answer has think boxes before the final boxes.
        unit: unit of an index: "frame" (a sampled frame) or "second".
        coords: "pixel" (of the frame that the model receives), "norm1000" (thousandths of its width and height),
            "unit" (shares of its width and height, with three decimals) or "source" (pixels of the video). In records
            shares are thousandths, so all records hold whole numbers.
        boxes: whether the answer has final boxes, or the span alone.
        style: a name of `STYLE_CLASSES`.

    Raises:
        ValueError: the unit, convention or style is unknown, or they do not fit together.
    """

    think: bool = True
    unit: str = "frame"
    coords: str = "pixel"
    boxes: bool = True
    style: str = "tags"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit must be one of {UNITS}, got {self.unit!r}")
        if self.coords not in COORDS:
            raise ValueError(f"coords must be one of {COORDS}, got {self.coords!r}")
        if self.style not in STYLES:
            raise ValueError(f"style must be one of {STYLES}, got {self.style!r}")
        if fault := style_fault(self.style, self.unit, self.coords, self.boxes):
            raise ValueError(fault)
        if self.think and not (self.boxes and STYLE_CLASSES[self.style].think):
            raise ValueError(
                f"think=True needs final boxes and a style that can hold both lists, got boxes={self.boxes}, "
                f"style {self.style!r}"
            )

    @classmethod
    def of(cls, settings: Settings) -> AnswerFormat:
        """The format for some settings. Think boxes need final boxes and a style that can hold them."""
        return cls(
            think=settings.think and settings.boxes and STYLE_CLASSES[settings.style].think,
            unit=settings.index_unit,
            coords=settings.coords,
            boxes=settings.boxes,
            style=settings.style,
        )

    def scale_wh(self, size_wh: tuple[int, int], source_wh: tuple[int, int]) -> tuple[int, int]:
        """Extent of the text coordinates: the records' number for 1.0 of a frame's width and height.

        Args:
            size_wh: size of the frame that the model receives.
            source_wh: size of the video's frame.
        """
        return {"pixel": size_wh, "source": source_wh}.get(self.coords, (1000, 1000))

    @property
    def shares(self) -> bool:
        """Whether coordinates are written as shares of 1. Records hold them as thousandths."""
        return self.coords == "unit"

    @property
    def names_object(self) -> bool:
        """Whether an answer names an object in place of boxes."""
        return self.style == "ids"

    @property
    def extent(self) -> str:
        """The unit of a coordinate, in words."""
        return _EXTENTS[self.coords]

    @property
    def numbers(self) -> str:
        """The form of the numbers of a coordinate, in words."""
        return f"{self.extent}, with three decimals" if self.shares else f"whole numbers in {self.extent}"

    def instruction(self) -> str:
        """The task instruction for the system prompt."""
        index = "frame number" if self.unit == "frame" else "second"
        task = "You are given a video and a sentence. Find when the described event happens"
        if self.boxes:
            task += " and where the described object is during it"
        return f"{task}. {self._style.ask(index, self.example())}"

    def example(self) -> str:
        """A whole answer in the exact form, as the instruction shows it."""
        pred = np.array([[120.0, 40, 180, 160], [124, 40, 184, 160]])
        think = pred + np.array([[3, -3, 3, -3], [3, 0, 3, 0]])
        index = np.array([5, 6])
        return self.render(Answer((5, 6), BoxList(index, think), BoxList(index, pred), object=3))

    def render(self, answer: Answer) -> str:
        """Write a complete answer; `parse(render(a)) == a`.

        Lists that the format does not have are left out. For shares of 1, the equality holds up to 1.999. If the style
        writes no span, the span must be that of the boxes.

        Raises:
            ValueError: a part is missing, a coordinate is not a whole number of at least 0, or the style cannot say the
                answer.
        """
        return self._style.write(answer, self._rows)

    def is_valid(self, text: str) -> bool:
        """Strict check (Eq. 3): the whole text has the form, each part once, in order; white space may surround it."""
        return self._style.exact(text.strip(" \t\r\n")) is not None

    def parse(self, text: str) -> Answer:
        """Read any string in linear time; this never raises.

        Thoughts, and text around the parts, are ignored. A part that is repeated with different content is unreadable,
        because the text does not say which one counts.
        """
        return self.read(text)[0]

    def read(self, text: str) -> tuple[Answer, bool]:
        """`parse` and `is_valid` in one pass."""
        style = self._style
        exact = style.exact(text.strip(" \t\r\n"))
        return (style.lenient(text), False) if exact is None else (exact, True)

    @property
    def _style(self) -> Style:
        return STYLE_CLASSES[self.style](self)

    def _rows(self, boxes: BoxList) -> list[tuple[int, list[str]]]:
        """Index and coordinates of each box, as texts.

        Raises:
            ValueError: a coordinate is not a whole number of at least 0.
        """
        rounded = boxes.boxes_xyxy.astype(np.int64)
        if not np.array_equal(rounded, boxes.boxes_xyxy) or (rounded < 0).any():
            raise ValueError(f"boxes_xyxy must hold whole numbers from 0, got {boxes.boxes_xyxy.tolist()}")
        write = _share if self.shares else str
        return [(i, [write(c) for c in box]) for i, box in zip(boxes.index.tolist(), rounded.tolist(), strict=True)]


def _share(thousandths: int) -> str:
    return f"{thousandths // 1000}.{thousandths % 1000:03d}"
