"""VUE-STG's files and metrics against results of its own evaluator, and cases by hand."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.cli import main
from swift_stvg.records import VideoInfo
from swift_stvg.rows.making import make_row_truth
from swift_stvg.scoring.vue_stg import COLUMNS, METRICS, Benchmark, TimedBoxes, evaluate, read_tubes, write_tubes
from swift_stvg.settings import Settings
from tests.goldens_of_protocols import samples

HEADER = ",".join(COLUMNS) + "\n"


@cache
def golden() -> Any:
    return json.loads(gzip.decompress((Path(__file__).parent / "data/vue_stg.json.gz").read_bytes()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A benchmark's folder and a file of predictions."""
    (tmp_path / "bench").mkdir()
    for name, text in golden()["given"].items():
        (tmp_path / ("" if name == "predicted.csv" else "bench") / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tube(*rows: tuple[int, float, float, float, float]) -> TimedBoxes:
    return TimedBoxes(np.array([row[0] for row in rows]), np.array([row[1:] for row in rows], dtype=np.float64))


def test_golden(folder: Path) -> None:
    benchmark, (tubes, problems) = Benchmark.read(folder / "bench"), read_tubes(folder / "predicted.csv")
    assert list(benchmark.tubes) == golden()["queries"]
    assert len(problems) == 3, "lines without a number"
    found = evaluate(benchmark.tubes, tubes)
    for metric in METRICS:
        expected = np.array(golden()["each"][metric], dtype=np.float64)
        np.testing.assert_allclose(found[metric], expected, rtol=0, atol=1e-9)
        assert np.nanmean(found[metric]) == pytest.approx(golden()["mean"][metric], abs=1e-9)
    assert np.isnan(found["v_IoU_Int"]).any()


def test_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.csv").write_text(HEADER + "q0,900000,0,0,1,1\n")
    assert main(["score", "predicted.csv", "empty.csv", "--vue-stg", "bench", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = report["tables"][0]["rows"]
    for metric in METRICS:
        mean, low, high = rows[0]["metrics"][metric]
        assert mean == pytest.approx(golden()["mean"][metric], abs=1e-9)
        assert low < mean < high
    for facet, group in (("area", "area_group"), ("video", "video_length_group"), ("length", "gt_length_group")):
        ours = [row for row in rows if row["system"] == "predicted.csv" and row.get("by") == facet]
        theirs = [part for part in golden()["groups"][group] if part[0]]
        assert len(ours) == len(theirs) > 1
        for row, (count, *means) in zip(ours, theirs, strict=True):
            assert row["samples"] == count
            np.testing.assert_allclose([row["metrics"][m][0] for m in METRICS], means, rtol=0, atol=1e-9)
    first, second = report["systems"]
    assert first["counts"] == {"samples": 60, "scored": 54}
    reasons = {reason: found["count"] for reason, found in first["reasons"].items()}
    assert reasons == {"missing": 6, "unknown id": 1, "unreadable line": 3}
    assert second["counts"]["scored"] == 1
    assert report["ground_truth"]["videos"] == 30
    (difference,) = (row for row in rows if row.get("minus") and "by" not in row)
    assert difference["metrics"]["t_Recall"][0] == pytest.approx(-golden()["mean"]["t_Recall"])
    assert difference["metrics"]["v_IoU_Int"] == [None, None, None], "it is defined for no query of both"
    assert main(["score", "predicted.csv", "empty.csv", "--vue-stg", "bench"]) == 0
    printed = capsys.readouterr().out
    assert "v_IoU_Int" in printed
    assert f"{100 * golden()['mean']['v_IoU']:.1f} [" in printed


UNIT = (0.0, 0.0, 1.0, 1.0)
HALF = (0.0, 0.0, 0.5, 1.0)
BY_HAND = [
    # true, predicted, t_Precision, t_Recall, t_IoU, v_Precision, v_Recall, v_IoU, v_IoU_Int, why
    ([(1000, *UNIT)], [(1000, *UNIT)], [1, 1, 1, 1, 1, 1, 1], "equal"),
    ([(1000, *UNIT), (2000, *UNIT)], [(2000, *HALF)], [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.5], "half of one of two"),
    ([(1000, *UNIT)], [(5000, *UNIT)], [0, 0, 0, 0, 0, 0, None], "another second"),
    ([(1000, *UNIT)], [], [None, 0, 0, None, 0, 0, None], "no prediction"),
    ([(1000, *UNIT)], [(1499, *UNIT)], [1, 1, 1, 1, 1, 1, 1], "rounded down"),
    ([(1000, *UNIT)], [(1500, *UNIT)], [0, 0, 0, 0, 0, 0, None], "half a second rounds up"),
    ([(1000, *UNIT)], [(1000, *HALF), (1200, *UNIT)], [1, 1, 1, 0.5, 0.5, 0.5, 0.5], "the first box of a second"),
    ([(1000, *UNIT)], [(1000, 1.5, 1, -1, 0)], [1, 1, 1, 1, 1, 1, 1], "swapped, and cut to the frame"),
    ([(1000, *UNIT)], [(1000, 0.5, 0, 0.5, 1)], [None, 0, 0, None, 0, 0, None], "a box without area is none"),
]


@pytest.mark.parametrize(("true", "predicted", "expected", "why"), BY_HAND, ids=[case[-1] for case in BY_HAND])
def test_by_hand(true: Any, predicted: Any, expected: list[float | None], why: str) -> None:
    found = evaluate({"q": tube(*true)}, {"q": tube(*predicted)} if predicted else {})
    for metric, value in zip(METRICS, expected, strict=True):
        np.testing.assert_allclose(found[metric], [np.nan if value is None else value], atol=1e-12, err_msg=why)


def test_written_files_are_read_again(folder: Path) -> None:
    tubes, _ = read_tubes(folder / "predicted.csv")
    write_tubes(folder / "again.csv", tubes)
    again, problems = read_tubes(folder / "again.csv")
    assert list(again) == list(tubes)
    assert problems == []
    for query, known in tubes.items():
        np.testing.assert_array_equal(again[query].times_ms, known.times_ms)
        np.testing.assert_array_equal(again[query].boxes_xyxy, known.boxes_xyxy)


def test_answers_as_tubes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exact answers, written as VUE-STG's tubes, score 1 against themselves; a worse answer scores less."""
    monkeypatch.chdir(tmp_path)
    settings = Settings(data_root=tmp_path)
    truths = [make_row_truth(sample, VideoInfo.nominal(sample), settings) for sample in samples()[:8]]

    def write(path: str, texts: list[str]) -> None:
        lines = [{"response": text, "stvg": row.to_json()} for text, row in zip(texts, truths, strict=True)]
        (tmp_path / path).write_text("".join(json.dumps(line) + "\n" for line in lines))

    exact = [row.format.render(row.answer) for row in truths]
    write("a.jsonl", exact)
    write("b.jsonl", [*exact[:-1], "nothing"])
    for name in "ab":
        assert main(["score", f"{name}.jsonl", "--write-vue-stg", f"{name}.csv"]) == 0
    capsys.readouterr()
    assert main(["score", "a.csv", "b.csv", "--vue-stg", "a.csv", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = report["tables"][0]["rows"]
    means = {row["system"]: row["metrics"] for row in rows if not {"by", "minus"} & set(row)}
    assert [means["a.csv"][m][0] for m in METRICS] == pytest.approx([1.0] * 7)
    assert means["b.csv"]["t_IoU"][0] == pytest.approx(7 / 8)
    assert means["b.csv"]["t_Precision"][0] == pytest.approx(1.0), "queries without a prediction are left out"
    tubes, _ = read_tubes(tmp_path / "a.csv")
    for row in truths:
        begin_s, end_s = row.file_span_s(row.span)
        times_s = tubes[row.id].times_ms / 1000
        assert (np.diff(times_s) == 1).all(), "one box a second"
        assert begin_s - 1 <= times_s[0]
        assert times_s[-1] <= end_s + 1
        assert tubes[row.id].boxes_xyxy.max() <= 1


def test_rows_of_one_id_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    row = make_row_truth(samples()[0], VideoInfo.nominal(samples()[0]), Settings(data_root=tmp_path))
    line = json.dumps({"response": row.format.render(row.answer), "stvg": row.to_json()})
    (tmp_path / "a.jsonl").write_text(line + "\n" + line.replace("hcstvg_v1", "hcstvg_v2") + "\n")
    assert main(["score", "a.jsonl", "--write-vue-stg", "a.csv"]) == 1
    assert "two rows of a.jsonl have the id" in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()


REFUSED = [
    ("time_ms,x0,y0,x1,y1\n", "lacks query_id", "no column of ids"),
    (HEADER, "holds no box", "only a header"),
    (HEADER + "q0,1,2\n", "holds no box; line 2", "a line that is cut off"),
    ("", "must have the columns", "an empty file"),
    (HEADER + "other,0,0,0,1,1\n", "none of the 1 ids", "ids of another benchmark"),
    ("\xff\xfe", "lacks query_id", "not CSV"),
]


@pytest.mark.parametrize(("text", "message", "why"), REFUSED, ids=[case[-1] for case in REFUSED])
def test_refused(folder: Path, capsys: pytest.CaptureFixture[str], text: str, message: str, why: str) -> None:
    (folder / "bad.csv").write_text(text)
    assert main(["score", "bad.csv", "--vue-stg", "bench"]) == 1
    assert message in capsys.readouterr().err, why


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predicted.csv"], "are scored with --vue-stg"),
        (["predicted.csv", "--vue-stg", "nowhere"], "cannot be read"),
        (["--vue-stg", "bench"], "give at least one"),
        (["predicted.csv", "--vue-stg", "bench", "--dataset", "hcstvg_v1:test"], "leave --dataset out"),
        (
            ["predicted.csv", "--vue-stg", "bench", "--by", "area", "--thresholds", "0.7"],
            "leave --by, --thresholds out",
        ),
        (["predicted.csv", "--vue-stg", "bench", "--out", "predicted.csv"], "is one of the files to read"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_use(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(["score", *words]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_broken_lines_are_counted(folder: Path) -> None:
    lines = [
        "q0,1000,0,0,1,1",
        "q0,x,0,0,1,1",
        "q0,2000,0,nan,1,1",
        "q0,3000,0,0,inf,1",
        ",4000,0,0,1,1",
        "q0,1e300,0,0,1,1",
    ]
    (folder / "bad.csv").write_text(HEADER + "\n".join(lines) + "\n")
    tubes, problems = read_tubes(folder / "bad.csv")
    assert list(tubes) == ["q0"]
    assert [problem.line for problem in problems] == [3, 4, 5, 6, 7]
