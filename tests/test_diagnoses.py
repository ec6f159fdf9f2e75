"""The diagnoses against values calculated by hand, and the split of vIoU's loss for any answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.cli import main
from swift_stvg.records import Sample, Tube
from swift_stvg.rewards.batch import Batch
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.diagnoses import CAUSES, Diagnoses
from swift_stvg.scoring.ground_truth import GroundTruth
from swift_stvg.scoring.matching import Scored
from swift_stvg.scoring.score import score
from swift_stvg.scoring.tube_file import TubeFile
from swift_stvg.sources.load_report import LoadReport
from tests.helpers import answer, boxes, row_truth

FMT = AnswerFormat(think=False)
TRUE = "20, 20, 60, 60"
HALF = "20, 20, 40, 60"  # IoU 0.5 with TRUE
QUARTER = "20, 20, 30, 60"  # IoU 0.25
AWAY = "70, 70, 90, 90"  # IoU 0


def written(span: str, pred: str) -> str:
    return f"<time> {span} </time> <pred_bbox> {pred} </pred_bbox>"


def diagnosed(texts: list[str], rows: list[RowTruth], *, partial: bool = False) -> tuple[Diagnoses, Scored]:
    system = AnswerFile("a", "a.jsonl", Batch(texts, rows), texts, [1] * len(texts), [""] * len(texts))
    truth = GroundTruth.of_rows([system])
    scored = Scored(system, truth, partial=partial)
    return Diagnoses.of(scored, truth), scored


def listed(*found: str) -> str:
    """A list of boxes for the indices from 2."""
    return ", ".join(f"{i}. [{box}]" for i, box in enumerate(found, 2))


# the event is 2 - 5; span, boxes, loss by time, place, missing boxes and no answer, switches, kind, why
CASES: list[tuple[str, str, list[float], int, str, str]] = [
    ("2 - 5", boxes(2, 5), [0, 0, 0, 0], 0, "both_good", "exact"),
    ("2 - 5", boxes(2, 5, HALF), [0, 0.5, 0, 0], 0, "both_good", "half of the box"),
    ("2 - 5", boxes(2, 5, AWAY), [0, 1, 0, 0], 0, "time_good_boxes_wrong", "another object from the start: no switch"),
    ("4 - 7", boxes(4, 7), [4 / 6, 0, 0, 0], 0, "boxes_good_time_wrong", "two of six frames are shared"),
    ("4 - 7", boxes(4, 7, HALF), [4 / 6, 1 / 6, 0, 0], 0, "boxes_good_time_wrong", "two shared frames lose half"),
    ("4 - 7", boxes(4, 7, QUARTER), [4 / 6, 1.5 / 6, 0, 0], 0, "both_wrong", "and three quarters"),
    ("7 - 8", boxes(7, 8), [1, 0, 0, 0], 0, "no_box_in_both_spans", "no frame is shared"),
    ("2 - 5", listed(TRUE, "60, 60, 20, 20", TRUE, TRUE), [0, 0, 0.25, 0], 0, "both_good", "an inverted box is none"),
    ("2 - 5", listed(TRUE, AWAY, AWAY, TRUE), [0, 0.5, 0, 0], 1, "both_good", "it leaves the object once"),
    ("2 - 5", listed(TRUE, AWAY, TRUE, AWAY), [0, 0.5, 0, 0], 2, "both_good", "twice"),
    ("2 - 5", listed(TRUE, QUARTER, AWAY, AWAY), [0, 2.75 / 4, 0, 0], 1, "time_good_boxes_wrong", "by a box between"),
    (
        "2 - 5",
        listed(AWAY, TRUE, QUARTER, TRUE),
        [0, 1.75 / 4, 0, 0],
        0,
        "both_good",
        "never near 0 after it was on",
    ),
    ("nothing", "", [0, 0, 0, 1], 0, "no_answer", "unparsable"),
    ("2 - 5", boxes(2, 4), [0, 0, 0, 1], 0, "no_answer", "inconsistent: a box is missing"),
]


@pytest.mark.parametrize(("span", "pred", "loss", "switches", "kind", "why"), CASES, ids=[case[-1] for case in CASES])
def test_by_hand(span: str, pred: str, loss: list[float], switches: int, kind: str, why: str) -> None:
    found, scored = diagnosed([written(span, pred)], [row_truth(fmt=FMT)])
    sample = found.sample(0)
    assert [sample["loss"][cause] for cause in CAUSES] == pytest.approx(loss), why
    assert sample["identity_switches"] == switches
    assert sample["kind"] == kind
    assert sum(loss) == pytest.approx(1 - scored.scores("native").viou[0])


def test_partial_answers_lose_by_missing_boxes() -> None:
    texts = [written("2 - 5", boxes(2, 4)), written("2 - 5", "")]
    found, scored = diagnosed(texts, [row_truth(fmt=FMT, row_id=name) for name in "ab"], partial=True)
    assert found.loss["missing_boxes"] == pytest.approx([0.25, 1.0])
    assert scored.scores("native").viou == pytest.approx([0.75, 0.0])


def test_frames_without_annotation_are_in_no_part() -> None:
    row = row_truth(fmt=FMT, gaps=(3,))
    found, scored = diagnosed([written("2 - 6", boxes(2, 6, HALF))], [row])
    assert [found.loss[cause][0] for cause in CAUSES] == pytest.approx([1 / 4, 1.5 / 4, 0, 0])
    assert 1 - scored.scores("native").viou[0] == pytest.approx(2.5 / 4)


def test_time_errors() -> None:
    rows = [row_truth(fmt=FMT, row_id=str(i)) for i in range(4)]
    spans = ["2 - 5", "4 - 7", "1 - 5", "nothing"]
    found, _ = diagnosed([written(s, boxes(*map(int, s.split(" - ")))) if s[0] != "n" else s for s in spans], rows)
    step = rows[0].timeline.interval_s
    assert found.errors_s[:3, 0] == pytest.approx([0, 2 * step, -step])
    assert found.errors_s[:3, 1] == pytest.approx([0, 2 * step, 0])
    assert np.isnan(found.errors_s[3]).all()
    summary = found.summary()
    assert summary["answered"] == 3
    assert summary["onset_s"] == pytest.approx({"mean": step / 3, "median": 0, "too_early": 1 / 3, "too_late": 1 / 3})
    assert summary["end_s"] == pytest.approx({"mean": 2 * step / 3, "median": 0, "too_early": 0, "too_late": 1 / 3})
    assert summary["loss"]["no_answer"] == pytest.approx(1 / 4)
    assert sum(summary["boxes_and_time"].values()) == 3


def test_rows_without_boxes_have_times_alone() -> None:
    row = row_truth(fmt=AnswerFormat(think=False, boxes=False))
    found, _ = diagnosed(["<time> 1 - 5 </time>"], [row])
    assert "loss" not in found.summary()
    assert set(found.sample(0)) == {"answered", "onset_s", "end_s"}
    assert found.errors_s[0, 0] == pytest.approx(-row.timeline.interval_s)


BOX = st.tuples(*[st.integers(-5, 105)] * 4)
FRAME = st.integers(0, 60)
SPAN = st.tuples(st.integers(0, 9), st.integers(0, 9))


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(SPAN, st.dictionaries(st.integers(0, 9), BOX), SPAN, st.sets(st.integers(3, 9)), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_the_causes_sum_to_the_loss(cases: list[Any], partial: bool) -> None:
    """For any answers, including unreadable answers, missing boxes and spans outside the event."""
    rows, texts = [], []
    for i, (given_span, found, true_span, gaps, full) in enumerate(cases):
        low, high = sorted(true_span)
        rows.append(row_truth((low, high), fmt=FMT, gaps=tuple(g for g in gaps if g > low), row_id=str(i)))
        if full:
            found = {j: found.get(j, (20, 20, 50, 60)) for j in range(given_span[0], given_span[1] + 1)}
        listed_boxes = ", ".join(f"{j}. {list(box)}" for j, box in found.items())
        texts.append(written(f"{given_span[0]} - {given_span[1]}", listed_boxes))
    diagnoses, scored = diagnosed(texts, rows, partial=partial)
    total = np.sum([diagnoses.loss[cause] for cause in CAUSES], axis=0)
    np.testing.assert_allclose(total, 1 - scored.scores("native").viou, rtol=0, atol=1e-12)
    assert all((part >= -1e-12).all() for part in diagnoses.loss.values())
    assert sum(kind.sum() for kind in diagnoses.kinds.values()) == diagnoses.answered.sum()


def sample(span: tuple[int, int], row_id: str) -> Sample:
    frames = np.arange(*span)
    return Sample(
        id=row_id, dataset="hcstvg_v1", split="test", sentence="he walks", video=Path("v.mp4"), annotated_frames=100,
        annotated_fps=10.0, size_wh=(100, 100), span_frames=span, tube_frames=frames,
        tube_xyxy=np.tile([20.0, 20.0, 60.0, 60.0], (len(frames), 1)), one_based=True,
    )  # fmt: skip


def of_tubes(tubes: dict[str, Tube], samples: list[Sample], interpolate: bool) -> tuple[Diagnoses, Scored]:
    system = TubeFile("t", "t.json", list(tubes), tubes, {})
    truth = GroundTruth.of_samples("hcstvg_v1:test", samples, LoadReport("t"))
    scored = Scored(system, truth, interpolate=interpolate)
    return Diagnoses.of(scored, truth), scored


def test_tubes_by_hand() -> None:
    half = np.array([[20.0, 20.0, 40.0, 60.0]])
    tubes = {"a": Tube((15, 24), np.array([15]), half), "b": Tube((30, 39), np.array([30]), half)}
    samples = [sample((10, 20), "a"), sample((10, 20), "b"), sample((10, 20), "c")]
    found, scored = of_tubes(tubes, samples, interpolate=True)
    assert found.loss["time"] == pytest.approx([10 / 15, 1, 0])
    assert found.loss["place"] == pytest.approx([2.5 / 15, 0, 0])
    assert found.loss["no_answer"] == pytest.approx([0, 0, 1])
    assert found.errors_s[:2] == pytest.approx(np.array([[0.5, 0.5], [2.0, 2.0]]))
    sparse, _ = of_tubes(tubes, samples, interpolate=False)
    assert sparse.loss["missing_boxes"] == pytest.approx([4 / 15, 0, 0])
    assert sparse.loss["place"] == pytest.approx([0.5 / 15, 0, 0])
    assert found.protocol == "hcstvg_official"
    assert scored.scores("hcstvg_official").viou == pytest.approx([2.5 / 15, 0, 0])


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.tuples(st.integers(0, 60), st.integers(0, 60)), st.dictionaries(st.integers(0, 60), BOX, max_size=9)
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_the_causes_sum_to_the_loss_of_tubes(cases: list[Any], interpolate: bool) -> None:
    tubes, samples = {}, []
    for i, (span, found) in enumerate(cases):
        frames = sorted(found)
        numbers = np.array([found[f] for f in frames], dtype=np.float64).reshape(-1, 4)
        tubes[str(i)] = Tube((min(span), max(span)), np.array(frames, dtype=np.int64), numbers)
        samples.append(sample((20, 35), str(i)))
    diagnoses, scored = of_tubes(tubes, samples, interpolate)
    total = np.sum([diagnoses.loss[cause] for cause in CAUSES], axis=0)
    np.testing.assert_allclose(total, 1 - scored.scores("hcstvg_official").viou, rtol=0, atol=1e-12)


def test_the_command_prints_and_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [row_truth(row_id=str(i)) for i in range(3)]
    texts = [
        answer("2 - 5", boxes(2, 5), boxes(2, 5)),
        answer("3 - 6", boxes(3, 6), listed("0, 0, 0, 0").replace("2.", "3.") + ", " + boxes(4, 6, AWAY)),
        "nothing",
    ]
    lines = [{"response": text, "stvg": row.to_json()} for text, row in zip(texts, rows, strict=True)]
    Path("a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["score", "a.jsonl", "--diagnose", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (found,) = report["diagnoses"]
    viou = report["tables"][0]["rows"][0]["metrics"]["m_vIoU"][0]
    assert found["loss"]["total"] == pytest.approx(1 - viou)
    assert [s["id"] for s in found["samples"]] == ["0", "1", "2"]
    assert sum(found["samples"][1]["loss"].values()) == pytest.approx(1)
    for form in ("table", "markdown"):
        assert main(["score", "a.jsonl", "--diagnose", "--format", form]) == 0
        printed = capsys.readouterr().out
        assert "lost vIoU, points" in printed
        assert f"{100 * (1 - viou):.1f}" in printed
    assert main(["score", "a.jsonl"]) == 0
    assert "lost vIoU" not in capsys.readouterr().out
    assert main(["score", "a.jsonl", "--explain", "1"]) == 0
    printed = capsys.readouterr().out
    assert "times: starts 0.50 s too late; ends 0.50 s too late" in printed
    assert "lost vIoU on the sampled frames: 100.0 points = time 40.0, place 60.0, missing boxes 0.0" in printed


def test_score_without_the_option_has_no_diagnoses() -> None:
    text = written("2 - 5", boxes(2, 5))
    system = AnswerFile("a", "a", Batch([text], [row_truth(fmt=FMT)]), [text], [1], [""])
    assert "diagnoses" not in score([system], GroundTruth.of_rows([system]))[0]
