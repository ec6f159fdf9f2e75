"""Numbers, times and punctuation as people and models write them, in any style of answer.

A text with several possible meanings is not read. A table in `tests/GUARANTEES.md` lists texts and their meanings.
Every expression runs in linear time: each repetition is bounded or has only one way to continue, and spans and labels
are short.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

CLOCK_TIMES, SHARES, NO_SHARES = "clock times", "shares of 1", "numbers above 2"
"""Forms that `Answer.seen` reports."""
LARGEST_SHARE = 2.0
"""A number of at most this magnitude can be a share of the picture; a box may leave the picture a little."""
LONGEST_SPAN, LONGEST_LABEL = 200, 120
"""Upper bounds in characters of the text of a span, and of the text before a box."""

_NUMBER = r"\.?[0-9]+(?:[.:][0-9]+)*"
_PLAIN_NUMBER = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,7})?")
_CLOCK = re.compile(r"(?:([0-9]{1,3}):(?=[0-9]{2}:))?([0-9]{1,3}):([0-9]{2}(?:\.[0-9]{1,7})?)")
_TOKEN = re.compile(
    rf"(?P<number>{_NUMBER})|(?P<word>[^\W\d_]+)|(?P<dash>-+>?|~)|(?P<comma>,)|"
    r"[\s\[\](){}\"'*=:_;`|]+|\.(?!\.?[0-9])|(?P<other>.)",
    re.DOTALL,
)
_UNIT_OF = {
    word: unit
    for unit, words in {
        "frame": "frame frames",
        "second": "s sec secs second seconds",
        "minute": "m min mins minute minutes",
        "hour": "h hour hours",
        "millisecond": "ms millisecond milliseconds",
    }.items()
    for word in words.split()
}
_JOINING = frozenset({"to", "until", "till", "through", "and", "end"})
_KNOWN = frozenset({"from", "between", "start", "begin", "time", "span"}) | _JOINING | frozenset(_UNIT_OF)
_SPAN_SHAPES = frozenset({"n-n", "n,n", "nton", "n,ton"})

_ENTRY_BREAK = re.compile(r"[;\n|]|,(?![0-9])|(?<![0-9]),")  # 2,5 may be a decimal number
_LABEL_BREAK = re.compile(r"[\"'{}()\[\]*=#]|:(?![0-9])|(?<![0-9]):|\.(?!\S)")
_ANY_NUMBER, _WORD = re.compile(_NUMBER), re.compile(r"[^\W\d_]+")
_LABEL = re.compile(rf"(?:- )?(?:({_WORD.pattern})[\s_]*)?({_NUMBER})\s*({_WORD.pattern})?\s*-?")
_USUAL_LABEL = re.compile(r"[ ,]{0,8}([0-9]{1,7})[.:]? ?")  # most labels; faster than `_LABEL`, with the same result
_TIME = re.compile(rf"({_NUMBER})[ \t]{{0,8}}(s|secs?|seconds?)?")
_COORDINATE = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?")

_PLAIN = {0xFF01 + i: 0x21 + i for i in range(94)} | str.maketrans(
    dict.fromkeys("\u3000\u00a0\u2009\u202f", " ")
    | dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("“”‘’「」", '"')
    | {"【": "[", "】": "]", "〔": "[", "〕": "]", "、": ". ", "。": ". ", "〜": "~", "→": "->"}
    | {"至": " to ", "到": " to ", "从": " from ", "第": " "}
    | {"帧": " frame ", "幀": " frame ", "秒": " s ", "分": " min ", "时": " h ", "時": " h "}
)


class Span(NamedTuple):
    """A first and a last index, as read from a text.

    Attributes:
        ends: both indices, or None.
        why: the reason for None; otherwise "".
        form: "numbers" or `CLOCK_TIMES`; "" if the text does not hold exactly two of them.
        written: both numbers before they became indices; clock times as seconds.
    """

    ends: tuple[int, int] | None
    why: str
    form: str = ""
    written: tuple[float, float] | None = None


def answered(text: str) -> str:
    """The answer within a completion: the text after its thoughts, and inside `<answer>` if that tag exists.

    The text of a thought without an end is ignored too. Several `<answer>` blocks count as one text.
    """
    text = text[text.rfind("</think>") + len("</think>") :] if "</think>" in text else text
    text = text.partition("<think>")[0]
    _, *blocks = text.split("<answer>")
    return "\n".join(block.partition("</answer>")[0] for block in blocks) if blocks else text


def plain(text: str) -> str:
    """Convert full-width forms, Chinese punctuation, Chinese unit words, dashes and spaces to ASCII."""
    return text if text.isascii() else text.translate(_PLAIN)


def read_span(text: str, unit: str) -> Span:
    """Read a first and a last index from a text. The text may hold no other words than words for spans and units.

    Args:
        text: any string.
        unit: unit of an index, "frame" or "second".
    """
    if len(text) > LONGEST_SPAN:
        return Span(None, f"{len(text)} characters")
    words: set[str] = set()
    numbers: list[str] = []
    shape = ""
    for token in _TOKEN.finditer(plain(text).lower()):
        kind, value = token.lastgroup, token[0]
        if kind == "number":
            numbers.append(value)
            shape += "n"
        elif kind == "word":
            words.add(value)
            shape += "to" * (value in _JOINING)
        elif kind == "dash":
            shape += "-" if value in ("-", "->", "-->", "~") else "?"
        elif kind is not None:
            shape += "," if kind == "comma" else "?"
    if len(numbers) != 2:
        return Span(None, f"{len(numbers)} numbers" if len(numbers) > 2 else "no two numbers")
    if shape.rstrip(",") not in _SPAN_SHAPES or words - _KNOWN:
        return Span(None, "not just a first and a last index")
    first, last = map(_number, numbers)
    if first is None or last is None or first.clock != last.clock:
        return Span(None, "not two numbers, or times, of one kind")
    form = CLOCK_TIMES if first.clock else "numbers"
    ends = [_index(end, words, unit, nearest=True) for end in (first, last)]
    if isinstance(ends[0], int) and isinstance(ends[1], int):
        return Span((ends[0], ends[1]), "", form, (first.value, last.value))
    return Span(None, next(why for why in ends if isinstance(why, str)), form)


def other_unit(text: str, unit: str) -> str:
    """The unit that a single word names, if it differs from `unit`; otherwise ""."""
    named = _UNIT_OF.get(text.strip().lower(), unit)
    return "" if named == unit else named


def read_label(text: str, unit: str) -> int | None:
    """Read the index from the text before a box; None if it is not certain. Text before a comma is ignored."""
    usual = _USUAL_LABEL.fullmatch(text)
    if usual is not None:
        return int(usual[1])
    if len(text) > LONGEST_LABEL:
        return None
    entry = _ENTRY_BREAK.split(plain(text).lower().strip())[-1]
    said = [part for part in map(str.strip, _LABEL_BREAK.split(entry)) if part]
    found = _LABEL.fullmatch(said[-1]) if said else None
    number = _number(found[2]) if found else None
    if found is None or number is None or len(_ANY_NUMBER.findall(entry)) > 1:
        return None
    if {found[1], found[3]} - {None, *_UNIT_OF}:
        return None
    index = _index(number, set(_WORD.findall(entry)), unit)
    return index if isinstance(index, int) else None


def read_time(text: str) -> float | None:
    """Read one time in seconds: a number, with or without a word for seconds, or a clock time; None if it is neither.

    Quotes and angle brackets may surround it, as in `"5.0"` and `<5.0 seconds>`.
    """
    found = None if len(text) > LONGEST_LABEL else _TIME.fullmatch(text.lower().strip(" \t\r\n\"'<>"))
    number = _number(found[1]) if found else None
    return None if number is None or (number.clock and found and found[2]) else number.value


def read_box(cells: list[str], shares: bool = False) -> tuple[float, float, float, float] | str | None:
    """Read four coordinates.

    Args:
        cells: their texts.
        shares: whether the text coordinates are shares of 1. They are read as thousandths.

    Returns:
        The coordinates; None if the cells are not four numbers. If the numbers are of another form: `SHARES`, shares of
        1 where other coordinates are asked for, or `NO_SHARES`, numbers that cannot be shares.
    """
    found = [_COORDINATE.fullmatch(cell.strip()) for cell in cells]
    numbers = [float(number[0]) for number in found if number is not None]
    if len(found) != 4 or len(numbers) != 4:
        return None
    x1, y1, x2, y2 = numbers
    if shares:
        if max(map(abs, numbers)) > LARGEST_SHARE:
            return NO_SHARES
        x1, y1, x2, y2 = (float(f"{cell.strip()}e3") for cell in cells)  # exact; a product would be rounded
    elif min(numbers) >= -1 and max(numbers) <= 1 and any("." in cell for cell in cells):  # a box may leave the picture
        return SHARES
    return x1, y1, x2, y2


class _Number(NamedTuple):
    value: float
    clock: bool


def _number(word: str) -> _Number | None:
    """Read a number of at least 0, or a clock time as seconds: mm:ss or hh:mm:ss, with or without a fraction."""
    if _PLAIN_NUMBER.fullmatch(word):
        return _Number(float(word), False)
    clock = _CLOCK.fullmatch(word)
    if clock is None:
        return None
    hours, minutes, seconds = int(clock[1] or 0), int(clock[2]), float(clock[3])
    if seconds >= 60 or (clock[1] and minutes >= 60):
        return None
    return _Number(3600.0 * hours + 60.0 * minutes + seconds, True)


def _index(number: _Number, words: set[str], unit: str, nearest: bool = False) -> int | str:
    """Convert a number to an index, or return the reason why that is impossible.

    A time between two seconds becomes the nearer one, or the earlier one of a tie, as everywhere on the timeline.
    """
    units = {_UNIT_OF[word] for word in words if word in _UNIT_OF} | ({"second"} if number.clock else set())
    if units - {unit}:
        written = CLOCK_TIMES if number.clock else f"{min(units - {unit})}s"
        return f"{written}, where an index counts {unit}s,"
    if not number.value.is_integer() and not (nearest and unit == "second"):
        return f"a fraction, where an index counts {unit}s,"
    return math.ceil(number.value - 0.5)
