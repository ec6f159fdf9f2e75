"""Styles of answers: how a span and boxes are written. One class for each style, and `STYLE_CLASSES` by name.

A style gives the instruction, writes an answer, checks the exact form, and reads other forms leniently. The lenient
reader accepts a text that has only one meaning (see `reading` for numbers and times). A text with two possible meanings
is unreadable, and the reason quotes the text.

Only this module and `reading` use regular expressions on model output. Each expression runs in linear time: every
repetition is bounded or has only one way to continue.

Sources of the styles:

tags       arXiv 2511.21375 (STVG-o1), Eq. 1-2 and Fig. 2.
csv        this package: lines of numbers.
fig8       arXiv 2511.21375, Fig. 8, the prompt for closed models.
qwen_json  QwenLM/Qwen3-VL, cookbooks/video_understanding.ipynb, "spatial-temporal grounding"; the fence and
           `bbox_2d` also in Qwen2.5-VL's grounding cookbook.
span_json  tulerfeng/OneThinker, Evaluation/Eval/eval_bench.py, "spatial-temporal grounding".
ids        the idea is from arXiv 2602.11730 (STVG-R1), the tags are from this package. The form of STVG-R1 is read too:
           XiaowZhang00/stvg-r1, src/open_r1/grpo_video.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias, TypeVar

import numpy as np

from swift_stvg.answers.answer import Answer, BoxList
from swift_stvg.answers.reading import (
    CLOCK_TIMES,
    Span,
    answered,
    other_unit,
    plain,
    read_box,
    read_label,
    read_span,
    read_time,
)

if TYPE_CHECKING:
    from swift_stvg.answers.format import AnswerFormat

Ends: TypeAlias = tuple[int, int]
Rows: TypeAlias = Sequence[tuple[int, Sequence[str]]]
"""Boxes to write: the index of each, and its four coordinates as texts."""
THINK, PRED = "think_bbox", "pred_bbox"
"""Names of the two box lists in failures and in `render`."""

_SPACE = " \t\r\n"
_GAP = rf"[{_SPACE}]{{0,8}}"
_INLINE = r"[ \t]{0,8}"
_INT = r"[0-9]{1,7}"
_WHOLE, _SHARE = _INT, r"[01](?:\.[0-9]{1,3})?"
_BETWEEN = re.compile(_GAP)
_SEPARATORS = str.maketrans("[].,", "    ")
_STRICT_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_STRICT_TIME = re.compile(rf"<time>{_GAP}({_INT}){_GAP}-{_GAP}({_INT}){_GAP}</time>{_GAP}")


class _Strict(NamedTuple):
    """The exact forms for one kind of coordinate."""

    entries: re.Pattern[str]
    row: re.Pattern[str]
    item: re.Pattern[str]
    thought_item: re.Pattern[str]
    by_second: re.Pattern[str]


def _strict_forms(number: str) -> _Strict:
    box = rf"\[{_GAP}{number}(?:{_GAP},{_GAP}{number}){{3}}{_GAP}\]"
    entry = rf"{_INT}\.{_GAP}{box}"
    label = rf'(?:{_GAP},{_GAP}"label"{_GAP}:{_GAP}"[^"\\{{}}\[\]\x00-\x1f]{{0,200}}")?'
    time = rf'"time"{_GAP}:{_GAP}{_INT}(?:\.0{{1,3}})?{_GAP},{_GAP}'
    think = rf'"think_bbox_2d"{_GAP}:{_GAP}{box}{_GAP},{_GAP}'
    item, thought_item = (
        rf'\{{{_GAP}{time}{before}"bbox_2d"{_GAP}:{_GAP}{box}{label}{_GAP}\}}' for before in ("", think)
    )
    key = rf'"{_INT}"{_GAP}:{_GAP}{box}'
    return _Strict(
        re.compile(rf"{_GAP}{entry}(?:{_GAP},{_GAP}{entry})*{_GAP}"),
        re.compile(rf"{_INT}(?:{_INLINE},{_INLINE}{number}){{4}}"),
        re.compile(rf"\[{_GAP}{item}(?:{_GAP},{_GAP}{item})*{_GAP}\]"),
        re.compile(rf"\[{_GAP}{thought_item}(?:{_GAP},{_GAP}{thought_item})*{_GAP}\]"),
        re.compile(rf"{_GAP}{key}(?:{_GAP},{_GAP}{key})*{_GAP}"),
    )


_STRICT = {False: _strict_forms(_WHOLE), True: _strict_forms(_SHARE)}
_STRICT_FIRST_ROW = re.compile(rf"({_INT}){_INLINE},{_INLINE}({_INT})")
_FIG8_FIRST_ROW = re.compile(rf"({_INT})-({_INT})")
_STRICT_LABELS = re.compile(r'"[^"]*"')
_STRICT_SPAN_JSON = re.compile(
    rf'\{{{_GAP}"time"{_GAP}:{_GAP}\[{_GAP}({_INT}){_GAP},{_GAP}({_INT}){_GAP}\]'
    rf'(?:{_GAP},{_GAP}"think_boxes"{_GAP}:{_GAP}\{{([^{{}}]*)\}})?'
    rf'(?:{_GAP},{_GAP}"boxes"{_GAP}:{_GAP}\{{([^{{}}]*)\}})?{_GAP}\}}'
)

_STRICT_OBJECT = re.compile(rf"<object>{_GAP}([0-9]{{1,4}}){_GAP}</object>{_GAP}")
_NAMED_OBJECT = re.compile(r"[^0-9]{0,12}([0-9]{1,4})[^0-9]{0,4}")
_R1_TIME = re.compile(r"(?i:time range)[ \t]{0,4}:([^\n<]{1,60})")
_R1_OBJECT = re.compile(r"(?i:target id)[ \t]{0,4}:([^\n<,]{1,20})")
_BOX = re.compile(r"[\[(]([^\[\]()]{0,120})[\])]")
_OBJECT = re.compile(r"\{([^{}]{0,600})\}")
_TIME_KEYS, _BOX_KEYS = ("time", "timestamp", "seconds", "second"), ("bbox_2d", "bbox", "box")
_THINK_KEY = "think_bbox_2d"
_ITEM_VALUE = re.compile(
    rf"[\"']({'|'.join((*_TIME_KEYS, *_BOX_KEYS, _THINK_KEY))})[\"']{_GAP}:{_GAP}"
    rf"(\[[^\[\]]{{0,120}}\]|\[{_GAP}\[[^\[\]]{{0,120}}\]{_GAP}\]|[\"'][^\"']{{0,40}}[\"']|[^,\[\]\"']{{1,40}})"
)
_SPAN_JSON_KEY = re.compile(rf"[\"'](time|think_boxes|boxes)[\"']{_GAP}:")
_END_OF_VALUE = re.compile(r"[\]}]")
_AROUND_ROW = _SPACE + "[](){}*|`"
_LONGEST_ROW = 200
_NO_BOX = (np.nan,) * 4
_Part = TypeVar("_Part")
_Item: TypeAlias = tuple[Any, ...]
"""A time in seconds, and what `read_box` gives for each list."""


class Style:
    """One style of answers, for one format.

    Args:
        fmt: the format: unit of an index, coordinates, and the lists that an answer has.
    """

    think: ClassVar[bool] = False
    """Whether an answer can hold think boxes."""
    gaps: ClassVar[bool] = False
    """As `Answer.gaps`."""
    says_span: ClassVar[bool] = True
    """Whether an answer writes its span. Otherwise the span reaches from its first to its last box."""
    knows_seconds: ClassVar[bool] = False
    """Whether models of this style know the label `<1.0 seconds>` before a frame, as the Qwen3 family does."""

    def __init__(self, fmt: AnswerFormat) -> None:
        self.fmt = fmt
        self.parts = (THINK,) * fmt.think + (PRED,) * fmt.boxes
        self._strict_forms = _STRICT[fmt.shares]
        self._failures: dict[str, str] = {}
        self._seen: set[str] = set()

    def ask(self, index: str, example: str) -> str:
        """The part of the instruction that describes the form.

        Args:
            index: the word for an index: "frame number" or "second".
            example: a whole answer.
        """
        raise NotImplementedError

    def write(self, answer: Answer, rows_of: Callable[[BoxList], Rows]) -> str:
        """Write a whole answer.

        Args:
            answer: the answer.
            rows_of: index and coordinates of each box of a list, as texts.

        Raises:
            ValueError: a part is missing, or the style cannot say the answer.
        """
        lists = {part: answer.think if part == THINK else answer.pred for part in self.parts}
        rows = {part: rows_of(boxes) for part, boxes in lists.items() if boxes is not None}
        if answer.span is None or len(rows) < len(lists):
            raise ValueError(f"only a complete answer can be rendered, missing: {dict(answer.failures) or 'a part'}")
        return self.render(answer.span, rows)

    def render(self, span: Ends, lists: Mapping[str, Rows]) -> str:
        """Write a whole answer; `lists` has the rows of each of `parts`."""
        raise NotImplementedError

    def exact(self, text: str) -> Answer | None:
        """The answer if the text has exactly the form; None if not."""
        found = self.strict(text)
        if found is None:
            return None
        span, lists = found
        think, pred = lists[0] if self.fmt.think else None, lists[-1] if self.fmt.boxes else None
        return Answer(span, think, pred, gaps=self.gaps)

    def strict(self, text: str) -> tuple[Ends, list[BoxList]] | None:
        """The span and the lists of `parts` if the text has exactly the form; None if not."""
        raise NotImplementedError

    def lenient(self, text: str) -> Answer:
        """Read any text; this never raises. Call it once."""
        raise NotImplementedError

    def where(self, part: str) -> str:
        """The place of a part in a text, for messages."""
        raise NotImplementedError

    def _answer(self, span: Ends | None, lists: Mapping[str, BoxList | None]) -> Answer:
        """What was read; `lists` may lack a list that could not be read."""
        return Answer(span, lists.get(THINK), lists.get(PRED), self._failures, frozenset(self._seen), self.gaps)

    def _agreed(
        self, part: str, texts: Iterable[str], read: Callable[[str, str], tuple[_Part | None, str]]
    ) -> _Part | None:
        """The content of a part, if all its readable texts have the same content."""
        agreed, failure = None, ""
        where = self.where(part)
        for text in texts:
            found, why = read(text, where)
            if found is None:
                failure = failure or f"{why}: {text[:40]!r}"
            elif agreed is None:
                agreed = found
            elif found != agreed:
                agreed, failure = None, f"{where} repeated with different content: {text[:40]!r}"
                break
        if agreed is None and failure:
            self._failures[part] = failure
        return agreed

    def _span(self, text: str, where: str) -> tuple[Ends | None, str]:
        found = self._read_span(text)
        return found.ends, f"{found.why} in {where}"

    def _read_span(self, text: str) -> Span:
        found = read_span(text, self.fmt.unit)
        self._seen |= {CLOCK_TIMES} & {found.form}
        return found

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
        unplaced, readable, other = "", False, ""
        for label, coordinates in entries:
            place, box = read_label(label, self.fmt.unit), read_box(coordinates.split(","), self.fmt.shares)
            other = box if isinstance(box, str) else other
            if unplaced and not index:  # the indices may be written after their boxes
                break
            if place is not None:
                index.append(place)
                boxes.append(_NO_BOX if box is None or isinstance(box, str) else box)
                readable |= boxes[-1] is not _NO_BOX
            elif box is not None and not unplaced:
                unplaced = f"{label.strip(_SPACE + ',')[-20:]} [{coordinates}]"[:60]
        return self._listed(index, boxes, unplaced, readable, other)

    def _listed(
        self, index: list[int], boxes: list[tuple[float, ...]], unplaced: str, readable: bool, other: str
    ) -> tuple[BoxList | None, str]:
        if readable:
            return BoxList(np.array(index, dtype=np.int64), np.array(boxes, dtype=np.float64), unplaced), ""
        if other:
            self._seen.add(other)
            return None, f"boxes in {other}, not in {self.fmt.extent},"
        return None, "no box with an index that can be read" if unplaced else ""

    def _numbers(self, parts: Sequence[str]) -> list[BoxList]:
        """The box lists of texts. Each box is an index and four coordinates; separators are ignored."""
        lists, start = [], 0
        if self.fmt.shares:
            words = [_STRICT_NUMBER.findall(part) for part in parts]
            flat = [float(word if i % 5 == 0 else f"{word}e3") for i, word in enumerate(chain.from_iterable(words))]
            table = np.array(flat).reshape(-1, 5)
        else:
            words = [part.translate(_SEPARATORS).split() for part in parts]
            table = np.fromiter(map(int, chain.from_iterable(words)), np.int64).reshape(-1, 5).astype(np.float64)
        for part in words:
            end = start + len(part) // 5
            lists.append(BoxList(table[start:end, 0].astype(np.int64), table[start:end, 1:]))
            start = end
        return lists


class Tags(Style):
    """`<time> 5 - 6 </time> <think_bbox> 5. [..], 6. [..] </think_bbox> <pred_bbox> 5. [..], 6. [..] </pred_bbox>`."""

    think = True

    def ask(self, index: str, example: str) -> str:
        """As `Style.ask`."""
        rules = f"<time> holds the first and the last {index} of the event, both included."
        if self.fmt.boxes:
            rules += (
                f" A box list holds one box for every {index} from the first to the last, as number and"
                f" [x1, y1, x2, y2]: left, top, right and bottom as {self.fmt.numbers}."
            )
        if self.fmt.think:
            rules += (
                " First write your first guess of the boxes in <think_bbox>, then look again and write the corrected"
                " boxes in <pred_bbox>."
            )
        return f"Answer in exactly this form: {example}\n{rules} Write nothing else."

    def render(self, span: Ends, lists: Mapping[str, Rows]) -> str:
        """As `Style.render`."""
        parts = [f"<time> {span[0]} - {span[1]} </time>"]
        for tag, rows in lists.items():
            boxes = ", ".join(f"{i}. {_bracketed(box)}" for i, box in rows)
            parts.append(f"<{tag}> {boxes} </{tag}>")
        return " ".join(parts)

    def strict(self, text: str) -> tuple[Ends, list[BoxList]] | None:
        """As `Style.strict`."""
        head = _STRICT_TIME.match(text)
        if head is None:
            return None
        position = head.end()
        lists = []
        for tag in self.parts:
            opening, closing = f"<{tag}>", f"</{tag}>"
            end = text.find(closing, position)
            if end < 0 or not text.startswith(opening, position):
                return None
            part = text[position + len(opening) : end]
            if self._strict_forms.entries.fullmatch(part) is None:
                return None
            lists.append(part)
            gap = _BETWEEN.match(text, end + len(closing))
            position = gap.end() if gap else len(text)
        if position != len(text):
            return None
        return (int(head[1]), int(head[2])), self._numbers(lists)

    def lenient(self, text: str) -> Answer:
        """Read the parts between tags. Each part ends at the next `<`."""
        inside = answered(text)
        sections = {tag: _sections(inside, tag) for tag in ("time", *self.parts)}
        for tag in [tag for tag in sections if not sections[tag]]:
            outside = " in the answer, only in a thought or outside <answer>" if f"<{tag}>" in text else ""
            self._failures[tag] = f"no <{tag}>{outside}"
        span = self._agreed("time", sections["time"], self._span)
        return self._answer(span, {tag: self._agreed(tag, sections[tag], self._list) for tag in self.parts})

    def where(self, part: str) -> str:
        """As `Style.where`."""
        return f"<{part}>"


class Csv(Style):
    """Lines of numbers: the first and the last index; then, for each box, its index and its four coordinates.

    There are no think boxes: a second line for the same index could be either box.
    """

    def ask(self, index: str, example: str) -> str:
        """As `Style.ask`."""
        form = (
            f"Answer with lines of {'numbers' if self.fmt.shares else 'whole numbers'} and commas only. The first line"
            f" is the first and the last {index} of the event, both included."
        )
        if not self.fmt.boxes:
            return f"{form} There is no other line. For example:\n{example}"
        return (
            f"{form} Then comes one line for every {index} from the first to the last: the {index}, and left, top,"
            f" right and bottom of the object's box in {self.fmt.extent}. No header, no units, no other text. For"
            f" example:\n{example}"
        )

    def render(self, span: Ends, lists: Mapping[str, Rows]) -> str:
        """As `Style.render`."""
        rows = [f"{span[0]},{span[1]}", *(",".join((str(i), *box)) for rows in lists.values() for i, box in rows)]
        return "\n".join(rows)

    def strict(self, text: str) -> tuple[Ends, list[BoxList]] | None:
        """As `Style.strict`."""
        first, *rows = text.replace("\r\n", "\n").split("\n")
        return self._strict_rows(_STRICT_FIRST_ROW.fullmatch(first), rows)

    def _strict_rows(self, head: re.Match[str] | None, rows: list[str]) -> tuple[Ends, list[BoxList]] | None:
        row = self._strict_forms.row
        if head is None or bool(rows) != self.fmt.boxes or not all(map(row.fullmatch, rows)):
            return None
        return (int(head[1]), int(head[2])), self._numbers([" ".join(rows)] * self.fmt.boxes)

    def lenient(self, text: str) -> Answer:
        """Read lines of two numbers as the span and lines of five numbers as boxes; ignore other lines."""
        spans: dict[str, None] = {}
        entries: list[tuple[str, str]] = []
        header = ""
        for line in answered(text).replace("\r", "\n").split("\n"):
            row = "" if len(line) > _LONGEST_ROW else plain(line).strip(_AROUND_ROW).rstrip(_AROUND_ROW + ",;")
            row = row.removeprefix("- ")
            if row.count(",") == 4:
                label, _, box = row.partition(",")
                header = header or other_unit(label, self.fmt.unit)
                entries.append((label, box))
            elif row not in spans and read_span(row, self.fmt.unit).form:
                spans[row] = None
        if header:  # the table counts another unit
            self._failures = dict.fromkeys(("time", *self.parts), f"a table by {header}: {text[:40]!r}")
            return self._answer(None, {})
        span = self._agreed("time", spans, self._span)
        if not spans:
            self._failures["time"] = f"no line of two numbers: {text[:40]!r}"
        if not self.fmt.boxes:
            return self._answer(span, {})
        pred, why = self._boxes(entries)
        if pred is None:
            self._failures[PRED] = f"{why.rstrip(',') or 'no line of five numbers'}: {text[:40]!r}"
        return self._answer(span, {PRED: pred})

    def where(self, part: str) -> str:
        """As `Style.where`."""
        return "a line"


class Fig8(Csv):
    """The paper's form for closed models: `5-6`, a header, and a line with a second and four shares of 1 for each box.

    The paper allows at most 30 boxes. This package asks for one line for each second, so that a long event has an exact
    answer too. An answer with fewer lines is also read.
    """

    gaps = True
    header: ClassVar[str] = "second,x1,y1,x2,y2"

    def ask(self, index: str, example: str) -> str:
        """As `Style.ask`."""
        form = (
            f"Answer in the form of the example below. The first line is the first and the last {index} of the event,"
            " both included, with a dash."
        )
        if not self.fmt.boxes:
            return f"{form} There is no other line. For example:\n{example}"
        return (
            f"{form} Then comes a table as CSV: its header, and one line for every {index} from the first to the last"
            f" with left, top, right and bottom of the object's box as {self.fmt.numbers}. No other text. For"
            f" example:\n{example}"
        )

    def render(self, span: Ends, lists: Mapping[str, Rows]) -> str:
        """As `Style.render`."""
        first, *rows = super().render(span, lists).split("\n")
        return "\n".join([first.replace(",", "-"), *[self.header] * self.fmt.boxes, *rows])

    def strict(self, text: str) -> tuple[Ends, list[BoxList]] | None:
        """As `Style.strict`."""
        first, *rows = text.replace("\r\n", "\n").split("\n")
        if self.fmt.boxes and rows[:1] != [self.header]:
            return None
        return self._strict_rows(_FIG8_FIRST_ROW.fullmatch(first), rows[self.fmt.boxes :])


class QwenJson(Style):
    """A JSON list with one object for each box: `time`, `bbox_2d`, and `think_bbox_2d` before it if asked for.

    The answer has no span. The event lasts from the first to the last time. At a second without a box, the object
    is not visible.
    """

    think = True
    gaps = True
    says_span = False
    knows_seconds = True

    def ask(self, index: str, example: str) -> str:
        """As `Style.ask`."""
        keys = (
            f"`time` is the {index}, and `bbox_2d` is [x_min, y_min, x_max, y_max] as {self.fmt.numbers}. Write one"
            f" object for every {index} of the event."
        )
        if self.fmt.think:
            keys += (
                " First write your first guess of the box as `think_bbox_2d`, then look again and write the corrected"
                " box as `bbox_2d`."
            )
        return f"Answer with a JSON list in exactly this form:\n{example}\n{keys} Write nothing else."

    def render(self, span: Ends, lists: Mapping[str, Rows]) -> str:
        """As `Style.render`.

        Raises:
            ValueError: the span is not that of the boxes, or there is a think box for a second without a final box.
        """
        think, rows = dict(lists.get(THINK, ())), lists[PRED]
        index = [i for i, _ in rows]
        if index and span != (min(index), max(index)):
            raise ValueError(
                f"qwen_json writes no span, so the span must be that of the boxes, {min(index)} to {max(index)}, "
                f"got {span}"
            )
        if not set(think) <= set(index):
            raise ValueError("qwen_json holds a think box only beside the final box of the same second")
        items = [
            f'{{"time": {i}.0, '
            + (f'"think_bbox_2d": {_bracketed(think[i])}, ' if i in think else "")
            + f'"bbox_2d": {_bracketed(box)}}}'
            for i, box in rows
        ]
        inner = ",\n".join(f"\t{item}" for item in items)
        return f"```json\n[\n{inner}\n]\n```" if items else "```json\n[]\n```"

    def strict(self, text: str) -> tuple[Ends, list[BoxList]] | None:
        """As `Style.strict`. The fence may be left out, and each object may have a `label`."""
        if text.startswith("```json") and text.endswith("```") and len(text) > 10:
            text = text[7:-3].strip(_SPACE)
        form = self._strict_forms.thought_item if self.fmt.think else self._strict_forms.item
        if form.fullmatch(text) is None:
            return None
        words = [float(word) for word in _STRICT_NUMBER.findall(_STRICT_LABELS.sub("", text))]
        table = np.array(words).reshape(-1, 1 + 4 * len(self.parts))
        index = table[:, 0].astype(np.int64)
        if len(set(index.tolist())) < len(index):
            return None
        boxes = table[:, 1:].reshape(len(index), -1, 4)
        if self.fmt.shares:
            boxes = np.rint(1000 * boxes)  # at most three decimals
        return (int(index.min()), int(index.max())), [BoxList(index, boxes[:, i]) for i in range(len(self.parts))]

    def lenient(self, text: str) -> Answer:
        """Read every object that has a time or a box.

        If a list has several boxes for a second, the box whose time is nearest to the whole second counts.
        """
        found: dict[_Item, str] = {}
        for match in _OBJECT.finditer(plain(answered(text))):
            item = self._item(match[1])
            if item != (None,) * len(item):
                found.setdefault(item, match[0][:60])
        nearest: dict[int, float] = {}
        for time_s, *_ in found:
            if time_s is not None:
                i = _second(time_s)
                nearest[i] = min(nearest.get(i, time_s), time_s, key=lambda t: (abs(t - _second(t)), t))
        items = [item for item in found if item[0] is not None and item[0] == nearest[_second(item[0])]]
        index = [_second(item[0] or 0.0) for item in items]
        unplaced = next((said for item, said in found.items() if item[0] is None), "")
        lists = {}
        for place, part in enumerate(self.parts, 1):
            written = [item[place] for item in items]
            boxes = [box if isinstance(box, tuple) else _NO_BOX for box in written]
            other = next((box for box in written if isinstance(box, str)), "")
            lists[part], why = self._listed(index, boxes, unplaced, any(box is not _NO_BOX for box in boxes), other)
            if lists[part] is None:
                self._failures[part] = f"{why or 'no object with `time` and `bbox_2d`'}: {text[:40]!r}"
        if not index:
            self._failures["time"] = f"no object with a `time` in seconds: {text[:40]!r}"
        return self._answer((min(index), max(index)) if index else None, lists)

    def _item(self, text: str) -> _Item:
        """The time and the boxes in the text of an object; None for a value that is missing, unreadable or repeated."""
        values: dict[str, set[str]] = {}
        for key, value in _ITEM_VALUE.findall(text):
            kind = "time" if key in _TIME_KEYS else THINK if key == _THINK_KEY else PRED
            values.setdefault(kind, set()).add(value)
        once = {kind: next(iter(said)) for kind, said in values.items() if len(said) == 1}
        boxes = (once[part].strip(_SPACE + "[],").split(",") if part in once else [] for part in self.parts)
        return (read_time(once.get("time", "")), *(read_box(cells, self.fmt.shares) for cells in boxes))

    def where(self, part: str) -> str:
        """As `Style.where`."""
        return "the list"


class SpanJson(Style):
    """A JSON object in `<answer>`: `time`, two seconds, and `boxes` by second; `think_boxes` before them if asked for.

    A thought may come first, in `<think>`.
    """

    think = True
    knows_seconds = True
    keys: ClassVar[Mapping[str, str]] = {"time": "time", THINK: "think_boxes", PRED: "boxes"}

    def ask(self, index: str, example: str) -> str:
        """As `Style.ask`."""
        rules = f"`time` holds the first and the last {index} of the event, both included."
        if self.fmt.boxes:
            rules += (
                f" `boxes` holds one box for every {index} from the first to the last: the {index} as a text, and"
                f" [x1, y1, x2, y2], left, top, right and bottom as {self.fmt.numbers}."
            )
        if self.fmt.think:
            rules += (
                " First write your first guess of the boxes as `think_boxes`, then look again and write the corrected"
                " boxes as `boxes`."
            )
        return f"Answer in exactly this form: {example}\n{rules} Write nothing else."

    def render(self, span: Ends, lists: Mapping[str, Rows]) -> str:
        """As `Style.render`."""
        parts = [f'"time": [{span[0]}, {span[1]}]']
        for part, rows in lists.items():
            boxes = ", ".join(f'"{i}": {_bracketed(box)}' for i, box in rows)
            parts.append(f'"{self.keys[part]}": {{{boxes}}}')
        return f"<answer>{{{', '.join(parts)}}}</answer>"

    def strict(self, text: str) -> tuple[Ends, list[BoxList]] | None:
        """As `Style.strict`."""
        if text.startswith("<think>"):
            thought, closed, text = text.removeprefix("<think>").partition("</think>")
            if not closed or "<think>" in thought:
                return None
            text = text.lstrip(_SPACE)
        if not text.startswith("<answer>") or not text.endswith("</answer>"):
            return None
        found = _STRICT_SPAN_JSON.fullmatch(text[len("<answer>") : -len("</answer>")].strip(_SPACE))
        if found is None:
            return None
        lists = [part for part in (found[3], found[4]) if part is not None]
        if (found[3] is not None, found[4] is not None) != (self.fmt.think, self.fmt.boxes):
            return None
        if not all(self._strict_forms.by_second.fullmatch(part) for part in lists):
            return None
        return (int(found[1]), int(found[2])), self._numbers([part.translate(_KEY_MARKS) for part in lists])

    def lenient(self, text: str) -> Answer:
        """Read the text after each key, up to the next key.

        If a limit of the span lies between two whole seconds, it means the second of the first or the last box if that
        is one of the two, and otherwise the nearer second.
        """
        inside = plain(answered(text))
        keys = list(_SPAN_JSON_KEY.finditer(inside))
        ends = [*(key.start() for key in keys), len(inside)][1:]
        sections: dict[str, dict[str, None]] = {}
        for key, end in zip(keys, ends, strict=True):
            sections.setdefault(key[1], {})[inside[key.end() : end].strip(_SPACE + ",")] = None
        for part in ("time", *self.parts):
            if self.keys[part] not in sections:
                self._failures[part] = f"no `{self.keys[part]}`: {text[:40]!r}"
        lists = {part: self._agreed(part, sections.get(self.keys[part], ()), self._list) for part in self.parts}
        spoken = lists.get(PRED)

        def span(text: str, where: str) -> tuple[Ends | None, str]:
            stop = _END_OF_VALUE.search(text)
            found = self._read_span(text[: stop.end()] if stop else text)
            if found.ends is None or found.written is None or spoken is None or len(spoken.index) == 0:
                return found.ends, f"{found.why} in {where}"
            placed = zip(found.ends, found.written, (spoken.index[0], spoken.index[-1]), strict=True)
            first, last = (int(box) if abs(box - written) < 1 else end for end, written, box in placed)
            return (first, last), ""

        return self._answer(self._agreed("time", sections.get("time", ()), span), lists)

    def where(self, part: str) -> str:
        """As `Style.where`."""
        return f"`{self.keys[part]}`"


_KEY_MARKS = str.maketrans({'"': " ", ":": " "})


def _bracketed(box: Sequence[str]) -> str:
    return f"[{', '.join(box)}]"


def _second(time_s: float) -> int:
    """The nearest whole second, the earlier one of a tie."""
    return int(np.ceil(time_s - 0.5))


def _sections(text: str, tag: str) -> list[str]:
    """The text after each opening tag up to the next `<`, without duplicates; a cut-off last part is left out."""
    _, *found = text.split(f"<{tag}>")
    sections = [section.partition("<")[0] for section in found]
    if len(found) > 1 and "<" not in found[-1] and sections[0].startswith(sections[-1]):
        sections.pop()
    return list(dict.fromkeys(sections))


class Ids(Style):
    """`<time> 5 - 6 </time> <object> 3 </object>`: a number that is drawn onto the frames, 0 for none of them."""

    def __init__(self, fmt: AnswerFormat) -> None:
        super().__init__(fmt)
        self.parts = ()

    def ask(self, index: str, example: str) -> str:
        """As `Style.ask`."""
        return (
            f"Objects are marked with numbers in the frames. Answer in exactly this form: {example}\n<time> holds the"
            f" first and the last {index} of the event, both included. <object> holds the number of the described"
            " object, or 0 if it has no number. Write nothing else."
        )

    def write(self, answer: Answer, rows_of: Callable[[BoxList], Rows]) -> str:
        """As `Style.write`; the answer's boxes are not written."""
        if answer.span is None or answer.object is None:
            raise ValueError(f"only a complete answer can be rendered, missing: {dict(answer.failures) or 'a part'}")
        return f"<time> {answer.span[0]} - {answer.span[1]} </time> <object> {answer.object} </object>"

    def exact(self, text: str) -> Answer | None:
        """As `Style.exact`."""
        head = _STRICT_TIME.match(text)
        named = _STRICT_OBJECT.fullmatch(text, head.end()) if head else None
        if head is None or named is None:
            return None
        return Answer((int(head[1]), int(head[2])), None, None, object=int(named[1]))

    def lenient(self, text: str) -> Answer:
        """Read the parts between tags, or else STVG-R1's `Target ID: 3, Time range: 12.54 to 17.83`."""
        inside = answered(text)
        times = _sections(inside, "time") or _R1_TIME.findall(plain(inside))
        objects = _sections(inside, "object") or _R1_OBJECT.findall(plain(inside))
        for part, found, tag in (("time", times, "time"), (PRED, objects, "object")):
            if not found:
                self._failures[part] = f"no <{tag}>: {text[:40]!r}"
        span = self._agreed("time", times, self._span)
        number = self._agreed(PRED, objects, self._object)
        return Answer(span, None, None, self._failures, frozenset(self._seen), object=number)

    def where(self, part: str) -> str:
        """As `Style.where`."""
        return "<object>" if part == PRED else "<time>"

    @staticmethod
    def _object(text: str, where: str) -> tuple[int | None, str]:
        found = _NAMED_OBJECT.fullmatch(plain(text).strip(_SPACE))
        return (int(found[1]), "") if found else (None, f"not one number in {where}")


STYLE_CLASSES: dict[str, type[Style]] = {
    "tags": Tags,
    "csv": Csv,
    "qwen_json": QwenJson,
    "span_json": SpanJson,
    "fig8": Fig8,
    "ids": Ids,
}
"""Styles by the name that STVG_STYLE takes."""
