"""Headroom against figures that were computed by hand, its result for any string, and its messages for wrong use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.cli import main
from swift_stvg.errors import DataError
from swift_stvg.report.text.headroom import render_headroom
from swift_stvg.scoring.headroom import Sampled, measure
from tests.helpers import answer, boxes, row_truth

# The truth: frames 2 to 5 of 10, half a second apart, box (.2, .2, .6, .6). Per-frame GIoU - L1: see test_rewards.py
EXACT = answer("2 - 5", boxes(2, 5), boxes(2, 5))  # earns 5
SHIFTED = answer("2 - 5", boxes(2, 5, "30, 20, 70, 60"), boxes(2, 5, "30, 20, 70, 60"))  # 3 + 2 x .4 = 3.8
WHOLE = answer("2 - 5", boxes(2, 5, "0, 0, 100, 100"), boxes(2, 5, "0, 0, 100, 100"))  # 3 + 2 x -1.04 = .92


def of(*rows: tuple[str, list[str]]) -> Sampled:
    row_truths = [row_truth(row_id=str(i)) for i in range(len(rows))]
    return Sampled(row_truths, [f"{i}.mp4" for i in range(len(rows))], *zip(*rows, strict=True))


BY_HAND = [
    # section, line, column, mean of two rows, reason
    ("gain", "share of samples", "better than greedy", 0.25, "one of four"),
    ("gain", "share of samples", "worse than greedy", 0.25, "one of four"),
    ("gain", "reward", "greedy", 4.4, "3.8 and 5"),
    ("gain", "reward", "samples", 3.98, "2.96 and 5"),
    ("gain", "reward", "best sample", 5.0, "5 and 5"),
    ("gain", "reward", "best - greedy", 0.6, "1.2 and 0"),
    ("gain", "m_vIoU", "greedy", 0.8, ".6 and 1"),
    ("gain", "m_vIoU", "samples", 0.79, "(1 + .16) / 2 and 1"),
    ("gain", "m_tIoU", "best - greedy", 0.0, "all spans are right"),
    ("variance within groups", "total", "variance", 2.0808, "2.04 squared, and 0"),
    ("variance within groups", "total", "share of groups without", 0.5, "the second group"),
    ("variance within groups", "stvg_spatial", "share of the total", 1.0, "nothing else varies"),
    ("variance within groups", "stvg_temporal", "share of the total", 0.0, "all spans are right"),
    ("validity", "well-formed", "samples", 1.0, "all"),
    ("bias", "span: start, s late", "greedy", 0.0, "right"),
    ("bias", "boxes: shift right, of the width", "greedy", 0.125, "10 of 40, and 0"),
    ("bias", "boxes: share too wide", "samples", 0.375, "0 and 1.5, and 0 and 0"),
]


@pytest.mark.parametrize(("section", "line", "column", "mean", "reason"), BY_HAND)
def test_figures(section: str, line: str, column: str, mean: float, reason: str) -> None:
    report = measure(of((SHIFTED, [EXACT, WHOLE]), (EXACT, [EXACT, EXACT])))
    found = report["figures"][section][line][column]
    assert found[0] == pytest.approx(mean, abs=1e-9), reason
    if column != "share of the total":  # only one of the groups has any
        assert found[1] <= found[0] <= found[2]


def test_spans_too_early_and_too_long() -> None:
    late = answer("3 - 8", boxes(3, 8), boxes(3, 8))
    bias = measure(of((late, [EXACT, late]), (late, [late, "nothing"])))["figures"]["bias"]
    assert bias["span: start, s late"]["greedy"][0] == pytest.approx(0.5)
    assert bias["span: end, s late"]["greedy"][0] == pytest.approx(1.5)
    assert bias["span: length, share too long"]["greedy"][0] == pytest.approx(0.5)
    assert bias["span: end, s late"]["samples"][0] == pytest.approx(1.0), "of the three that can be read"


def test_bias_is_in_seconds_in_either_unit_and_bounded() -> None:
    second = AnswerFormat(unit="second")
    late = answer("3 - 6", boxes(3, 6), boxes(3, 6))  # one second late each
    wild = answer("2 - 9999999", boxes(2, 5), boxes(2, 5))
    row_truths = [row_truth(fmt=second), row_truth()]
    bias = measure(Sampled(row_truths, ["a", "b"], [late, wild], [[late, late], [wild, wild]]))["figures"]["bias"]
    # the other's end is taken as the last index, 9, two seconds after the true one
    assert bias["span: end, s late"]["greedy"][0] == pytest.approx((1.0 + 2.0) / 2)
    assert bias["span: start, s late"]["greedy"][0] == pytest.approx(0.5)


def test_nothing_readable_is_no_figure_rather_than_a_zero() -> None:
    report = measure(of(("?", ["?", "!"]), ("", ["-", ""])))
    assert report["figures"]["bias"]["span: start, s late"]["greedy"] == [None, None, None]
    assert "span: start, s late" in render_headroom(report | {"swift_stvg": "0", "from": "m"}, "table")


def test_one_video_has_no_interval() -> None:
    rows = of((SHIFTED, [EXACT, WHOLE]), (EXACT, [EXACT, EXACT]))
    report = measure(replace(rows, videos=["same.mp4", "same.mp4"]))
    assert report["figures"]["gain"]["reward"]["greedy"] == [pytest.approx(4.4), None, None]
    assert "4.400  " in render_headroom(report | {"swift_stvg": "0", "from": "m"}, "table"), "no brackets follow"


PIECES = [
    EXACT,
    SHIFTED,
    WHOLE,
    "",
    "<time> 1 - 2 </time>",
    "<time> 9 - 1 </time> <pred_bbox> 1. [0, 0, 0, 0]",
    "\x00é",
]


@pytest.mark.slow
@given(
    st.lists(st.lists(st.one_of(st.sampled_from(PIECES), st.text()), min_size=4, max_size=4), min_size=1, max_size=4)
)
def test_shares_add_up_and_everything_is_finite(texts: list[list[str]]) -> None:
    report = measure(of(*((row[0], row[1:]) for row in texts)))
    variance = report["figures"]["variance within groups"]
    shares = [line["share of the total"][0] for name, line in variance.items() if name != "total"]
    if variance["total"]["variance"][0] > 1e-12:
        assert sum(shares) == pytest.approx(1.0)
    figures = [
        v for s in report["figures"].values() for li in s.values() for c in li.values() for v in c if v is not None
    ]
    assert np.isfinite(figures).all()


def test_the_weights_are_those_asked_for() -> None:
    rows = of((SHIFTED, [EXACT, WHOLE]), (EXACT, [EXACT, EXACT]))
    assert measure(rows, {"stvg_viou": 2.0})["figures"]["gain"]["reward"]["greedy"][0] == pytest.approx(1.6)
    assert measure(rows)["weights"]["stvg_think"] == 0.5
    plain = [row_truth(fmt=AnswerFormat(think=False)) for _ in range(2)]
    assert "stvg_think" not in measure(replace(rows, row_truths=plain))["weights"]
    with pytest.raises(DataError, match="unknown reward stvg_spatail"):
        measure(rows, {"stvg_spatail": 1.0})


@pytest.mark.parametrize("samples", [[["a"], ["b"]], [["a", "b"], ["c"]], []])
def test_groups_of_one_or_of_different_sizes_are_refused(samples: list[list[str]]) -> None:
    with pytest.raises(DataError, match="same number of samples, at least 2"):
        Sampled([row_truth()] * len(samples), ["v"] * len(samples), ["g"] * len(samples), samples)


def test_answers_are_kept_and_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "answers.jsonl"
    kept.write_text(of((SHIFTED, [EXACT, "\u2028 odd"]), (EXACT, [EXACT, EXACT])).to_lines())
    assert main(["headroom", "--answers", str(kept), "--format", "json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["rows"], first["samples"], first["from"]) == (2, 2, "answers.jsonl")
    assert (
        main(["headroom", "--answers", str(kept), "--reward_funcs", "stvg_viou", "--out", str(tmp_path / "r.md")]) == 0
    )
    assert "reward: stvg_viou 1;" in (tmp_path / "r.md").read_text()


WRONG = [
    ([], "give --dataset, the rows to answer"),
    (["--model", "m"], "--model needs rows to answer: give --dataset too"),
    (["--model", "m", "--dataset", "d", "--samples", "1"], "at least 2"),
    (["--answers", "{kept}", "--max_new_tokens", "9"], "reads answers and samples none: leave out --max_new_tokens 9"),
    (["--answers", "missing.jsonl"], "missing.jsonl cannot be read"),
    (["--answers", "{bad}"], "line 1 of"),
    (["--answers", "{empty}"], "got no row"),
    (["--answers", "{kept}", "--reward_weights", "1"], "one number for each"),
    (["--answers", "{kept}", "--reward_funcs", "stvg_form"], "unknown reward stvg_form; the rewards are"),
    (["--answers", "{kept}", "--out", "no/such/folder/r.txt"], "there is no folder"),
    (["--answers", "{kept}", "--out", "{folder}"], "it is a folder"),
    (
        ["--answers", "{kept}", "--reward_funcs", "stvg_viou", "--reward_weights", "nan"],
        "finite numbers for --reward_weights",
    ),
    (["--answers", "{kept}", "--reward_funcs", "stvg_viou", "stvg_viou"], "give each name of --reward_funcs once"),
    (["--answers", "{string}"], "must be a list"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_wrong_use_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "kept").write_text(of((EXACT, [EXACT, EXACT])).to_lines())
    (tmp_path / "bad").write_text('{"stvg": 3}\n')
    (tmp_path / "empty").write_text("")
    (tmp_path / "folder").mkdir()
    line = json.loads(of((EXACT, [EXACT, EXACT])).to_lines())
    (tmp_path / "string").write_text(json.dumps(line | {"samples": "ab"}) + "\n")
    assert main(["headroom", *(word.format(**{p.name: p for p in tmp_path.iterdir()}) for word in words)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
