"""Recognise the style and the coordinates of a file's answers, and read the answers on the grid of their rows.

A model may answer in its own form although the row asks for another form. The whole file decides:

style        the style that reads most answers. If several read equally many, the style that the rows ask for.
coordinates  the kind that the rows ask for, if the boxes fit it; otherwise the only other kind that the boxes fit. If
             the boxes fit several other kinds, the kind that the rows ask for is kept, with a warning.

`qwen_json`, `span_json` and `fig8` count seconds. If the rows count sampled frames, a second means the frames that are
nearest to it, and boxes between two seconds are interpolated linearly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from swift_stvg.answers.format import MAX_TEXT_COORDINATE, Answer, AnswerFormat, BoxList
from swift_stvg.answers.reading import NO_SHARES, SHARES
from swift_stvg.answers.styles import STYLE_CLASSES
from swift_stvg.errors import DataError
from swift_stvg.geometry import TIE_S, FloatArray, interpolate
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import COORDS, style_fault

LINES = {"csv", "fig8"}
"""Styles with the same lines of numbers."""
MOST = 0.9
"""Coordinates fit if this share of the boxes, or more, lies in their picture."""
TRUSTED = 0.5
"""Rows are trusted if this share of the boxes lies in the picture under their coordinates. A poor model's boxes leave
the picture too, and larger coordinates fit all boxes."""
SLACK = 1.05
"""A box lies in the picture if it ends before this many times its width and height."""
ENOUGH = 5
"""Boxes of fewer answers do not tell one kind of whole numbers from another."""
Read = tuple[Answer, bool]
"""As `AnswerFormat.read` gives it."""


@dataclass(frozen=True, slots=True, eq=False)
class Recognised:
    """The answers of a file, read.

    Attributes:
        fmt: the format of the answers.
        read: (B,) the answers, in the unit and the coordinates of their rows, and whether each has exactly the form.
        said: a sentence about the recognised form; "" if the rows ask for this form.
        warnings: open questions about the file.
    """

    fmt: AnswerFormat
    read: list[Read]
    said: str
    warnings: list[str]


def recognise(
    responses: Sequence[str], row_truths: Sequence[RowTruth], style: str | None = None, coords: str | None = None
) -> Recognised:
    """Find out how answers are written, and read them.

    Args:
        responses: (B,) texts that a model wrote, at least one.
        row_truths: (B,) their rows, all with the same settings.
        style, coords: the style and the coordinates to read, instead of the recognised ones.

    Raises:
        DataError: the given style and coordinates do not fit together.
    """
    asked = row_truths[0].format
    if style or coords:
        wanted = _wanted(asked, style or asked.style, coords)
        if fault := style_fault(wanted["style"], wanted["unit"], wanted["coords"], wanted["boxes"]):
            raise DataError(f"the answers cannot be read so: {fault}")
    thoughts = any("think_b" in text for text in responses)

    def read_as(name: str, texts: Sequence[str], kind: str | None = coords) -> tuple[AnswerFormat, list[Read]]:
        fmt = AnswerFormat(**_wanted(asked, name, kind), think=STYLE_CLASSES[name].think and asked.think and thoughts)
        if name == asked.style:
            fmt = replace(fmt, think=asked.think)
        return fmt, [fmt.read(text) for text in texts]

    found = style or asked.style
    fmt, read = read_as(found, responses)
    unread = [text for text, (answer, _) in zip(responses, read, strict=True) if not _readable(answer)]
    counts = {found: len(responses) - len(unread)}
    for name in STYLE_CLASSES if unread else ():
        if name == "ids":
            continue  # only a row of that style knows the objects
        if name != found and not style_fault(name, "second", _wanted(asked, name, coords)["coords"], boxes=True):
            counts[name] = sum(_readable(answer) for answer, _ in read_as(name, unread)[1])
    if style is None and (best := _best_style(counts, found, unread)) != found:
        found = best
        fmt, read = read_as(found, responses)
        counts[found] = sum(_readable(answer) for answer, _ in read)
    warnings = []
    if others := {name: n for name, n in counts.items() if n and not {name, found} <= LINES and name != found}:
        listed = ", ".join(f"{count} as {name}" for name, count in others.items())
        warnings.append(f"{counts[found]} of {len(responses)} answers are readable as {found}; of the others {listed}")
    if coords is None and fmt.boxes and found not in ("fig8", "ids"):
        whole = read if not fmt.shares else read_as(found, responses, "norm1000")[1]
        kind, left_open = _best_coords(read, whole, row_truths, fmt)
        if left_open:
            warnings.append(
                f"the boxes do not fit {fmt.extent}, as the rows ask; they fit {' and '.join(left_open)}, and nothing "
                "in the file says which: --coords chooses"
            )
        if kind != fmt.coords:
            fmt, read = read_as(found, responses, kind)
    return Recognised(
        fmt,
        [
            (row.with_object(_on_row(answer, fmt, row)), valid)
            for (answer, valid), row in zip(read, row_truths, strict=True)
        ],
        _in_words(fmt, asked, counts[found], len(responses), forced=bool(style or coords)),
        warnings,
    )


def _wanted(asked: AnswerFormat, style: str, coords: str | None) -> dict[str, Any]:
    """Arguments for the format of another style for the same rows, without `think`."""
    return {
        "style": style,
        "unit": asked.unit if style in ("tags", "csv", "ids") else "second",
        "coords": coords or ("unit" if style == "fig8" else asked.coords),
        "boxes": asked.boxes or not STYLE_CLASSES[style].says_span,
    }


def _readable(answer: Answer) -> bool:
    """Whether a style finds its parts in a text; the numbers may be of another form."""
    return answer.span is not None and ("pred_bbox" not in answer.failures or bool(answer.seen & {SHARES, NO_SHARES}))


def _best_style(counts: dict[str, int], asked: str, unread: Sequence[str]) -> str:
    """The style that reads most answers. `unread` are the answers that the asked style does not read."""
    most = max(counts.values())
    best = [name for name, count in counts.items() if count == most]
    if most == 0 or asked in best:
        return asked
    if set(best) >= LINES:  # the same lines of numbers; Fig. 8 begins with a dash
        first = [next((line for line in text.splitlines() if any(map(str.isdigit, line))), "") for text in unread]
        return "fig8" if 2 * sum("-" in line and "," not in line for line in first) > len(first) else "csv"
    return best[0]


def _best_coords(
    read: Sequence[Read], whole: Sequence[Read], row_truths: Sequence[RowTruth], fmt: AnswerFormat
) -> tuple[str, list[str]]:
    """The kind of coordinates; and what else the boxes fit, if they do not fit that kind and the file does not decide.

    Boxes in shares of 1 are unreadable as whole numbers, and the reverse, so the reading tells these two apart.

    Args:
        read: the answers as the rows ask.
        whole: the answers with whole numbers.
        row_truths: their rows.
        fmt: the format of `read`.
    """
    other = NO_SHARES if fmt.shares else SHARES
    apart = sum(other in answer.seen for answer, _ in read)
    if not fmt.shares and apart > MOST * (apart + sum(answer.pred is not None for answer, _ in read)):
        return "unit", []
    if fmt.shares and apart <= MOST * (apart + sum(answer.pred is not None for answer, _ in read)):
        return "unit", []
    boxes = [(answer.pred, row) for (answer, _), row in zip(whole, row_truths, strict=True) if answer.pred is not None]
    if len(boxes) < ENOUGH or (not fmt.shares and _inside(boxes, fmt) >= TRUSTED):
        return fmt.coords, []
    fits = [kind for kind in COORDS if kind != "unit" and _inside(boxes, replace(fmt, coords=kind)) >= MOST]
    return (fits[0], []) if len(fits) == 1 else (fmt.coords, fits)


def _inside(boxes: Sequence[tuple[BoxList, RowTruth]], fmt: AnswerFormat) -> float:
    """The share of the readable boxes that lie in the picture."""
    inside = total = 0
    for part, row in boxes:
        readable = part.boxes_xyxy[~np.isnan(part.boxes_xyxy).any(axis=1)]
        limit = SLACK * np.array(2 * fmt.scale_wh(row.size_wh, row.source_wh))
        inside += int((readable <= limit).all(axis=1).sum())
        total += len(readable)
    return inside / max(total, 1)


def _in_words(fmt: AnswerFormat, asked: AnswerFormat, readable: int, total: int, *, forced: bool) -> str:
    differing = []
    if fmt.style != asked.style:
        differing.append(f"style {fmt.style}, where the rows ask for {asked.style}")
    if fmt.boxes and fmt.coords != asked.coords:
        differing.append(f"coordinates in {fmt.extent}, where the rows ask for {asked.extent}")
    if fmt.unit != asked.unit:
        differing.append("seconds, where the rows count frames: boxes between two seconds are interpolated")
    if not differing:
        return ""
    return f"{'read' if forced else 'taken for'} {'; '.join(differing)} ({readable} of {total} readable)"


def _on_row(answer: Answer, fmt: AnswerFormat, row: RowTruth) -> Answer:
    """An answer in the unit and the coordinates of its row."""
    own, theirs = row.scale_wh, fmt.scale_wh(row.size_wh, row.source_wh)
    if (own, row.format.unit) == (theirs, fmt.unit) and fmt.boxes == row.format.boxes:
        return answer
    factor = np.array(2 * own) / np.array(2 * theirs)
    pred = _scaled(answer.pred, factor) if row.format.boxes else None
    scaled = replace(answer, think=_scaled(answer.think, factor), pred=pred)
    return scaled if fmt.unit == row.format.unit else _on_frames(scaled, row)


def _scaled(boxes: BoxList | None, factor: FloatArray) -> BoxList | None:
    if boxes is None:
        return None
    limit = MAX_TEXT_COORDINATE
    return replace(boxes, boxes_xyxy=np.clip(boxes.boxes_xyxy * factor, -limit, limit))


def _on_frames(answer: Answer, row: RowTruth) -> Answer:
    """An answer in seconds on a grid of sampled frames.

    A frame belongs to its nearest second, the earlier one of a tie. It has a box if that second has one. A list that
    breaks the rules of answers keeps its boxes, each at the frame nearest to its second, so it breaks them here too.
    """
    line = row.timeline
    seconds = np.ceil(line.times_s - 0.5 - TIE_S).astype(np.int64)  # (size,) the second of each frame
    last = int(seconds[-1])

    def frame(second: int) -> int:
        """The nearest frame; beyond the last second, an index beyond the grid."""
        return line.size - 1 + second - last if second > last else int(line.index(np.array([float(second)]))[0])

    def on_frames(boxes: BoxList | None) -> BoxList | None:
        if boxes is None or answer.span is None:
            return boxes
        if answer.span[1] > last or not boxes.lies_in(answer.span):
            return replace(boxes, index=np.array([frame(i) for i in boxes.index.tolist()], dtype=np.int64))
        there = np.flatnonzero(np.isin(seconds, boxes.index))
        if len(there) == 0:  # the grid is coarser than a second
            return replace(boxes, index=np.array([frame(i) for i in boxes.index.tolist()], dtype=np.int64))
        times_s = line.times_s[there]
        before = np.searchsorted(boxes.index, np.floor(times_s + TIE_S), side="right") - 1
        before = np.maximum(before, 0)
        after = np.minimum(before + 1, len(boxes.index) - 1)
        own = np.searchsorted(boxes.index, seconds[there])
        apart = boxes.index[after] - boxes.index[before] > 1
        before, after = np.where(apart, own, before), np.where(apart, own, after)
        return BoxList(there, interpolate(boxes.index, boxes.boxes_xyxy, before, after, times_s))

    span = answer.span
    if span is not None and span[0] <= span[1] <= last:
        inside = np.flatnonzero((seconds >= span[0]) & (seconds <= span[1]))
        span = (int(inside[0]), int(inside[-1])) if len(inside) else (frame(span[0]), frame(span[1]))
    elif span is not None:
        span = frame(span[0]), frame(span[1])
    return replace(answer, span=span, think=on_frames(answer.think), pred=on_frames(answer.pred))
