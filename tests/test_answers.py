"""The answer format: one object that writes, checks and reads."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift_stvg.answers.format import Answer, AnswerFormat, BoxList
from swift_stvg.answers.reading import CLOCK_TIMES, NO_SHARES, SHARES
from swift_stvg.answers.styles import STYLE_CLASSES
from swift_stvg.settings import UNITS
from tests.helpers import EVERY_FORMAT, answer, boxes

numbers = st.integers(0, 9_999_999)
box_lists = st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers), min_size=1, max_size=20).map(
    lambda rows: BoxList(np.array([r[0] for r in rows]), np.array([r[1:] for r in rows], dtype=np.float64))
)
formats = st.sampled_from(EVERY_FORMAT)


def sayable(span: tuple[int, int], think: BoxList, pred: BoxList, fmt: AnswerFormat) -> Answer:
    """An answer that the format can write: shares are below 2, and in qwen_json the span is that of the boxes."""
    if fmt.shares:
        think, pred = (BoxList(part.index, part.boxes_xyxy % 2000) for part in (think, pred))
    if fmt.style == "qwen_json":
        index, boxes_xyxy = pred.first_of_each()
        pred, think = BoxList(index, boxes_xyxy), BoxList(index, boxes_xyxy[::-1])
        span = int(index[0]), int(index[-1])
    gaps = STYLE_CLASSES[fmt.style].gaps
    return Answer(span, think if fmt.think else None, pred if fmt.boxes else None, gaps=gaps)


@pytest.mark.slow
@given(st.tuples(numbers, numbers), box_lists, box_lists, formats)
def test_parse_inverts_render(span: tuple[int, int], think: BoxList, pred: BoxList, fmt: AnswerFormat) -> None:
    original = sayable(span, think, pred, fmt)
    text = fmt.render(original)
    assert fmt.is_valid(text)
    assert fmt.parse(text) == original


@given(st.tuples(numbers, numbers), box_lists, st.sampled_from(["\nx", "\n .", "\n-"]), formats)
def test_lenient_and_strict_reading_agree(span: tuple[int, int], both: BoxList, noise: str, fmt: AnswerFormat) -> None:
    original = sayable(span, both, both, fmt)
    lenient, valid = fmt.read(fmt.render(original) + noise)
    assert not valid
    assert lenient == original


@pytest.mark.parametrize("fmt", EVERY_FORMAT, ids=str)
def test_instructions_show_a_valid_answer_and_name_the_convention(fmt: AnswerFormat) -> None:
    text = fmt.instruction()
    assert fmt.is_valid(fmt.example())
    assert fmt.example() in text
    assert ("frame number" in text, "second" in text) == (fmt.unit == "frame", fmt.unit == "second")
    extents = {"norm1000": "thousandths", "unit": "shares", "pixel": "pixels of the frames", "source": "of the video"}
    named = {coords for coords, words in extents.items() if words in text}
    assert named == ({fmt.coords} if fmt.boxes else set())
    assert ("box" in text) == fmt.boxes
    assert ("first guess" in text) == fmt.think


ROWS = [
    ("2,3\n2,1,2,3,4\n3,5,6,7,8", True, (2, 3), [2, 3], "as asked"),
    ("```csv\n2, 3\n2, 1, 2, 3, 4\n3, 5, 6, 7, 8\n```", False, (2, 3), [2, 3], "in a fence"),
    ("2,3,\n2,1,2,3,4,\n3,5,6,7,8, ", False, (2, 3), [2, 3], "commas at the ends"),
    ("**2,3**\n- 2,1,2,3,4\n* 3,5,6,7,8", False, (2, 3), [2, 3], "as markdown"),
    ("2 - 3\n2,1,2,3,4\n3,5,6,7,8", False, (2, 3), [2, 3], "a span with a dash"),
    ("start,end\n2.0, 3.0\nframe,x1,y1,x2,y2\n2,1,2,3,4.5", False, (2, 3), [2], "headers, decimals"),
    ("[2, 3]\r\n(2, 1, 2, 3, 4)\r\n", False, (2, 3), [2], "brackets"),
    ("2,3\n4,5\n2,1,2,3,4", False, None, [2], "two spans, and no way to choose"),
    ("2,3\r2,1,2,3,4", False, (2, 3), [2], "lines as of old"),
    ("2,\r3\n2,1,2,3,4", False, None, [2], "nothing goes over two lines"),
    ("2,3\n2,1,2,x,4\n3,5,6,7,8", False, (2, 3), [2, 3], "a box that cannot be read stays as such"),
    ("2,3\n2,1,2,3", False, (2, 3), None, "three coordinates"),
    ("2\n2,1,2,3,4", False, None, [2], "no span"),
    ("-2,3\n2,1,2,3,4", False, None, [2], "a time before the beginning"),
    ("2,3\n2,1,2,3," + 300 * "4", False, (2, 3), None, "a line that is no row"),
    ("", False, None, None, "nothing"),
]


@pytest.mark.parametrize(("text", "valid", "span", "index", "reason"), ROWS, ids=[row[-1] for row in ROWS])
def test_lines_of_numbers(
    text: str, valid: bool, span: tuple[int, int] | None, index: list[int] | None, reason: str
) -> None:
    found, is_valid = AnswerFormat(False, style="csv").read(text)
    assert (found.span, is_valid) == (span, valid), reason
    assert (found.pred and found.pred.index.tolist()) == index, reason
    assert ("time" in found.failures, "pred_bbox" in found.failures) == (span is None, index is None)


def test_the_instruction_is_this() -> None:
    assert AnswerFormat().instruction() == (
        "You are given a video and a sentence. Find when the described event happens and where the described "
        "object is during it. Answer in exactly this form: <time> 5 - 6 </time> <think_bbox> 5. [123, 37, "
        "183, 157], 6. [127, 40, 187, 160] </think_bbox> <pred_bbox> 5. [120, 40, 180, 160], 6. [124, 40, "
        "184, 160] </pred_bbox>\n"
        "<time> holds the first and the last frame number of the event, both included. A box list holds one "
        "box for every frame number from the first to the last, as number and [x1, y1, x2, y2]: left, top, "
        "right and bottom as whole numbers in pixels of the frames. First write your first guess of the boxes "
        "in <think_bbox>, then look again and write the corrected boxes in <pred_bbox>. Write nothing else."
    )


INVALID = [
    ("", "nothing"),
    (answer("2 - 5", boxes(2, 5), boxes(2, 5)) + ".", "a character after"),
    (answer("2 - 5", boxes(2, 5), boxes(2, 5)).replace("<time>", "<Time>"), "another tag"),
    (answer("2 - 5", boxes(2, 5) + ",", boxes(2, 5)), "a comma too many"),
    (answer("2 - 5", boxes(2, 5).replace(".", ":"), boxes(2, 5)), "colons"),
    (answer("2 - 5", "", boxes(2, 5)), "an empty list"),
    (answer("2 to 5", boxes(2, 5), boxes(2, 5)), "words in the time"),
    (answer("2 - 5", boxes(2, 5, "1, 2, 3"), boxes(2, 5)), "three coordinates"),
    (answer("2 - 5", boxes(2, 5, "1, 2, 3, -4"), boxes(2, 5)), "a sign"),
]


@pytest.mark.parametrize(("text", "reason"), INVALID, ids=[case[1] for case in INVALID])
def test_invalid(text: str, reason: str) -> None:
    assert not AnswerFormat().is_valid(text), reason


def table(title: str) -> list[list[str]]:
    """The rows of a table of GUARANTEES.md, as text: code marks are left out, `⏎` is a new line."""
    text = (Path(__file__).parent / "GUARANTEES.md").read_text()
    lines = text.partition(f"\n{title}")[2].partition("\n| ")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [[re.sub(r"^(`+) ?(.*?) ?\1$", r"\2", cell).replace("⏎", "\n") for cell in row] for row in cells]


def as_listed(boxes_read: BoxList | None) -> str:
    """A list in the form of the tables."""
    assert boxes_read is not None
    rows = zip(boxes_read.index.tolist(), boxes_read.boxes_xyxy.tolist(), strict=True)
    return ", ".join(f"{i}. [{', '.join(f'{c:g}' for c in box)}]" for i, box in rows)


def check_part(cell: str, found: str | None, why: str) -> None:
    """Check that the answer equals the cell, or that the reason begins with the cell's text."""
    reason = cell.partition("unreadable: ")[2]
    assert (found is None) == bool(reason), (cell, found)
    assert why.startswith(reason) if reason else found == cell


def check_span(cell: str, read: Answer) -> None:
    check_part(cell, None if read.span is None else f"{read.span[0]} - {read.span[1]}", read.failures.get("time", ""))


def check_boxes(cell: str, read: Answer) -> None:
    cell, inconsistent, _ = cell.partition(", inconsistent")
    found = read.pred and as_listed(read.pred)
    check_part(cell.strip("`"), found, read.failures.get("pred_bbox", ""))
    assert bool(read.pred and read.pred.unplaced) == bool(inconsistent)


SPANS = table("A first and a last index")


@pytest.mark.parametrize(("written", "frames", "seconds"), SPANS, ids=[row[0] for row in SPANS])
def test_what_spans_mean(written: str, frames: str, seconds: str) -> None:
    for unit, cell in zip(UNITS, (frames, seconds), strict=True):
        check_span(cell, AnswerFormat(False, unit, boxes=False).parse(f"<time> {written} </time>."))
        line = AnswerFormat(False, unit, boxes=False, style="csv").parse(f"Here:\n{written}\n")
        assert line.span == AnswerFormat(False, unit, boxes=False).parse(f"<time> {written} </time>").span
        assert (CLOCK_TIMES in line.seen) == ("clock" in frames)


LISTS = table("Boxes, in `<pred_bbox>`")


@pytest.mark.parametrize(("written", "read"), LISTS, ids=[row[0] for row in LISTS])
def test_what_boxes_mean(written: str, read: str) -> None:
    text = f"<pred_bbox> {written} </pred_bbox>"
    check_boxes(read, AnswerFormat(False).parse(text))
    thousandths = AnswerFormat(False, coords="norm1000").parse(text)
    check_boxes(read.replace("pixels of the frames", "thousandths of the frame's width and height"), thousandths)
    assert (SHARES in thousandths.seen) == (SHARES in read)


ANSWERS = table("Whole answers to rows that ask for a time")


@pytest.mark.parametrize(("written", "read"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_what_answers_mean(written: str, read: str) -> None:
    check_span(read, AnswerFormat(False, boxes=False).parse(written))


LINES = table("Whole answers to rows that ask for lines")


@pytest.mark.parametrize(("written", "read"), LINES, ids=[row[0] for row in LINES])
def test_what_lines_mean(written: str, read: str) -> None:
    answer_read = AnswerFormat(False, style="csv").parse(written)
    span, _, listed = read.partition("; ")
    check_span(span, answer_read)
    check_boxes(listed, answer_read)


STYLED = {name: table(f"Whole answers to rows that ask for `{name}`") for name in ("qwen_json", "span_json", "fig8")}


@pytest.mark.parametrize(
    ("name", "written", "read"), [(name, *row) for name, rows in STYLED.items() for row in rows], ids=str
)
def test_what_answers_of_models_mean(name: str, written: str, read: str) -> None:
    answer_read = AnswerFormat(False, "second", "unit" if name == "fig8" else "norm1000", style=name).parse(written)
    span, _, listed = read.partition("; ")
    check_span(span, answer_read)
    check_boxes(listed, answer_read)


FAULTS_OF_STYLES = [
    # style, answer, why it makes no tube on 10 seconds
    ("qwen_json", '[{"time": 2.0, "bbox_2d": [1, 2, 3, 4]}, {"time": 5.0, "bbox_2d": [1, 2, 3, 4]}]', None),
    ("qwen_json", '[{"time": 5.0, "bbox_2d": [1, 2, 3, 4]}, {"time": 2.0, "bbox_2d": [1, 2, 3, 4]}]', "inconsistent"),
    ("qwen_json", '[{"time": 2.0, "bbox_2d": [1, 2, 3, 4]}, {"time": 2.0, "bbox_2d": [5, 6, 7, 8]}]', "inconsistent"),
    ("qwen_json", '[{"time": 12.0, "bbox_2d": [1, 2, 3, 4]}]', "inconsistent"),
    ("qwen_json", '[{"bbox_2d": [1, 2, 3, 4], "label": "man"}]', "unparsable"),
    ("span_json", '{"time": [2, 5], "boxes": {"2": [1, 2, 3, 4], "5": [1, 2, 3, 4]}}', "inconsistent"),
    ("fig8", "2-5\n2,0.1,0.2,0.3,0.4\n5,0.1,0.2,0.3,0.4", None),
    ("fig8", "2-5\n2,0.1,0.2,0.3,0.4\n6,0.1,0.2,0.3,0.4", "inconsistent"),
]


@pytest.mark.parametrize(("name", "text", "kind"), FAULTS_OF_STYLES)
def test_styles_with_gaps(name: str, text: str, kind: str | None) -> None:
    """Qwen skips frames without the object, and Fig. 8 asks for some boxes; OneThinker writes one for each second."""
    fault = (
        AnswerFormat(False, "second", "unit" if name == "fig8" else "norm1000", style=name)
        .parse(text)
        .fault(10, (1000, 1000))
    )
    assert (fault and fault[0]) == kind


def test_whole_numbers_are_no_shares() -> None:
    read = AnswerFormat(False, coords="unit").parse("<time> 2 - 2 </time> <pred_bbox> 2. [10, 20, 30, 40] </pred_bbox>")
    assert read.failures["pred_bbox"].startswith("boxes in numbers above 2, not in shares")
    assert NO_SHARES in read.seen


def test_the_tables_are_all_there() -> None:
    assert [len(rows) > 10 for rows in (SPANS, LISTS, ANSWERS, LINES, *STYLED.values())] == [True] * 7


def test_failures_say_which_part_and_why() -> None:
    parsed = AnswerFormat().parse("<time> soon </time> <think_bbox> 3. [1, 2] </think_bbox>")
    assert parsed.failures == {
        "time": "no two numbers in <time>: ' soon '",
        "think_bbox": "no readable box in <think_bbox>: ' 3. [1, 2] '",
        "pred_bbox": "no <pred_bbox>",
    }


def test_a_part_ends_where_the_next_tag_begins() -> None:
    parsed = AnswerFormat().parse("<time> 2 - 5 <think_bbox> 2. [1, 2, 3, 4] <pred_bbox> 3. [5, 6, 7, 8]")
    assert parsed.think == BoxList(np.array([2]), np.array([[1.0, 2, 3, 4]]))
    assert parsed.pred == BoxList(np.array([3]), np.array([[5.0, 6, 7, 8]]))


FAULTS = [
    # span, boxes, why they make no tube on 10 indices of a picture of 100 x 80
    ("2 - 5", boxes(2, 5), None),
    ("9 - 9", boxes(9, 9), None),
    ("2 - 5", boxes(2, 5, "1000, 0, 10, 10"), None),
    ("soon", "", ("unparsable", "no two numbers in <time>: ' soon '; no readable box in <pred_bbox>: '  '")),
    ("5 - 2", boxes(2, 5), ("inconsistent", "the span 5 - 2 runs backwards")),
    ("9 - 10", boxes(9, 10), ("inconsistent", "the span 9 - 10 goes beyond the last index, 9")),
    ("9 - 20", boxes(9, 20), ("inconsistent", "the span 9 - 20 goes beyond the last index, 9")),
    ("2 - 3", "2. [1], 3. [1, 2, 3]", ("unparsable", "no readable box in <pred_bbox>: ' 2. [1], 3. [1, 2, 3] '")),
    ("2 - 4", "2. [1], 3. [1], 4. [1, 2, 3, 4]", ("inconsistent", "the box of index 2 cannot be read")),
    ("2 - 5", boxes(2, 4), ("inconsistent", "3 boxes for the span 2 - 5")),
    ("2 - 5", boxes(2, 6), ("inconsistent", "5 boxes for the span 2 - 5")),
    ("2 - 5", boxes(3, 6), ("inconsistent", "the boxes do not have the indices of the span 2 - 5, in order")),
    (
        "2 - 3",
        "2. [1, 2, 3, 4], 2.5. [5, 6, 7, 8], 3. [1, 2, 3, 4]",
        ("inconsistent", "a box has no index that can be read: '2.5. [5, 6, 7, 8]'"),
    ),
    ("2 - 3", "2. [1, 2, 3, 4], 3. [1, 2, 3]", ("inconsistent", "the box of index 3 cannot be read")),
    ("2 - 3", "2. [1, 2, 3, 4], 3. [1, 2, 3, 4, 5]", ("inconsistent", "the box of index 3 cannot be read")),
    (
        "2 - 3",
        "2. [1, 2, 3, 1001], 3. [-2000, 2, 3, 4]",
        ("inconsistent", "the box [-2000.0, 2.0, 3.0, 4.0] of index 3 is far outside the picture"),
    ),
]


@pytest.mark.parametrize(("time", "listed", "fault"), FAULTS)
def test_why_an_answer_gives_no_tube(time: str, listed: str, fault: tuple[str, str] | None) -> None:
    assert AnswerFormat().parse(answer(time, "", listed)).fault(10, (100, 80)) == fault


def test_of_boxes_for_the_same_index_the_first_counts() -> None:
    found = BoxList(np.array([2, 5, 3, 5]), np.arange(16.0).reshape(4, 4))
    index, boxes_xyxy = found.first_of_each()
    assert index.tolist() == [2, 3, 5]
    assert boxes_xyxy[:, 0].tolist() == [0, 8, 4]


def test_incomplete_answers_cannot_be_rendered() -> None:
    one = BoxList(np.array([2]), np.array([[1.0, 2, 3, 4]]))
    with pytest.raises(ValueError, match="only a complete answer"):
        AnswerFormat().render(Answer((2, 2), None, one))
    with pytest.raises(ValueError, match="whole numbers"):
        AnswerFormat().render(Answer((2, 2), one, BoxList(np.array([2]), np.array([[0.5, 2, 3, 4]]))))


def test_unknown_variants_are_refused() -> None:
    with pytest.raises(ValueError, match="unit must be one of"):
        AnswerFormat(unit="minute")
    with pytest.raises(ValueError, match="coords must be one of"):
        AnswerFormat(coords="yards")
    with pytest.raises(ValueError, match="style must be one of"):
        AnswerFormat(style="prose")
    for variant in ({"boxes": False}, {"style": "csv"}):
        with pytest.raises(ValueError, match="needs final boxes and a style that can hold both lists"):
            AnswerFormat(**variant)
