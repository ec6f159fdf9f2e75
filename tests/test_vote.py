"""Several answers joined to one, by both rules; and what answers cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.cli import main
from swift_stvg.errors import DataError
from swift_stvg.report.text.grounding import MOST_BOXES, render_grounding
from swift_stvg.scoring.cost import cost_line
from swift_stvg.scoring.headroom import Sampled, measure
from swift_stvg.scoring.vote import RULES, _median_boxes, answer_iou, read_voted, vote
from swift_stvg.serving.cost import cost_of
from swift_stvg.serving.engines import Reply, Row
from swift_stvg.serving.sampling import Voting
from tests.fuzzing import FORMATS, WORDS
from tests.helpers import answer, boxes, row_truth

TRUTH = row_truth()


def said(first: int, last: int, box: str = "20, 20, 60, 60", think: str | None = None) -> str:
    return answer(f"{first} - {last}", boxes(first, last, think or box), boxes(first, last, box))


BAD = "I do not know"
CASES = [
    # texts, the medoid's number, the median, reason
    ([said(2, 5)] * 3, 0, said(2, 5), "all agree"),
    ([BAD, said(2, 5), BAD], 1, said(2, 5), "an unreadable answer does not vote"),
    ([BAD, ""], 0, BAD, "nobody votes: the first text"),
    ([said(0, 1), said(2, 5), said(2, 6)], 1, said(2, 5), "the outlier loses; the starts 0 2 2, the ends 1 5 6"),
    ([said(2, 3), said(4, 5)], 0, said(2, 3), "a tie: the first; of two values the lower one"),
    (
        [said(2, 3, "0, 0, 10, 10"), said(2, 3, "10, 0, 20, 10"), said(2, 3, "12, 0, 22, 10")],
        1,
        said(2, 3, "10, 0, 20, 10"),
        "each side has its median",
    ),
    (
        [said(2, 2, "10, 10, 20, 20", "0, 0, 9, 9"), said(2, 2, "20, 20, 31, 30", "4, 4, 9, 9")],
        0,
        said(2, 2, "15, 15, 26, 25", "2, 2, 9, 9"),
        "the mean of two, to the nearest even number; think boxes by themselves",
    ),
]


@pytest.mark.parametrize(("texts", "medoid", "median", "reason"), CASES, ids=[case[-1] for case in CASES])
def test_rules(texts: list[str], medoid: int, median: str, reason: str) -> None:
    assert vote(texts, TRUTH, "medoid") == texts[medoid]
    assert vote(texts, TRUTH, "median") == median


def test_where_no_answer_has_a_box_it_lies_between_the_others() -> None:
    low, high = "0, 0, 10, 10", "40, 0, 50, 10"
    texts = [said(0, 1, low), said(0, 1, low), said(4, 4, high), said(4, 4, high)]
    assert TRUTH.format.parse(vote(texts, TRUTH, "median")).span == (0, 1)
    found = _median_boxes([TRUTH.format.parse(text).pred for text in texts], np.arange(5))
    assert found is not None
    assert found.boxes_xyxy[:, 0] == pytest.approx([0, 0, 40 / 3, 80 / 3, 40])


@pytest.mark.parametrize(
    ("one", "other", "iou"),
    [
        (said(2, 5), said(2, 5), 1.0),
        (said(2, 5), said(4, 7), 2 / 6),
        (said(2, 3), said(4, 5), 0.0),
        (said(2, 3, "0, 0, 10, 10"), said(2, 3, "5, 0, 15, 10"), 1 / 3),
        (said(2, 2, "9, 0, 5, 10"), said(2, 2, "9, 0, 5, 10"), 0.0),  # inverted
        (said(2, 2, "5, 5, 5, 5"), said(2, 2, "5, 5, 5, 5"), 0.0),  # without an area
    ],
)
def test_agreement(one: str, other: str, iou: float) -> None:
    ours, theirs = (TRUTH.format.parse(text) for text in (one, other))
    assert answer_iou(ours, theirs) == answer_iou(theirs, ours) == pytest.approx(iou)


@pytest.mark.slow
@given(
    st.lists(st.lists(st.sampled_from(WORDS)).map(" ".join) | st.builds(said, st.integers(0, 4), st.integers(4, 12)))
)
def test_any_texts_give_a_text_that_is_readable_if_one_of_them_is(texts: list[str]) -> None:
    texts.append("")
    for fmt in FORMATS:
        truth = row_truth(fmt=fmt)
        exact = fmt.render(truth.answer)
        for rule in RULES:
            joined = vote([*texts, exact], truth, rule)
            assert fmt.parse(joined).fault(truth.timeline.size, truth.scale_wh) is None
            assert vote([exact] * 3, truth, rule) == exact
            vote(texts, truth, rule)


def test_headroom_says_how_far_voting_gets() -> None:
    samples = [said(2, 5), said(2, 5), said(0, 9)]
    figures = measure(Sampled([TRUTH], ["a.mp4"], [said(0, 9)], [samples]))["figures"]["gain"]
    assert figures["m_tIoU"]["medoid - greedy"][0] == figures["m_tIoU"]["median - greedy"][0] == pytest.approx(0.6)


def test_sampled_answers_are_scored_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(Sampled([TRUTH], ["a.mp4"], [BAD], [[BAD, said(2, 5), said(2, 5)]]).to_lines())
    assert main(["score", str(path), "--vote", "median", "--format", "json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["tables"][0]["rows"][0]["metrics"]
    assert metrics["m_vIoU"][0] == 1.0
    assert main(["score", "--oracle", "a:b", "--vote", "median"]) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"response": "a"}', "line 2 of .* has no sampled answers"),
        ("{", "line 2 of .* has no sampled answers"),
        (json.dumps({"stvg": TRUTH.to_json(), "video": "a", "samples": []}), "empty list"),
        (json.dumps({"stvg": TRUTH.to_json(), "video": "a", "samples": [5]}), "has no sampled answers"),
        (json.dumps({"stvg": TRUTH.to_json(), "video": "a", "samples": ["b"]}), "each row once"),
        (
            json.dumps({"stvg": row_truth(row_id="b", frames="either").to_json(), "video": "a", "samples": ["b"]}),
            "the same settings",
        ),
    ],
)
def test_files_without_sampled_answers(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(Sampled([TRUTH], ["a.mp4"], [BAD], [[BAD, BAD]]).to_lines() + line + "\n")
    with pytest.raises(DataError, match=message):
        read_voted(path, "median")


class Scripted:
    """An engine that gives prepared replies."""

    at_once = 8

    def __init__(self, *replies: Reply) -> None:
        self.left = list(replies)

    def answer(self, rows: Sequence[Row]) -> list[Reply]:
        return [self.left.pop(0) for _ in rows]


def test_an_engine_is_asked_several_times() -> None:
    engine = Scripted(
        *(Reply(text, tokens=10, seconds=1.0) for text in (said(0, 1), said(2, 5))),
        Reply("", "status 500", down=True),
        *[Reply("", "no video")] * 3,
    )
    voting = Voting(3, "medoid").around(engine, lambda _: TRUTH)
    assert voting.at_once == 2
    first, second = voting.answer([{}, {}])
    assert (first.tokens, first.seconds, first.samples) == (20, 2.0, (said(0, 1), said(2, 5)))
    assert second == Reply("", "no video")
    assert Voting().around(engine, lambda _: TRUTH) is engine
    for wrong in ((0, "medoid"), (2, "loudest")):
        with pytest.raises(DataError, match="samples must be at least 1"):
            Voting(*wrong)


def test_cost_of_answers() -> None:
    replies = [
        Reply(said(2, 5), tokens=100, seconds=1.0),
        Reply(said(2, 3), tokens=None, seconds=3.0),
        Reply("", "failed", seconds=60.0),
        Reply(said(2, 3)),
    ]
    assert cost_line(cost_of(replies, [TRUTH] * 4).figures()) == (  # a clip of 5 s; 8 and 4 boxes
        "cost of 2 answers: 2.00 s per video, 0.400 s per second of video, 100 tokens per answer, 3.0 boxes per second"
    )
    assert cost_of([], []).figures() == cost_of(replies[2:], [TRUTH] * 2).figures() == {}
    assert cost_line({}) == ""


def test_a_record_is_printed_for_a_person() -> None:
    box = {"time_s": 1.0, "frame": 25, "given": True, "think_xyxy": None, "pred_xyxy": [1, 2, 3, 4.5]}
    record = {"sentence": "the man", "span_s": [0.5, 2], "status": "ok", "detail": "", "boxes": [box]}
    assert render_grounding(record) == (
        "'the man': 0.50 to 2.00 s, 1 boxes. Status: ok\n      1.00 s  frame     25      1.0     2.0     3.0     4.5\n"
    )
    many = render_grounding(record | {"boxes": [box] * 100}).splitlines()
    assert (len(many), many[-1]) == (MOST_BOXES + 2, "  88 more boxes: --format json prints all")
    none = {"span_s": None, "status": "unparsable", "detail": "no <time>", "boxes": []}
    assert render_grounding(record | none) == "'the man': no time, 0 boxes. Status: unparsable\n  no <time>\n"


def test_formats_without_boxes_vote_by_time() -> None:
    truth = row_truth(fmt=AnswerFormat(think=False, boxes=False))
    texts = [f"<time> {first} - {last} </time>" for first, last in ((0, 1), (2, 6), (3, 7), (2, 5))]
    assert vote(texts, truth, "medoid") == texts[1]
    assert vote(texts, truth, "median") == "<time> 2 - 5 </time>"
