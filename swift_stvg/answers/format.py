"""The answer format. This module writes the instruction and the exact answer, checks the form, and reads any text.

    <time> 5 - 6 </time> <think_bbox> 5. [211, 24, 308, 166], 6. [208, 19, 306, 169] </think_bbox> <pred_bbox> ...

Models that were not trained on these tags answer with lines of numbers: first, last; then index, x1, y1, x2, y2.

The strict check accepts exactly this form. The lenient reader also accepts other forms, if they have only one meaning
(see `reading` for numbers and times). A text with two possible meanings is unreadable, and the reason quotes it.

Only this module and `reading` use regular expressions on model output. Each expression runs in linear time: every
repetition is bounded or has only one way to continue.

Source: arXiv 2511.21375, Eq. 1-2 and Fig. 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import numpy as np

from swift_stvg.answers.reading import CLOCK_TIMES, SHARES, answered, plain, read_box, read_label, read_span
from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.settings import COORDS, STYLES, UNITS, Settings
from swift_stvg.util import validation

LAST_INDEX = 10**8 - 1
"""Upper bound of indices: the readers accept at most seven digits."""
MAX_TEXT_COORDINATE = 1e16
"""Upper bound of coordinates: the readers accept at most fifteen digits before the point."""
FAR_OUTSIDE = 10
"""A coordinate of more than this many times the longer side of the picture makes an answer inconsistent."""

_SPACE = " \t\r\n"
_GAP = rf"[{_SPACE}]{{0,8}}"
_INT = r"[0-9]{1,7}"
_STRICT_TIME = re.compile(rf"<time>{_GAP}({_INT}){_GAP}-{_GAP}({_INT}){_GAP}</time>{_GAP}")
_ENTRY = rf"{_INT}\.{_GAP}\[{_GAP}{_INT}(?:{_GAP},{_GAP}{_INT}){{3}}{_GAP}\]"
_STRICT_LIST = re.compile(rf"{_GAP}{_ENTRY}(?:{_GAP},{_GAP}{_ENTRY})*{_GAP}")
_BETWEEN = re.compile(_GAP)
_SEPARATORS = str.maketrans("[].,", "    ")

_BOX = re.compile(r"[\[(]([^\[\]()]{0,120})[\])]")

_INLINE = r"[ \t]{0,8}"
_STRICT_ROW = re.compile(rf"{_INT}(?:{_INLINE},{_INLINE}{_INT}){{4}}")
_STRICT_FIRST_ROW = re.compile(rf"({_INT}){_INLINE},{_INLINE}({_INT})")
_AROUND_ROW = _SPACE + "[](){}*|`"
_LONGEST_ROW = 200
_NO_BOX = (np.nan,) * 4
_Part = TypeVar("_Part")


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
        seen: other forms in the text: `CLOCK_TIMES` for the span, and `SHARES` for boxes, which are unreadable.

    Raises:
        RecordError: the span is not two indices, or a list is not a BoxList.
    """

    span: tuple[int, int] | None
    think: BoxList | None
    pred: BoxList | None
    failures: Mapping[str, str] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()

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
            for each index of the span, in order; or the span leaves the grid; or a coordinate is far outside the
            picture.
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
        think: whether the answer has think boxes before the final boxes.
        unit: unit of an index: "frame" (a sampled frame) or "second".
        coords: "pixel" (of the frame that the model receives) or "norm1000" (thousandths of its width and height).
        boxes: whether the answer has final boxes, or the span alone.
        style: "tags" as in the paper, or "csv", lines of numbers.

    Raises:
        ValueError: the unit, convention or style is unknown, or the style cannot hold think boxes.
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
        if self.think and not (self.boxes and self.style == "tags"):
            raise ValueError("think boxes come before final ones, between tags")

    @classmethod
    def of(cls, settings: Settings) -> AnswerFormat:
        """The format for some settings. Think boxes need final boxes and the style "tags"."""
        return cls(
            think=settings.think and settings.boxes and settings.style == "tags",
            unit=settings.index_unit,
            coords=settings.coords,
            boxes=settings.boxes,
            style=settings.style,
        )

    def scale_wh(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        """Extent of the text coordinates: the text's number for 1.0 of a frame's width and height."""
        return size_wh if self.coords == "pixel" else (1000, 1000)

    def instruction(self) -> str:
        """The task instruction for the system prompt."""
        index = "frame number" if self.unit == "frame" else "second"
        task = "You are given a video and a sentence. Find when the described event happens"
        if self.boxes:
            task += " and where the described object is during it"
        if self.style == "csv":
            return f"{task}. {self._csv_form(index)}"
        example = ["<time> 5 - 6 </time>"]
        rules = f"<time> holds the first and the last {index} of the event, both included."
        if self.boxes:
            example += [f"<think_bbox> {self._example(3)} </think_bbox>"] * self.think
            example += [f"<pred_bbox> {self._example(0)} </pred_bbox>"]
            rules += (
                f" A box list holds one box for every {index} from the first to the last, as number and"
                f" [x1, y1, x2, y2]: left, top, right and bottom as whole numbers in {self.extent}."
            )
        if self.think:
            rules += (
                " First write your first guess of the boxes in <think_bbox>, then look again and write the corrected"
                " boxes in <pred_bbox>."
            )
        return f"{task}. Answer in exactly this form: {' '.join(example)}\n{rules} Write nothing else."

    def _csv_form(self, index: str) -> str:
        form = (
            f"Answer with lines of whole numbers and commas only. The first line is the first and the last {index} of"
            " the event, both included."
        )
        if not self.boxes:
            return f"{form} There is no other line. For example:\n5,6"
        return (
            f"{form} Then comes one line for every {index} from the first to the last: the {index}, and left, top,"
            f" right and bottom of the object's box in {self.extent}. No header, no units, no other text. For"
            " example:\n5,6\n5,120,40,180,160\n6,124,40,184,160"
        )

    @property
    def extent(self) -> str:
        """The unit of a coordinate, in words."""
        return "pixels of the frames" if self.coords == "pixel" else "thousandths of the frame's width and height"

    @staticmethod
    def _example(shift: int) -> str:
        first, second = (120 + shift, 40 - shift, 180 + shift, 160 - shift), (124 + shift, 40, 184 + shift, 160)
        return f"5. {list(first)}, 6. {list(second)}"

    def render(self, answer: Answer) -> str:
        """Write a complete answer; `parse(render(a)) == a`.

        Raises:
            ValueError: a part is missing, or a coordinate is not a whole number of at least 0.
        """
        lists = {"think_bbox": answer.think} if self.think else {}
        lists |= {"pred_bbox": answer.pred} if self.boxes else {}
        boxes = {tag: _whole_boxes(part) for tag, part in lists.items() if part is not None}
        if answer.span is None or len(boxes) < len(lists):
            raise ValueError(f"only a complete answer can be rendered, missing: {dict(answer.failures) or 'a part'}")
        first, last = answer.span
        if self.style == "csv":
            rows = [(first, last), *(row for part in boxes.values() for row in part)]
            return "\n".join(",".join(map(str, row)) for row in rows)
        parts = [f"<time> {first} - {last} </time>"]
        parts += [f"<{tag}> {', '.join(f'{i}. {box}' for i, *box in part)} </{tag}>" for tag, part in boxes.items()]
        return " ".join(parts)

    def is_valid(self, text: str) -> bool:
        """Strict check (Eq. 3): the whole text has the form, each part once, in order; white space may surround it."""
        return self._strict_parts(text) is not None

    def parse(self, text: str) -> Answer:
        """Read any string in linear time; this never raises.

        Thoughts, and text around the parts, are ignored; a part ends at the next `<`. A part that is repeated with
        different content is unreadable, because the text does not say which one counts.
        """
        return self.read(text)[0]

    def read(self, text: str) -> tuple[Answer, bool]:
        """`parse` and `is_valid` in one pass."""
        strict = self._strict_parts(text)
        if strict is not None:
            span, parts = strict
            lists = _numbers(parts)
            return Answer(span, lists[0] if self.think else None, lists[-1] if self.boxes else None), True

        lenient = _Lenient(self)
        return (lenient.rows(text) if self.style == "csv" else lenient.tagged(text)), False

    def _strict_parts(self, text: str) -> tuple[tuple[int, int], list[str]] | None:
        text = text.strip(_SPACE)
        if self.style == "csv":
            return self._strict_rows(text)
        head = _STRICT_TIME.match(text)
        if head is None:
            return None
        position = head.end()
        lists = []
        for tag in ("think_bbox",) * self.think + ("pred_bbox",) * self.boxes:
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

    def _strict_rows(self, text: str) -> tuple[tuple[int, int], list[str]] | None:
        first, *rows = text.replace("\r\n", "\n").split("\n")
        head = _STRICT_FIRST_ROW.fullmatch(first)
        if head is None or bool(rows) != self.boxes or not all(map(_STRICT_ROW.fullmatch, rows)):
            return None
        return (int(head[1]), int(head[2])), [" ".join(rows)] * self.boxes


def _whole_boxes(boxes: BoxList) -> list[list[int]]:
    """Index, x1, y1, x2, y2 of each box; raises ValueError if a coordinate is not a whole number of at least 0."""
    rounded = boxes.boxes_xyxy.astype(np.int64)
    if not np.array_equal(rounded, boxes.boxes_xyxy) or (rounded < 0).any():
        raise ValueError(f"boxes_xyxy must hold whole numbers from 0, got {boxes.boxes_xyxy.tolist()}")
    table: list[list[int]] = np.column_stack([boxes.index, rounded]).tolist()
    return table


def _numbers(parts: list[str]) -> list[BoxList]:
    """The box lists of texts that passed the strict check."""
    lists, start = [], 0
    words = [part.translate(_SEPARATORS).split() for part in parts]
    table = np.fromiter(map(int, chain.from_iterable(words)), np.int64).reshape(-1, 5)
    boxes_xyxy = table[:, 1:].astype(np.float64)
    for part in words:
        end = start + len(part) // 5
        lists.append(BoxList(table[start:end, 0], boxes_xyxy[start:end]))
        start = end
    return lists


class _Lenient:
    """One lenient reading of a completion; it collects failures and other forms."""

    def __init__(self, fmt: AnswerFormat) -> None:
        self._fmt = fmt
        self._failures: dict[str, str] = {}
        self._seen: set[str] = set()

    def tagged(self, text: str) -> Answer:
        """Read the parts between tags."""
        tags = ("time", *("think_bbox",) * self._fmt.think, *("pred_bbox",) * self._fmt.boxes)
        inside = answered(text)
        sections = {tag: _sections(inside, tag) for tag in tags}
        for tag in [tag for tag in tags if not sections[tag]]:
            outside = ", but in a thought or beside <answer>" if f"<{tag}>" in text else ""
            self._failures[tag] = f"no <{tag}>{outside}"
        span = self._agreed("time", sections["time"], self._span)
        think = self._agreed("think_bbox", sections.get("think_bbox", ()), self._list)
        pred = self._agreed("pred_bbox", sections.get("pred_bbox", ()), self._list)
        return Answer(span, think, pred, self._failures, frozenset(self._seen))

    def rows(self, text: str) -> Answer:
        """Read lines of two numbers as the span and lines of five numbers as boxes; ignore other lines."""
        spans: dict[str, None] = {}
        entries: list[tuple[str, str]] = []
        for line in answered(text).replace("\r", "\n").split("\n"):
            row = "" if len(line) > _LONGEST_ROW else plain(line).strip(_AROUND_ROW).rstrip(_AROUND_ROW + ",;")
            row = row.removeprefix("- ")
            if row.count(",") == 4:
                label, _, box = row.partition(",")
                entries.append((label, box))
            elif row not in spans and read_span(row, self._fmt.unit).form:
                spans[row] = None
        span = self._agreed("time", spans, self._span)
        if not spans:
            self._failures["time"] = f"no line of two numbers: {text[:40]!r}"
        if not self._fmt.boxes:
            return Answer(span, None, None, self._failures, frozenset(self._seen))
        pred, why = self._boxes(entries)
        if pred is None:
            self._failures["pred_bbox"] = f"{why.rstrip(',') or 'no line of five numbers'}: {text[:40]!r}"
        return Answer(span, None, pred, self._failures, frozenset(self._seen))

    def _agreed(
        self, part: str, texts: Iterable[str], read: Callable[[str, str], tuple[_Part | None, str]]
    ) -> _Part | None:
        """The content of a part, if all its readable texts have the same content."""
        agreed, failure = None, ""
        where = f"<{part}>" if self._fmt.style == "tags" else "a line"
        for text in texts:
            found, why = read(text, where)
            if found is None:
                failure = failure or f"{why}: {text[:40]!r}"
            elif agreed is None:
                agreed = found
            elif found != agreed:
                agreed, failure = None, f"{where} again, and different: {text[:40]!r}"
                break
        if agreed is None and failure:
            self._failures[part] = failure
        return agreed

    def _span(self, text: str, where: str) -> tuple[tuple[int, int] | None, str]:
        found = read_span(text, self._fmt.unit)
        self._seen |= {CLOCK_TIMES} & {found.form}
        return found.ends, f"{found.why} in {where}"

    def _list(self, text: str, where: str) -> tuple[BoxList | None, str]:
        entries, end, text = [], 0, plain(text)
        for found in _BOX.finditer(text):
            entries.append((text[end : found.start()], found[1].rstrip(_SPACE + ",")))
            end = found.end()
        boxes, why = self._boxes(entries)
        return boxes, f"{why or 'no readable box'} in {where}"

    def _boxes(self, entries: Iterable[tuple[str, str]]) -> tuple[BoxList | None, str]:
        """The list of boxes from pairs (text before a box, its coordinates), or the reason for None."""
        index: list[int] = []
        boxes: list[tuple[float, ...]] = []
        unplaced, readable, shares = "", False, False
        for label, coordinates in entries:
            place, box = read_label(label, self._fmt.unit), read_box(coordinates.split(","))
            shares |= box == SHARES
            if unplaced and not index:  # the indices may stand behind their boxes
                break
            if place is not None:
                index.append(place)
                boxes.append(_NO_BOX if box is None or isinstance(box, str) else box)
                readable |= boxes[-1] is not _NO_BOX
            elif box is not None and not unplaced:
                unplaced = f"{label.strip(_SPACE + ',')[-20:]} [{coordinates}]"[:60]
        if readable:
            return BoxList(np.array(index, dtype=np.int64), np.array(boxes, dtype=np.float64), unplaced), ""
        if shares:
            self._seen.add(SHARES)
            return None, f"boxes in {SHARES}, not in {self._fmt.extent},"
        return None, "no box with an index that can be read" if unplaced else ""


def _sections(text: str, tag: str) -> list[str]:
    """The text after each opening tag up to the next `<`, without duplicates; a cut-off last part is left out."""
    _, *found = text.split(f"<{tag}>")
    sections = [section.partition("<")[0] for section in found]
    if len(found) > 1 and "<" not in found[-1] and sections[0].startswith(sections[-1]):
        sections.pop()
    return list(dict.fromkeys(sections))
