"""Answers in another form than their rows ask for: recognised forms, open cases, and the meaning of numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from swift_stvg.answers.format import Answer, AnswerFormat, BoxList
from swift_stvg.cli import main
from swift_stvg.errors import DataError
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import tiou, viou
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.recognition import Recognised, recognise
from tests.helpers import EVERY_FORMAT, boxes, row_truth, true_box

N = 6


def rows(fmt: AnswerFormat, count: int = N) -> list[RowTruth]:
    """Rows of a clip of 5 s at 2 frames a second: frames 2 to 5, that is 1 s to 2.5 s, or seconds 2 to 5."""
    return [row_truth(fmt=fmt, box=true_box(fmt), row_id=f"row {i}") for i in range(count)]


def exact(row: RowTruth, fmt: AnswerFormat) -> str:
    """The exact answer to a row in another format."""
    span = (1, 2) if (fmt.unit, row.format.unit) == ("second", "frame") else row.span
    index = np.arange(span[0], span[1] + 1)
    part = BoxList(index, np.tile(np.array(true_box(fmt), dtype=np.float64), (len(index), 1)))
    return fmt.render(Answer(span, part, part))


def scores(found: Recognised, asked: list[RowTruth]) -> tuple[list[float], list[float]]:
    batch = Batch([""] * len(asked), asked, found.read)
    return tiou(batch).tolist(), viou(batch).tolist()


TAGS, LINES = AnswerFormat(False), AnswerFormat(False, "second", "norm1000", style="csv")
QWEN = AnswerFormat(False, "second", "norm1000", style="qwen_json")
EXACT = [
    (asked, written)
    for asked in (AnswerFormat(), QWEN)
    for written in EVERY_FORMAT
    if written.boxes and not written.think and (written.unit == asked.unit or written.style not in ("tags", "csv"))
]


@pytest.mark.parametrize(("asked", "written"), EXACT, ids=str)
def test_an_exact_answer_is_exact_in_any_form(asked: AnswerFormat, written: AnswerFormat) -> None:
    """The coordinates are given, and the style is found. In tags and lines of numbers, an index has the rows' unit."""
    truths = rows(asked)
    found = recognise([exact(row, written) for row in truths], truths, coords=written.coords)
    assert found.fmt.style == written.style
    assert found.warnings == []
    assert scores(found, truths) == ([1.0] * N, [1.0] * N)
    assert (found.said == "") == (found.fmt == asked)


SHOWN = [
    # what the rows ask, what is written, a box as (x1, y1, x2, y2), coordinates that are taken, and the reason
    (TAGS, QWEN, "200, 200, 600, 600", "norm1000", "beyond the frame of 100 pixels and the video of 200"),
    (TAGS, QWEN, "20, 20, 60, 60", "pixel", "as asked, since they fit"),
    (TAGS, QWEN, "0.2, 0.2, 0.6, 0.6", "unit", "decimals between 0 and 1"),
    (TAGS, TAGS, "0.2, 0.2, 0.6, 0.6", "unit", "in the asked style too"),
    (TAGS, QWEN, "40, 40, 120, 120", "", "pixels of the video or thousandths"),
    (LINES, QWEN, "200, 200, 600, 600", "norm1000", "as asked"),
    (LINES, LINES, "0.2, 0.2, 0.6, 0.6", "unit", "as decimals"),
    (AnswerFormat(False, "second", "unit", style="csv"), QWEN, "200, 200, 600, 600", "norm1000", "no shares"),
    (AnswerFormat(False, "second", "unit", style="csv"), QWEN, "20, 20, 60, 60", "", "no shares, and all fit"),
    (AnswerFormat(False, coords="source"), TAGS, "200, 200, 600, 600", "norm1000", "beyond the video"),
    (AnswerFormat(False, coords="source"), TAGS, "40, 40, 120, 120", "source", "as asked"),
]


def text(fmt: AnswerFormat, first: int, last: int, box: str) -> str:
    """An answer with the same box for each index."""
    if fmt.style == "qwen_json":
        items = [f'{{"time": {i}.0, "bbox_2d": [{box}], "label": "man"}}' for i in range(first, last + 1)]
        return f"[{', '.join(items)}]"
    if fmt.style == "csv":
        return "\n".join([f"{first},{last}", *(f"{i},{box}" for i in range(first, last + 1))])
    return f"<time> {first} - {last} </time> <pred_bbox> {boxes(first, last, box)} </pred_bbox>"


@pytest.mark.parametrize(("asked", "written", "box", "coords", "reason"), SHOWN, ids=[case[-1] for case in SHOWN])
def test_what_the_boxes_show(asked: AnswerFormat, written: AnswerFormat, box: str, coords: str, reason: str) -> None:
    truths = rows(asked)
    last = 2 if (asked.unit, written.unit) == ("frame", "second") else 5
    first = 1 if last == 2 else 2
    found = recognise([text(written, first, last, box)] * N, truths)
    assert found.fmt.coords == (coords or asked.coords), reason
    assert (found.fmt.style, bool(found.warnings)) == (written.style, not coords)
    if coords:
        assert scores(found, truths)[1] == [1.0] * N
    else:
        assert "--coords chooses" in found.warnings[0]


def test_few_answers_do_not_tell_whole_numbers_apart() -> None:
    truths = rows(TAGS, 4)
    assert recognise([text(TAGS, 2, 5, "200, 200, 600, 600")] * 4, truths).fmt.coords == "pixel"
    assert recognise([text(TAGS, 2, 5, "0.2, 0.2, 0.6, 0.6")] * 4, truths).fmt.coords == "unit"


def test_the_whole_file_decides_the_style() -> None:
    truths = rows(TAGS)
    mixed = [text(TAGS, 2, 5, "20, 20, 60, 60")] * 4 + [text(QWEN, 1, 2, "20, 20, 60, 60")] * 2
    found = recognise(mixed, truths)
    assert (found.fmt, found.said) == (TAGS, "")
    assert found.warnings == ["4 of 6 answers are readable as tags; of the others 2 as qwen_json"]
    assert recognise(mixed[2:], truths[2:]).fmt.style == "tags", "of equals the one that the rows ask for"
    found = recognise([*mixed[3:], "no idea"], truths[:4])
    assert found.fmt.style == "qwen_json"
    assert found.said == (
        "taken for style qwen_json, where the rows ask for tags; seconds, where the rows count frames: boxes between "
        "two seconds are interpolated (2 of 4 readable)"
    )
    assert recognise(["nothing"] * 3, truths[:3]).fmt == TAGS


def test_lines_of_numbers_are_of_fig8_where_they_begin_with_a_dash() -> None:
    truths = rows(TAGS)
    fig8 = "1-2\nsecond,x1,y1,x2,y2\n1,0.2,0.2,0.6,0.6\n2,0.2,0.2,0.6,0.6"
    found = recognise([fig8] * N, truths)
    assert (found.fmt.style, found.fmt.unit, found.fmt.coords) == ("fig8", "second", "unit")
    assert scores(found, truths) == ([1.0] * N, [1.0] * N)
    lines = "2,5\n" + "\n".join(f"{i},20,20,60,60" for i in range(2, 6))
    found = recognise([lines] * N, truths)
    assert (found.fmt.style, found.fmt.unit) == ("csv", "frame"), "lines count what the rows count"
    assert scores(found, truths) == ([1.0] * N, [1.0] * N)


def test_seconds_on_frames() -> None:
    """At 2 frames a second, second 1 means frames 2 and 3 (1.0 s, and 1.5 s, which is as near to 1 as to 2)."""
    truths = rows(TAGS, 1)
    moving = '[{"time": 1.0, "bbox_2d": [0, 0, 10, 10]}, {"time": 2.0, "bbox_2d": [20, 0, 30, 10]}]'
    (answer, valid) = recognise([moving], truths, style="qwen_json").read[0]
    assert (answer.span, valid) == ((2, 5), True)
    assert answer.pred == BoxList(
        np.arange(2, 6), np.array([[0.0, 0, 10, 10], [10, 0, 20, 10], [20, 0, 30, 10], [20, 0, 30, 10]])
    ), "half-way between the two; after the last one, the last one"
    gap = '[{"time": 0.0, "bbox_2d": [0, 0, 10, 10]}, {"time": 3.0, "bbox_2d": [20, 0, 30, 10]}]'
    (answer, _) = recognise([gap], truths, style="qwen_json").read[0]
    assert answer.span == (0, 7)
    assert answer.pred is not None
    assert answer.pred.index.tolist() == [0, 1, 6, 7], "a gap stays one"
    assert answer.pred.boxes_xyxy[1].tolist() == [0, 0, 10, 10], "nothing is interpolated over a gap"
    assert answer.fault(10, (100, 100)) is None
    late = '{"time": [3, 9], "boxes": {"3": [0, 0, 10, 10]}}'
    (answer, _) = recognise([late], truths, style="span_json").read[0]
    assert answer.fault(10, (100, 100)) == ("inconsistent", "the span 6 - 14 goes beyond the last index, 9")


def test_time_alone() -> None:
    truths = rows(AnswerFormat(False, boxes=False))
    found = recognise([text(QWEN, 1, 2, "200, 200, 600, 600")] * N, truths)
    assert scores(found, truths)[0] == [1.0] * N, "the span of the boxes"
    assert recognise(['{"time": [1, 2.5]}'] * N, truths).read[0][0].span == (2, 5)


def test_impossible_choices() -> None:
    with pytest.raises(DataError, match="STVG_STYLE=fig8 needs STVG_COORDS=unit"):
        recognise(["2-5"], rows(TAGS, 1), style="fig8", coords="pixel")


def test_score_says_what_it_took_them_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answers.jsonl"
    line = text(QWEN, 1, 2, "200, 200, 600, 600")
    file.write_text("".join(json.dumps({"response": line, "stvg": row.to_json()}) + "\n" for row in rows(TAGS)))
    assert main(["score", str(file), "--format", "json"]) == 0
    (system,) = json.loads(capsys.readouterr().out)["systems"]
    assert system["counts"] == {"samples": N, "scored": N, "answers": N, "well_formed": N}
    assert main(["score", str(file)]) == 0
    said = capsys.readouterr().out
    assert "taken for style qwen_json, where the rows ask for tags; coordinates in thousandths" in said
    assert main(["score", str(file), "--explain", "row 0"]) == 0
    assert "ok" not in capsys.readouterr().err
    assert main(["score", str(file), "--style", "tags", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["systems"][0]["counts"]["scored"] == 0
