"""The answer format: instruction, rendering, strict check and lenient reading in one place.

    <time> 5 - 6 </time> <think_bbox> 5. [271, 30, 395, 212], 6. [267, 24, 393, 216] </think_bbox> <pred_bbox> ...

Source: arXiv 2511.21375, Eq. 1-2 and Fig. 2. This is the only module with regular expressions over model output; each
is linear in the length of its input, because every repetition is bounded or has only one way to continue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swift_stvg.geometry import FloatArray, IntArray

UNITS = ("frame", "second")
COORDS = ("pixel", "norm1000")
FAR_OUTSIDE = 10
"""A coordinate beyond so many times the longer side of the picture is no guess at a place in it."""

_SPACE = " \t\r\n"
_GAP = rf"[{_SPACE}]{{0,8}}"
_INT = r"[0-9]{1,7}"
_STRICT_TIME = re.compile(rf"<time>{_GAP}({_INT}){_GAP}-{_GAP}({_INT}){_GAP}</time>{_GAP}")
_ENTRY = rf"{_INT}\.{_GAP}\[{_GAP}{_INT}(?:{_GAP},{_GAP}{_INT}){{3}}{_GAP}\]"
_STRICT_LIST = re.compile(rf"{_GAP}{_ENTRY}(?:{_GAP},{_GAP}{_ENTRY})*{_GAP}")
_BETWEEN = re.compile(_GAP)
_SEPARATORS = str.maketrans("[].,", "    ")

_REAL = r"[0-9]{1,7}(?:\.[0-9]{1,7})?"
_LENIENT_TIME = re.compile(rf"(?<![0-9.\-])({_REAL}){_GAP}s?{_GAP}(?:-|–|—|,|to){_GAP}({_REAL})(?![0-9])")
_LENIENT_ENTRY = re.compile(rf"(?<![0-9])({_INT}){_GAP}[.:]{_GAP}\[([^\[\]]{{0,120}})\]")
_COORDINATE = re.compile(rf"{_GAP}([+-]?[0-9]{{1,15}}(?:\.[0-9]{{1,15}})?){_GAP}")


@dataclass(frozen=True, slots=True, eq=False)
class BoxList:
    """Boxes of one part of an answer, as written.

    Attributes:
        index: (K,), in the order written; may repeat.
        boxes_xyxy: (K, 4) in the coordinates of the text; a row of NaN stands for a box that could not be read.
    """

    index: IntArray
    boxes_xyxy: FloatArray

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BoxList)
            and np.array_equal(self.index, other.index)
            and np.array_equal(self.boxes_xyxy, other.boxes_xyxy, equal_nan=True)
        )

    def covers(self, span: tuple[int, int]) -> bool:
        """Whether the list holds one readable box for each index of the closed span, in order, and no other."""
        first, last = span
        return (
            len(self.index) == last - first + 1
            and bool((self.index == np.arange(first, first + len(self.index))).all())
            and not np.isnan(self.boxes_xyxy).any()
        )

    def misfit(self, span: tuple[int, int]) -> str:
        """What is wrong with a list that does not cover the span."""
        if np.isnan(self.boxes_xyxy).any():
            return f"the box of index {self.index[np.isnan(self.boxes_xyxy).any(axis=1)][0]} cannot be read"
        wanted = f"the span {span[0]} - {span[1]}"
        if len(self.index) != span[1] - span[0] + 1:
            return f"{len(self.index)} boxes for {wanted}"
        return f"the indices of the boxes are not those of {wanted}, in order"

    def first_of_each(self) -> tuple[IntArray, FloatArray]:
        """The indices (U,), increasing, and their boxes (U, 4); of repeated ones the first counts."""
        if (self.index[1:] > self.index[:-1]).all():
            return self.index, self.boxes_xyxy
        known, first = np.unique(self.index, return_index=True)
        return known, self.boxes_xyxy[first]


@dataclass(frozen=True, slots=True)
class Answer:
    """What could be read of a completion.

    Attributes:
        span: closed span of indices as written (it may run backwards), or None.
        think: the intermediate boxes, or None.
        pred: the final boxes, or None.
        failures: why a part is None, by part: "time", "think_bbox", "pred_bbox".
    """

    span: tuple[int, int] | None
    think: BoxList | None
    pred: BoxList | None
    failures: Mapping[str, str] = field(default_factory=dict)

    def fault(self, size: int, scale_wh: tuple[int, int]) -> tuple[str, str] | None:
        """Why the span and the final boxes make no tube; None if they do.

        Args:
            size: number of indices of the grid.
            scale_wh: extent of the text's coordinates.

        Returns:
            "unparsable" (a part cannot be read) or "inconsistent" (the boxes are not exactly one for each index of the
            span, in order; the span leaves the grid; a coordinate is far outside the picture), and what was seen.
        """
        if self.span is None or self.pred is None:
            return "unparsable", "; ".join(
                self.failures[part] for part in ("time", "pred_bbox") if part in self.failures
            )
        first, last = self.span
        if first > last:
            return "inconsistent", f"the span {first} - {last} runs backwards"
        if last >= size:
            return "inconsistent", f"the span {first} - {last} goes beyond the last index, {size - 1}"
        if not self.pred.covers(self.span):
            return "inconsistent", self.pred.misfit(self.span)
        if np.abs(self.pred.boxes_xyxy).max() > FAR_OUTSIDE * max(scale_wh):
            worst = int(np.abs(self.pred.boxes_xyxy).max(axis=1).argmax())
            box = self.pred.boxes_xyxy[worst].tolist()
            return "inconsistent", f"the box {box} of index {self.pred.index[worst]} is far outside the picture"
        return None


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """One variant of the answer format.

    Args:
        think: whether an intermediate box list precedes the final one.
        unit: what an index counts, "frame" (sampled frames) or "second".
        coords: "pixel" of the frame as the model receives it, or "norm1000", thousandths of its width and height.

    Raises:
        ValueError: for another unit or convention.
    """

    think: bool = True
    unit: str = "frame"
    coords: str = "pixel"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit must be one of {UNITS}, got {self.unit!r}")
        if self.coords not in COORDS:
            raise ValueError(f"coords must be one of {COORDS}, got {self.coords!r}")

    def scale_wh(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        """Extent of the text's coordinates: what 1.0 of a frame's width and height is written as."""
        return size_wh if self.coords == "pixel" else (1000, 1000)

    def instruction(self) -> str:
        """The task instruction for the system prompt."""
        index = "frame number" if self.unit == "frame" else "second"
        unit = "pixels of the frames" if self.coords == "pixel" else "thousandths of the frame's width and height"
        boxes = f"<pred_bbox> {self._example(0)} </pred_bbox>"
        refine = ""
        if self.think:
            boxes = f"<think_bbox> {self._example(3)} </think_bbox> {boxes}"
            refine = (
                " First write your first guess of the boxes in <think_bbox>, then look again and write the corrected"
                " boxes in <pred_bbox>."
            )
        return (
            "You are given a video and a sentence. Find when the described event happens and where the described"
            f" object is during it. Answer in exactly this form: <time> 5 - 6 </time> {boxes}\n"
            f"<time> holds the first and the last {index} of the event, both included. A box list holds one box for"
            f" every {index} from the first to the last, as number and [x1, y1, x2, y2]: left, top, right and bottom"
            f" as whole numbers in {unit}.{refine} Write nothing else."
        )

    @staticmethod
    def _example(shift: int) -> str:
        first, second = (120 + shift, 40 - shift, 180 + shift, 160 - shift), (124 + shift, 40, 184 + shift, 160)
        return f"5. {list(first)}, 6. {list(second)}"

    def render(self, answer: Answer) -> str:
        """The text of a complete answer; `parse(render(a)) == a`.

        Raises:
            ValueError: a part is missing, or a box is not made of whole numbers from 0.
        """
        if answer.span is None or answer.pred is None or (self.think and answer.think is None):
            raise ValueError(f"only a complete answer can be rendered, missing: {dict(answer.failures) or 'a part'}")
        parts = [f"<time> {answer.span[0]} - {answer.span[1]} </time>"]
        if self.think and answer.think is not None:
            parts.append(f"<think_bbox> {_render_list(answer.think)} </think_bbox>")
        parts.append(f"<pred_bbox> {_render_list(answer.pred)} </pred_bbox>")
        return " ".join(parts)

    def is_valid(self, text: str) -> bool:
        """Strict check (Eq. 3): the whole text has the form, each part once and in order; space around it is free."""
        return self._strict_parts(text) is not None

    def parse(self, text: str) -> Answer:
        """Read what can be read of any string; never raises, linear in its length.

        Of a repeated part the first counts; a part ends at the next `<`; text around the parts is ignored.
        """
        return self.read(text)[0]

    def read(self, text: str) -> tuple[Answer, bool]:
        """`parse` and `is_valid` in one pass."""
        strict = self._strict_parts(text)
        if strict is not None:
            span, parts = strict
            lists = _numbers(parts)
            return Answer(span, lists[0] if self.think else None, lists[-1]), True

        failures: dict[str, str] = {}
        time = _lenient_span(_section(text, "time", failures), failures)
        think = _lenient_list(_section(text, "think_bbox", failures), "think_bbox", failures) if self.think else None
        pred = _lenient_list(_section(text, "pred_bbox", failures), "pred_bbox", failures)
        return Answer(time, think, pred, failures), False

    def _strict_parts(self, text: str) -> tuple[tuple[int, int], list[str]] | None:
        text = text.strip(_SPACE)
        head = _STRICT_TIME.match(text)
        if head is None:
            return None
        position = head.end()
        lists = []
        for tag in ("think_bbox", "pred_bbox") if self.think else ("pred_bbox",):
            opening, closing = f"<{tag}>", f"</{tag}>"
            end = text.find(closing, position)
            if end < 0 or not text.startswith(opening, position):
                return None
            part = text[position + len(opening) : end]
            if _STRICT_LIST.fullmatch(part) is None:
                return None
            lists.append(part)
            gap = _BETWEEN.match(text, end + len(closing))
            position = gap.end() if gap else len(text)
        if position != len(text):
            return None
        return (int(head[1]), int(head[2])), lists


def _render_list(boxes: BoxList) -> str:
    rounded = boxes.boxes_xyxy.astype(np.int64)
    if not np.array_equal(rounded, boxes.boxes_xyxy) or (rounded < 0).any():
        raise ValueError(f"boxes_xyxy must hold whole numbers from 0, got {boxes.boxes_xyxy.tolist()}")
    return ", ".join(
        f"{i}. [{b[0]}, {b[1]}, {b[2]}, {b[3]}]" for i, b in zip(boxes.index.tolist(), rounded.tolist(), strict=True)
    )


def _numbers(parts: list[str]) -> list[BoxList]:
    """Numbers of lists that passed the strict check."""
    lists, start = [], 0
    table = np.fromiter(map(int, " ".join(parts).translate(_SEPARATORS).split()), np.int64).reshape(-1, 5)
    boxes_xyxy = table[:, 1:].astype(np.float64)
    for part in parts:
        end = start + part.count("[")
        lists.append(BoxList(table[start:end, 0], boxes_xyxy[start:end]))
        start = end
    return lists


def _section(text: str, tag: str, failures: dict[str, str]) -> str | None:
    opening = f"<{tag}>"
    start = text.find(opening)
    if start < 0:
        failures[tag] = f"no {opening}"
        return None
    start += len(opening)
    end = text.find("<", start)
    return text[start:] if end < 0 else text[start:end]


def _lenient_span(part: str | None, failures: dict[str, str]) -> tuple[int, int] | None:
    if part is None:
        return None
    found = _LENIENT_TIME.search(part)
    if found is None:
        failures["time"] = f"no two numbers in <time>: {part[:40]!r}"
        return None
    return int(float(found[1]) + 0.5), int(float(found[2]) + 0.5)


def _lenient_list(part: str | None, tag: str, failures: dict[str, str]) -> BoxList | None:
    if part is None:
        return None
    index: list[int] = []
    boxes: list[list[float]] = []
    readable = False
    for entry in _LENIENT_ENTRY.finditer(part):
        index.append(int(entry[1]))
        coordinates: list[Any] = [_COORDINATE.fullmatch(number) for number in entry[2].split(",")]
        if len(coordinates) == 4 and all(coordinates):
            boxes.append([float(number[1]) for number in coordinates])
            readable = True
        else:
            boxes.append([np.nan] * 4)
    if not readable:
        failures[tag] = f"no readable box in <{tag}>: {part[:40]!r}"
        return None
    return BoxList(np.array(index, dtype=np.int64), np.array(boxes, dtype=np.float64))
