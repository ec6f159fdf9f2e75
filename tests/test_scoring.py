"""`swift-stvg score`: counts, errors and reports for files as users have them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg import __version__
from swift_stvg.cli import main
from swift_stvg.records import VideoInfo
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import REWARDS
from swift_stvg.rows.making import make_row_truth
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.ground_truth import AREA_EDGES, bin_labels
from swift_stvg.scoring.published import CANDIDATES, GAINS_BY_AREA
from swift_stvg.settings import Settings
from swift_stvg.sources import LoadReport, load_samples
from tests.goldens_of_protocols import golden
from tests.helpers import answer, row_truth

DENSE = "predictions_dense"
PREDICTIONS = {"dense": DENSE, "sparse": "predictions_sparse"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with the golden annotations in HC-STVG's form without videos, and the golden predictions."""
    (tmp_path / "hc-stvg").mkdir()
    (tmp_path / "hc-stvg/test.json").write_text(json.dumps(golden("annotations_hcstvg_v1")))
    for name, file in PREDICTIONS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(golden(file)))
    monkeypatch.setenv("STVG_DATA_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row_truths(**settings: Any) -> list[RowTruth]:
    """Rows of the golden annotations."""
    chosen = Settings.from_env() if not settings else Settings(data_root=Settings.from_env().data_root, **settings)
    samples = load_samples("hcstvg_v1", "test", chosen, LoadReport("test"))
    return [make_row_truth(sample, VideoInfo.nominal(sample), chosen) for sample in samples]


def write_results(path: Path, rows: list[RowTruth], responses: list[str | None] | None = None) -> list[dict[str, Any]]:
    """A result file of `swift infer`, with exact answers unless others are given."""
    texts = responses or [row.format.render(row.answer) for row in rows]
    lines = [{"response": text, "stvg": row.to_json()} for text, row in zip(texts, rows, strict=True)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


def run(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["score", *words, "--format", "json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def fails(capsys: pytest.CaptureFixture[str], message: str, *words: str) -> None:
    assert main(["score", *words]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("swift-stvg: error: ")
    assert len(captured.err.splitlines()) == 1
    assert re.search(message, captured.err), captured.err


def figures(report: dict[str, Any], protocol: str, **labels: str) -> dict[str, list[float]]:
    """The metrics of the row of a protocol's table with exactly these labels."""
    (table,) = [t for t in report["tables"] if t["protocol"] == protocol]
    (row,) = [r for r in table["rows"] if {k: v for k, v in r.items() if k not in ("samples", "metrics")} == labels]
    found: dict[str, list[float]] = row["metrics"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["hcstvg_official", "tubedetr_as_shipped", "tubedetr_zero_based", "cg_stvg"])
@pytest.mark.usefixtures("root")
def test_means_of_the_public_evaluators(capsys: pytest.CaptureFixture[str], protocol: str) -> None:
    name = protocol.removesuffix("_zero_based")
    report = run(capsys, "dense.json", "sparse.json", "--dataset", "hcstvg_v1:test", "--protocol", name)
    for file, kind in (("dense.json", "dense"), ("sparse.json", "sparse_interpolated")):
        ours = figures(report, name, system=file, part="pred")
        theirs = golden("expected")[kind][protocol]["mean"]
        for metric in ("m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5"):
            mean, low, high = ours[metric]
            assert mean == pytest.approx(theirs[metric.lower()], abs=1e-9)
            assert low < mean < high
    assert report["systems"][0]["reasons"]["missing"]["count"] == 3
    assert report["systems"][0]["counts"] == {"samples": 120, "scored": 117}


@pytest.mark.slow
@pytest.mark.usefixtures("root")
def test_without_interpolation_sparse_boxes_are_worth_little(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset", "hcstvg_v1:test", "--protocol", "hcstvg_official"]
    dense = run(capsys, "dense.json", *words, "--no-interpolation")
    sparse = run(capsys, "sparse.json", *words, "--no-interpolation")
    everywhere = figures(dense, "hcstvg_official", system="dense.json", part="pred")["m_vIoU"][0]
    rarely = figures(sparse, "hcstvg_official", system="sparse.json", part="pred")["m_vIoU"][0]
    assert rarely < 0.15 * everywhere
    assert dense["how"]["frames of a span without a box"] == "count 0"


def clocks(row: RowTruth) -> str:
    first, last = row.span
    exact = row.format.render(row.answer)
    return exact.replace(f"{first} - {last}", f"00:{first:02} - 00:{last:02}", 1)


def shares(row: RowTruth) -> str:
    return re.sub(r"\[[^]]*\]", "[0.1, 0.25, 0.5, 0.75]", row.format.render(row.answer))


def swapped(row: RowTruth) -> str:
    return re.sub(r"\[(\d+, \d+), (\d+, \d+)\]", r"[\2, \1]", row.format.render(row.answer))


SHARED, SWAPPED = "all boxes lie within [0, 1]", "boxes have their right left of their left"
IN_FORMS = [
    # how answers are written, index unit, the start of each warning, reasons that answers count 0 for, why
    (clocks, "frame", ["all 12 spans are clock times; they count 0"], {"unparsable": 12}, "a clock time is no frame"),
    (clocks, "second", ["all 12 spans are clock times; they are read as seconds"], {}, "but a second"),
    (shares, "frame", [], {}, "no pixels, so they are read as what they are"),
    (swapped, "frame", [SWAPPED], {}, "an inverted box counts as the worst one"),
    (lambda row: row.format.render(row.answer), "frame", [], {}, "nothing is wrong"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("write", "unit", "warnings", "reasons", "why"), IN_FORMS, ids=[case[-1] for case in IN_FORMS])
def test_a_form_that_all_answers_have_is_told_once(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    write: Callable[[RowTruth], str],
    unit: str,
    warnings: list[str],
    reasons: dict[str, int],
    why: str,
) -> None:
    rows = row_truths(index_unit=unit)[:12]
    responses: list[str | None] = [write(row) for row in rows]
    write_results(root / "r.jsonl", rows, responses)
    (system,) = run(capsys, "r.jsonl")["systems"]
    assert {reason: found["count"] for reason, found in system["reasons"].items()} == reasons
    assert len(system["warnings"]) == len(warnings)
    assert all(start in warning for start, warning in zip(warnings, system["warnings"], strict=True))
    assert main(["score", "r.jsonl"]) == 0
    assert capsys.readouterr().out.count("  warning: ") == len(warnings)

    one_right = [*responses[1:], rows[0].format.render(rows[0].answer)]
    write_results(root / "r.jsonl", [*rows[1:], rows[0]], one_right)
    assert run(capsys, "r.jsonl")["systems"][0]["warnings"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("box", "warning"), [([0.1, 0.2, 0.3, 1.0], SHARED), ([30, 20, 10, 40], SWAPPED), ([10, 20, 30, 40], "")]
)
def test_a_form_that_all_tubes_have_is_told_once(
    root: Path, capsys: pytest.CaptureFixture[str], box: list[float], warning: str
) -> None:
    tubes = {name: {**tube, "boxes": dict.fromkeys(tube["boxes"], box)} for name, tube in golden(DENSE).items()}
    (root / "t.json").write_text(json.dumps(tubes))
    words = ["t.json", "--dataset", "hcstvg_v1:test", "--protocol", "cg_stvg"]
    found = run(capsys, *words)["systems"][0]["warnings"]
    assert [warning in text for text in found] == [True] * bool(warning)


@pytest.mark.slow
def test_every_answer_is_accounted_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = row_truths()[:12]
    exact = [row.format.render(row.answer) for row in rows]
    first, last = rows[1].span
    responses: list[str | None] = list(exact)
    responses[1] = exact[1].replace(f"<time> {first} - {last} </time>", f"<time> {last + 1} - {first} </time>")
    responses[2] = "the man walks"
    responses[3] = exact[3][: len(exact[3]) * 3 // 4]
    responses[4] = re.sub(r"(<pred_bbox> \d+\. \[)\d+", r"\g<1>nan", exact[4])
    responses[5] = re.sub(r"(<pred_bbox> \d+\. \[)", r"\g<1>999999999999999", exact[5])
    responses[6] = None
    lines = write_results(root / "r.jsonl", rows, responses)
    other = json.loads(lines[0]["stvg"]) | {"id": "nobody.mp4"}
    elsewhere = json.loads(lines[7]["stvg"])
    elsewhere["span"] = [elsewhere["span"][0] + 1, elsewhere["span"][1] + 1]
    elsewhere["boxes"] = [[i + 1, *box] for i, *box in elsewhere["boxes"]]
    lines[7]["stvg"] = json.dumps(elsewhere)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    text += json.dumps({"response": exact[0], "stvg": json.dumps(other)}) + "\n\n"
    text += json.dumps({"response": "again", "stvg": rows[0].to_json()}) + "\n"
    text += json.dumps({"response": "mixed in"}) + "\n[1]\n" + json.dumps(lines[0])[:200]
    (root / "r.jsonl").write_text(text)

    report = run(capsys, "r.jsonl", "--dataset", "hcstvg_v1:test", "--failures", "f.jsonl")
    (system,) = report["systems"]
    assert {reason: found["count"] for reason, found in system["reasons"].items()} == {
        "missing": 120 - 12,
        "inconsistent": 4,
        "unparsable": 2,
        "other annotation": 1,
        "unknown id": 1,
        "repeated": 1,
        "not an answer": 2,
        "unreadable line": 1,
    }
    assert system["counts"]["scored"] == 12 - 4 - 2 - 1
    missing = sorted(set(golden("annotations_hcstvg_v1")) - {row.id for row in rows})
    assert sorted(system["reasons"]["missing"]["ids"]) == missing
    assert main(["score", "r.jsonl", "--dataset", "hcstvg_v1:test"]) == 0
    printed = capsys.readouterr().out
    assert sum(name in printed for name in missing) == 10
    assert "and 98 more: --failures FILE lists them" in printed
    failures = {(f["reason"], f["line"]): f for f in map(json.loads, (root / "f.jsonl").read_text().splitlines())}
    assert sum(line > 0 for _, line in failures) == 12, "missing ones have no line"
    assert "runs backwards" in failures["inconsistent", 2]["detail"]
    assert failures["unparsable", 3]["response"] == "the man walks"
    assert re.search(r"\d+ boxes for the span", failures["inconsistent", 4]["detail"])
    assert "cannot be read" in failures["inconsistent", 5]["detail"]
    assert "cannot be read" in failures["inconsistent", 6]["detail"], "more digits than a coordinate can have"
    assert failures["unparsable", 7]["id"] == rows[6].id, "a row without a text is an answer that says nothing"
    assert failures["not an answer", 16]["detail"].startswith("no result of `swift infer`")
    assert failures["other annotation", 8]["id"] == rows[7].id
    assert failures["unknown id", 13]["id"] == "nobody.mp4"
    assert failures["repeated", 15]["detail"] == "stands in line 1 already, which counts"
    assert failures["unreadable line", 18]["id"] is None
    scored = figures(report, "native", system="r.jsonl", part="pred")
    assert scored["m_tIoU"][0] == pytest.approx(5 / 120), "the ground truth is the denominator"


@pytest.mark.slow
@pytest.mark.usefixtures("root")
def test_partial_answers_count_only_when_asked(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = row_truths()[:40]
    cut = [re.sub(r", \d+\. \[[^\]]*\] </pred_bbox>", " </pred_bbox>", row.format.render(row.answer)) for row in rows]
    write_results(root / "r.jsonl", rows, list(cut))
    long = [row.span[1] > row.span[0] for row in rows]
    strict = figures(run(capsys, "r.jsonl"), "native", system="r.jsonl", part="pred")
    assert strict["m_tIoU"][0] == pytest.approx(1 - np.mean(long))
    report = run(capsys, "r.jsonl", "--partial", "--dataset", "hcstvg_v1:test")
    assert report["how"]["inconsistent answers"] == "scored by what can be read of them"
    partial = figures(report, "native", system="r.jsonl", part="pred")
    assert partial["m_tIoU"][0] == pytest.approx(40 / 120)
    assert strict["m_vIoU"][0] < partial["m_vIoU"][0] * 3 < 1
    assert figures(report, "cg_stvg", system="r.jsonl", part="pred")["m_vIoU"][0] > 0.2


@pytest.mark.slow
def test_native_figures_are_the_rewards_own(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The scorer, the logged metrics and the rewards agree on the same answers."""
    rows = row_truths()
    rng = np.random.default_rng(6)
    responses = []
    for row in rows:
        shift = int(rng.integers(-2, 3))
        moved = row.answer
        span = (max(0, moved.span[0] + shift), max(0, moved.span[1] + shift)) if moved.span else (0, 0)
        listed = ", ".join(f"{i}. [{rng.integers(0, 150)}, 10, 200, 150]" for i in range(span[0], span[1] + 1))
        responses.append(answer(f"{span[0]} - {span[1]}", listed, listed))
    write_results(root / "r.jsonl", rows, list(responses))
    ours = figures(run(capsys, "r.jsonl"), "native", system="r.jsonl", part="pred")
    batch = Batch(responses, rows)
    for name, metric in (("stvg_tiou", "m_tIoU"), ("stvg_viou", "m_vIoU"), ("stvg_viou@0.3", "vIoU@0.3")):
        assert ours[metric][0] == pytest.approx(float(REWARDS[name](batch).mean()), abs=1e-12)
        assert 0 < ours[metric][0] < 1


@pytest.mark.slow
def test_think_boxes_against_final_ones(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = row_truths()[:30]
    responses: list[str | None] = []
    for i, row in enumerate(rows):
        text = row.format.render(row.answer)
        head, think, rest = re.split(r"(<think_bbox>.*</think_bbox>)", text)
        worse = re.sub(r"\[(\d+), (\d+), (\d+), (\d+)\]", r"[0, 0, \3, \4]", think)
        responses.append(head + (worse if i < 20 else "<think_bbox> </think_bbox>") + rest)
    write_results(root / "r.jsonl", rows, responses)
    report = run(capsys, "r.jsonl", "--by", "area", "--dataset", "hcstvg_v1:test")
    for protocol in ("native", "cg_stvg"):
        think = figures(report, protocol, system="r.jsonl", part="think")
        gain = figures(report, protocol, system="r.jsonl", part="pred - think")
        (table,) = [t for t in report["tables"] if t["protocol"] == protocol]
        parts = [row for row in table["rows"] if row["part"] == "pred - think" and "group" in row]
        assert len(parts) > 2, "by box area, as in the paper's Fig. 4"
        assert sum(row["samples"] for row in parts) == 20, "only answers that have both count"
        assert think["m_vIoU"][0] < 0.9
        assert gain["m_vIoU"][1] > 0
        assert gain["m_tIoU"] == [0.0, 0.0, 0.0]
    mean, low, high = report["systems"][0]["think_reward"]
    batch = Batch([str(r) for r in responses], rows)
    assert mean == pytest.approx(REWARDS["stvg_think"](batch).sum() / 120)
    assert low < mean < high


@pytest.mark.slow
def test_breakdowns_cover_the_samples_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(capsys, "dense.json", "--dataset", "hcstvg_v1:test", "--by", "area,length,query,category")
    for table in report["tables"]:
        for by in ("area", "length"):
            parts = [row for row in table["rows"] if row.get("by") == by]
            assert sum(row["samples"] for row in parts) == 120
            mean = sum(row["samples"] * row["metrics"]["m_vIoU"][0] for row in parts) / 120
            assert mean == pytest.approx(table["rows"][0]["metrics"]["m_vIoU"][0])
        assert not [row for row in table["rows"] if row.get("by") in ("query", "category")], "one group is no breakdown"


@pytest.mark.slow
def test_a_comparison_is_paired(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    better = dict(golden("predictions_dense"))
    for name in list(better)[:60]:
        boxes = golden("annotations_hcstvg_v1")[name]["bbox"]
        first = golden("annotations_hcstvg_v1")[name]["st_frame"] - 1
        exact = {str(first + i): [x, y, x + w, y + h] for i, (x, y, w, h) in enumerate(boxes)}
        better[name] = {"span_frames": [first, first + len(boxes) - 1], "boxes": exact}
    (root / "better.json").write_text(json.dumps(better))
    report = run(capsys, "dense.json", "better.json", "--dataset", "hcstvg_v1:test", "--protocol", "hcstvg_official")
    gain = figures(report, "hcstvg_official", system="better.json", part="pred", minus="dense.json")["m_vIoU"]
    both = [figures(report, "hcstvg_official", system=f"{n}.json", part="pred")["m_vIoU"] for n in ("dense", "better")]
    assert gain[0] == pytest.approx(both[1][0] - both[0][0])
    assert 0 < gain[1] < gain[0] < gain[2]


@pytest.mark.slow
def test_published_figures_stand_below_ours(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["score", "dense.json", "--dataset", "hcstvg_v1:test", "--compare-to", "published"]
    assert main(words) == 0
    lines = capsys.readouterr().out.split("Published figures for hcstvg_v1:test")[1].split("\n\n")[0].splitlines()
    assert not any(line.endswith(" ") for line in lines)
    heads = [line for line in lines[2:] if not line.startswith(" ")]
    assert heads[0] == "computed here, protocols that the paper may have used"
    assert heads[1] == "computed here, other protocols"
    assert heads[2] == "arXiv 2511.21375, Tab. 1 (2025-11), multimodal language models"
    parts = re.findall(r"Tab\. \d|since", " ".join(heads))
    assert parts == ["Tab. 1", "Tab. 1", "since", "Tab. 4", "Tab. 5", "Tab. 6", "Tab. 7", "Tab. 8"]
    below = {head: lines[lines.index(head) + 1 :] for head in heads}
    likely, others = below[heads[0]], below[heads[1]]
    assert re.match(r"  dense\.json \(tubedetr\) +62\.6", likely[0])
    assert re.match(r"  dense\.json \(cg_stvg\) +62\.3", likely[1])
    assert re.match(r"  dense\.json \(hcstvg_official\) +62\.6", others[0])
    assert re.match(r"  STVG-o1 +60\.3 +44\.1 +73\.3 +43\.5", below[heads[2]][7])
    assert re.match(r"  ScanFocus, 2026-07, arXiv 2607\.13421, Tab\. 1 +55\.5", below["since then"][1])
    assert main([*words, "--format", "markdown"]) == 0
    assert "| &nbsp;&nbsp;STVG-o1 | 60.3 | 44.1 | 73.3 | 43.5 |" in capsys.readouterr().out
    write_results(
        root / "r.jsonl", [RowTruth.from_json(c.to_json().replace("hcstvg_v1", "made")) for c in row_truths()]
    )
    assert main(["score", "r.jsonl", "--compare-to", "published", "--by", "area"]) == 0
    text = capsys.readouterr().out
    assert "This package has no published table for made:test" in text
    assert "Fig. 4" not in text


@pytest.mark.slow
def test_gains_by_area_stand_beside_the_papers(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each bin has the gain of its answers, or a dash without answers; without think boxes there is no table."""
    rows = row_truths()
    texts = [row.format.render(row.answer) for row in rows]
    worse = [re.sub(r"\[\d+, \d+,", "[0, 0,", text, count=text.split("<pred_bbox>")[0].count("[")) for text in texts]
    write_results(root / "r.jsonl", rows, list(worse))
    words = ["r.jsonl", "--dataset", "hcstvg_v1:test", "--compare-to", "published", "--by", "area"]
    report = run(capsys, *words)
    by_bin = {
        row["group"]: row["metrics"]["m_vIoU"]
        for table in report["tables"]
        for row in table["rows"]
        if (table["protocol"], row["part"], row.get("by")) == ("cg_stvg", "pred - think", "area")
    }
    assert 3 < len(by_bin) < 10
    assert main(["score", *words]) == 0
    lines = capsys.readouterr().out.split("beside Fig. 4 of arXiv 2511.21375")[1].splitlines()[2:]
    assert [line.split("  ")[0] for line in lines] == bin_labels(AREA_EDGES)
    assert [re.findall(r"[+]\d+", line)[0] for line in lines] == [f"+{gain}" for gain in GAINS_BY_AREA]
    for line, label in zip(lines, bin_labels(AREA_EDGES), strict=True):
        last = re.split(r" {2,}", line)[-1].split(" [")[0]
        assert last == (f"{100 * by_bin[label][0]:+.1f}" if label in by_bin else "-")
    (root / "r.jsonl").rename(root / "a|b.jsonl")
    assert main(["score", "a|b.jsonl", *words[1:], "--format", "markdown"]) == 0
    assert " | a\\|b.jsonl (cg_stvg) |" in capsys.readouterr().out
    write_results(root / "r.jsonl", row_truths(think=False))
    assert main(["score", *words]) == 0
    assert "Fig. 4 of" not in capsys.readouterr().out


@pytest.mark.slow
def test_provenance(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(root / "r.jsonl", row_truths(fps=4.0, think=False))
    report = run(capsys, "r.jsonl", "--dataset", "hcstvg_v1:test")
    assert report["swift_stvg"] == __version__
    assert report["ground_truth"] == {
        "from": "hcstvg_v1:test",
        "splits": ["hcstvg_v1:test"],
        "samples": 120,
        "videos": 120,
        "queries": {"declarative": 120},
        "excluded": {},
        "notes": {},
    }
    assert report["systems"][0]["file"] == "r.jsonl"
    settings = report["systems"][0]["settings"]
    assert (settings["fps"], settings["think"], "data_root" in settings) == ("4.0", "false", False)
    assert all(table["description"] for table in report["tables"])
    told = {
        table["protocol"] for table in report["tables"] if "A candidate for STVG-o1's tables" in table["description"]
    }
    assert told == set(CANDIDATES)


@pytest.mark.slow
@pytest.mark.usefixtures("root")
def test_the_oracle(capsys: pytest.CaptureFixture[str]) -> None:
    """The exact answers as a model would have to write them, in both units, under each protocol."""
    report = run(capsys, "--oracle", "hcstvg_v1:test")
    assert set(report["not_applicable"]) == {"native"}
    for table in report["tables"]:
        frame, second = (row["metrics"]["m_tIoU"][0] for row in table["rows"][:2])
        assert 0.8 < second < frame < 1
    frame_unit = run(capsys, "--oracle", "hcstvg_v1:test", "--protocol", "cg_stvg", "--by", "length")
    parts = {
        r["group"]: r["metrics"] for r in frame_unit["tables"][0]["rows"] if "group" in r and "frame" in r["system"]
    }
    assert parts["0 to 1 s"]["m_tIoU"][0] < 0.6, "an event shorter than two samples cannot be told exactly"
    assert parts["16 s and more"]["m_tIoU"][0] > 0.97


@pytest.mark.long
def test_the_oracle_on_vidstg(
    stvg_test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The temporal upper bound on the real test annotations, with invented boxes instead of VidOR's."""
    annotations = json.loads((stvg_test_data / "vidstg/annotations/test_annotations.json").read_text())
    folder = tmp_path / "vidstg/bbox_annos"
    folder.mkdir(parents=True)
    (tmp_path / "vidstg/test_annotations.json").write_text(json.dumps(annotations))
    targets: dict[str, set[int]] = {}
    for annotation in annotations:
        asked = targets.setdefault(annotation["vid"], set())
        asked.update(
            sentence["target_id"] for key in ("captions", "questions") for sentence in annotation.get(key) or []
        )
    counts = {annotation["vid"]: annotation["frame_count"] for annotation in annotations}
    for vid, tids in targets.items():
        boxes = [{"tid": tid, "bbox": {"xmin": 1, "ymin": 2, "xmax": 99, "ymax": 98}} for tid in sorted(tids)]
        (folder / f"{vid}.json").write_text('{"trajectories": [' + ",".join([json.dumps(boxes)] * counts[vid]) + "]}")
    monkeypatch.setenv("STVG_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("STVG_MAX_FRAMES", "4096")  # the grid itself, for long clips too
    report = run(capsys, "--oracle", "vidstg:test", "--protocol", "hcstvg_official")
    assert report["ground_truth"]["samples"] == 10303
    assert report["ground_truth"]["videos"] == 732
    groups = {r["group"]: r["samples"] for r in report["tables"][0]["rows"][:3] if "group" in r}
    assert groups == {"declarative": 4610, "interrogative": 5693}
    frame = figures(report, "hcstvg_official", system="oracle, index frame", part="pred")["m_tIoU"][0]
    second = figures(report, "hcstvg_official", system="oracle, index second", part="pred")["m_tIoU"][0]
    assert (frame, second) == pytest.approx((0.915, 0.845), abs=0.005)


@pytest.mark.slow
def test_what_cannot_be_scored_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = row_truths()
    write_results(root / "r.jsonl", rows)
    write_results(root / "four.jsonl", row_truths(fps=4.0))
    (root / "mixed.jsonl").write_text(
        (root / "r.jsonl").read_text() + (root / "four.jsonl").read_text().replace(rows[0].id, "z")
    )
    later = [json.loads(line) for line in (root / "r.jsonl").read_text().splitlines()]
    shifted = json.loads(later[3]["stvg"])
    shifted["boxes"][0][1] += 1
    later[3]["stvg"] = json.dumps(shifted)
    (root / "shifted.jsonl").write_text("".join(json.dumps(line) + "\n" for line in later))
    foreign = [RowTruth.from_json(row.to_json().replace("hcstvg_v1", "hcstvg_v2")) for row in rows[:2]]
    write_results(root / "foreign.jsonl", foreign)
    (root / "r.txt").write_text("x")
    (root / "empty.jsonl").write_text("")
    (root / "broken.json").write_text('{"a": {')
    truth = ("--dataset", "hcstvg_v1:test")
    fails(capsys, "give result files, with or without --dataset; or give --oracle")
    fails(
        capsys,
        "give result files, with or without --dataset; or give --oracle",
        "r.jsonl",
        "--oracle",
        "hcstvg_v1:test",
    )
    fails(capsys, "no file 'none.jsonl'", "none.jsonl")
    fails(capsys, "r.txt must be a .jsonl file of `swift infer` or a .json file of tubes", "r.txt")
    fails(capsys, "empty.jsonl holds no answer with its row's `stvg` column", "empty.jsonl")
    fails(capsys, "broken.json cannot be read as JSON", "broken.json", *truth)
    fails(capsys, "tubes need a ground truth", "dense.json")
    fails(
        capsys,
        "cg_stvg cannot apply: it needs the annotation of every frame: give --dataset",
        "r.jsonl",
        "--protocol",
        "cg_stvg",
    )
    fails(capsys, "native cannot apply: dense.json holds tubes", "dense.json", "--protocol", "native", *truth)
    fails(
        capsys,
        r"mixed.jsonl mixes rows .* line 121, id \S+, with STVG_FPS=4.0; line 1 with STVG_FPS=2.0. Score them apart",
        "mixed.jsonl",
    )
    fails(
        capsys,
        r"r.jsonl and four.jsonl answer rows .* different settings \(fps\).*give --dataset",
        "r.jsonl",
        "four.jsonl",
    )
    fails(capsys, r"line 4 of shifted.jsonl, id \S+: its row holds another ground truth", "r.jsonl", "shifted.jsonl")
    fails(
        capsys,
        "none of the 2 ids of foreign.jsonl is in hcstvg_v1:test; the first is hcstvg_v2:test ",
        "foreign.jsonl",
        *truth,
    )
    fails(
        capsys, "hcstvg_v1 has no subset 'val'; its subsets are: train, test", "r.jsonl", "--dataset", "hcstvg_v1:val"
    )
    fails(capsys, "unknown dataset 'nonsense'", "r.jsonl", "--dataset", "nonsense:test")
    fails(capsys, "a file is given twice", "r.jsonl", "--out", "./r.jsonl")
    fails(capsys, "a file is given twice", "r.jsonl", "--out", "x", "--failures", "x")
    fails(capsys, "give result files, with or without", "--oracle", "hcstvg_v1:test", *truth)
    for name in (".", "/", "r.jsonl/x.json", "x" * 300):
        fails(capsys, "cannot write", "dense.json", *truth, "--out", name)
    fails(capsys, "no file 'x+", "x" * 300 + ".jsonl")
    fails(capsys, "cannot write 'no/such/folder/report.json'", "r.jsonl", "--out", "no/such/folder/report.json")
    full = run(capsys, "r.jsonl", "four.jsonl", *truth)
    assert "native" in full["not_applicable"], "other grids compare on the annotation's frames only"
    assert figures(full, "tubedetr", system="four.jsonl", part="pred", minus="r.jsonl")["m_tIoU"][0] > 0


NO_ANSWERS = [
    ("", "holds no answer with its row's `stvg` column, as `swift infer` writes them$"),
    ('{"response": "x"}\n', "line 1: no result of `swift infer` with its row's `stvg` column$"),
    ('{"response": "x", "stvg": "{}"}\n', "line 1: the `stvg` column does not hold a row truth"),
    ('{"response": "x", "stvg": 7}\n', "line 1: the `stvg` column must hold the text of a row truth, got 7"),
    ('{"response": "x", "stvg": "{\\"v\\": 9}"}\n', "has version 9, but this package reads version 3"),
    ('{"response": "x", "st', "line 1: no JSON, cut off.*Unterminated string"),
    ("[" * 100_000, "line 1: no JSON, cut off"),
    ("\xff", "line 1: no JSON, cut off"),
]


@pytest.mark.parametrize(("content", "message"), NO_ANSWERS)
def test_files_without_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (tmp_path / "r.jsonl").write_text(content, encoding="latin-1")
    fails(capsys, message, str(tmp_path / "r.jsonl"))


@pytest.mark.slow
def test_reports_are_written_whole(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form, start in (("table", "swift_stvg "), ("markdown", "- swift_stvg"), ("json", "{")):
        out = root / f"report.{form}"
        assert main(["score", "dense.json", "--dataset", "hcstvg_v1:test", "--format", form, "--out", str(out)]) == 0
        assert capsys.readouterr().out == ""
        assert out.read_text().startswith(start)
    assert not list(root.glob(".*.part"))


@pytest.mark.slow
def test_markdown_keeps_names_as_they_are(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "dense.json").rename(root / "a|b<script>.json")
    assert main(["score", "a|b<script>.json", "--dataset", "hcstvg_v1:test", "--format", "markdown"]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert table[2].startswith(r"| a\|b\<script\>.json | 120 |")


def changed(**facts: Any) -> str:
    """A row truth with some fields replaced."""
    row: dict[str, Any] = json.loads(row_truth().to_json())
    return json.dumps({name: value for name, value in (row | facts).items() if value is not ...})


BAD_ROW_TRUTHS: list[tuple[str, dict[str, Any], str]] = [
    ("id no text", {"id": []}, "`id` must be text, got []"),
    ("category no text", {"category": {}}, "`category` must be text"),
    ("no frames", {"frames": 0}, "`frames` must be whole numbers (K,)"),
    ("nested frames", {"frames": [[1, 2]]}, "`frames` must be whole numbers (K,), got int64 (1, 2)"),
    ("frames that are none", {"frames": [0.5] * 10}, "`frames` must be whole numbers (K,), got float64 (10,)"),
    ("a time too few", {"times_s": [0.0]}, "`times_s` must hold one value for each sample, got 1 for 10 in `frames`"),
    (
        "frames backwards",
        {"frames": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]},
        "`frames` must increase, got 8 after 9 at position 1",
    ),
    ("no annotated frame", {"annotated": []}, "`annotated` must hold one value for each index, got 0 for 10"),
    ("a frame of 1e10", {"annotated": [*range(9), 10**10]}, "`annotated` must be whole numbers in [0, 1000000000]"),
    ("no interval", {"interval_s": None}, "`interval_s` must be a finite number, got None"),
    ("an interval of 0", {"interval_s": 0}, "`interval_s` must be above 0"),
    ("NaN as time", {"clip_start_s": float("nan")}, "`clip_start_s` must be a finite number, got nan"),
    ("times backwards", {"times_s": [5.0] + [0.0] * 9}, "`times_s` must not decrease, got 0.0 after 5.0 at position 1"),
    ("no end", {"end_s": ...}, "does not hold a row truth"),
    ("an end before the last sample", {"end_s": 4.4}, "`end_s` must be a finite number from 4.5, got 4.4"),
    ("negative size", {"size_wh": [-5, 100]}, "`size_wh` must be a whole number in [1, 1048576], got -5"),
    ("span off the grid", {"span": [2, 12]}, "`span` must be a whole number in [0, 9], got 12"),
    ("span backwards", {"span": [5, 2]}, "`span` must not run backwards, got (5, 2)"),
    ("no box", {"boxes": []}, "`index` must hold at least one box, got 0"),
    ("a box off the span", {"boxes": [[9, 20, 20, 60, 60]]}, "`index` must be whole numbers in [2, 5], got 9 to 9"),
    ("boxes backwards", {"boxes": [[3, 1, 1, 2, 2], [2, 1, 1, 2, 2]]}, "`index` must increase, got 2 after 3"),
    ("NaN in a box", {"boxes": [[2, float("nan"), 20, 60, 60]]}, "got [nan, 20.0, 60.0, 60.0] at position 0"),
    ("a huge box", {"boxes": [[2, 0, 0, 1e8, 1e8]]}, "`boxes_xyxy` must hold finite coordinates of at most 100"),
    ("a box below 0", {"boxes": [[2, -1, 0, 9, 9]]}, "inside (100, 100), got [-1.0, 0.0, 9.0, 9.0] at index 2"),
    ("half a pixel", {"boxes": [[2, 0, 0, 9.5, 9]]}, "must be whole numbers, with an area, inside (100, 100)"),
    ("an endless box", {"boxes": [[float("inf"), 0, 0, 1, 1]]}, "`boxes` must begin with whole numbers"),
    (
        "an inverted box",
        {"boxes": [[2, 60, 20, 20, 60]]},
        "with an area, inside (100, 100), got [60.0, 20.0, 20.0, 60.0]",
    ),
    ("settings unknown", {"settings": {"fsp": "2"}}, "does not hold a row truth"),
    ("settings no object", {"settings": 7}, "does not hold a row truth"),
    ("no span", {"span": ...}, "does not hold a row truth"),
]


@pytest.mark.parametrize(("title", "facts", "message"), BAD_ROW_TRUTHS, ids=[c[0] for c in BAD_ROW_TRUTHS])
def test_rows_that_cannot_be_are_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], title: str, facts: dict[str, Any], message: str
) -> None:
    good = {"response": row_truth().format.render(row_truth().answer), "stvg": row_truth().to_json()}
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | {"stvg": changed(**facts)}) + "\n")
    report = run(capsys, str(path), "--by", "query,category,area,length")
    (found,) = report["systems"][0]["reasons"].values()
    assert found["example"].startswith("line 2: ")
    assert message in found["example"], found["example"]
    assert report["ground_truth"]["samples"] == 1


@pytest.mark.slow
def test_a_row_without_a_response_stays_in_the_denominator(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = write_results(root / "r.jsonl", row_truths()[:4])
    lines[1]["response"] = None
    del lines[2]["response"]
    (root / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = run(capsys, "r.jsonl")
    assert report["ground_truth"]["samples"] == 4
    assert figures(report, "native", system="r.jsonl", part="pred")["m_tIoU"][0] == 0.5


HOSTILE_ANSWERS = [
    ("[0, 0, 9999999, 9999999]", "far outside the picture"),
    ("[-999999999.5, 0, 9, 9]", "far outside the picture"),
    ("[0, 0, 999999999999999.5, 9]", "far outside the picture"),
    ("[0, 0, 1e9, 9]", "cannot be read"),
    ("[0, 0, Infinity, 9]", "cannot be read"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("box", "detail"), HOSTILE_ANSWERS)
def test_huge_coordinates_are_reported(root: Path, capsys: pytest.CaptureFixture[str], box: str, detail: str) -> None:
    rows = row_truths()[:2]
    exact = [row.format.render(row.answer) for row in rows]
    head, pred = exact[1].split("<pred_bbox>")
    write_results(root / "r.jsonl", rows, [exact[0], f"{head}<pred_bbox>" + re.sub(r"\[[^\]]*\]", box, pred, count=1)])
    found = run(capsys, "r.jsonl")["systems"][0]["reasons"]["inconsistent"]
    assert found["count"] == 1
    assert f"line 2, id {rows[1].id}: " in found["example"]
    assert detail in found["example"]


@pytest.mark.slow
def test_indices_beyond_the_grid_are_no_answer(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = row_truths()[:1]
    span = (row.span[0], row.timeline.size)
    listed = ", ".join(f"{i}. [1, 2, 30, 40]" for i in range(span[0], span[1] + 1))
    write_results(root / "r.jsonl", [row], [answer(f"{span[0]} - {span[1]}", listed, listed)])
    found = run(capsys, "r.jsonl")["systems"][0]["reasons"]["inconsistent"]["example"]
    assert f"goes beyond the last index, {row.timeline.size - 1}" in found


@pytest.mark.slow
def test_other_boxes_than_the_annotations_are_seen(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows from before a correction of the annotation: the event is the same, the boxes differ."""
    rows = row_truths()[:3]
    write_results(root / "r.jsonl", rows)
    moved = {name: dict(entry) for name, entry in golden("annotations_hcstvg_v1").items()}
    moved[rows[1].id]["bbox"] = [[x + 40, y, w, h] for x, y, w, h in moved[rows[1].id]["bbox"]]
    (root / "hc-stvg/test.json").write_text(json.dumps(moved))
    reasons = run(capsys, "r.jsonl", "--dataset", "hcstvg_v1:test")["systems"][0]["reasons"]
    assert reasons["other annotation"]["count"] == 1
    assert reasons["other annotation"]["example"].startswith(f"line 2, id {rows[1].id}: its row has other boxes")


@pytest.mark.slow
def test_frames_of_the_annotation_are_what_counts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file with half the annotated rate: its frame numbers differ from the annotation's."""
    settings = Settings.from_env()
    samples = load_samples("hcstvg_v1", "test", settings, LoadReport("test"))
    rows = []
    for sample in samples:
        nominal = VideoInfo.nominal(sample)
        halved = VideoInfo(nominal.path, nominal.frame_times_s[::2], nominal.end_s, nominal.size_wh)
        rows.append(make_row_truth(sample, halved, settings))
    write_results(root / "r.jsonl", rows)
    report = run(capsys, "r.jsonl", "--dataset", "hcstvg_v1:test", "--protocol", "hcstvg_official")
    assert report["systems"][0]["counts"]["scored"] == 120
    assert figures(report, "hcstvg_official", system="r.jsonl", part="pred")["m_tIoU"][0] > 0.85


def test_subsets_with_the_same_ids_are_kept_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row_truth(row_id=str(i)) for i in range(3)]
    here, there = ([RowTruth.from_json(row.to_json().replace('"up"', f'"{name}"')) for row in rows] for name in "ab")
    texts = [row.format.render(row.answer) for row in here] + ["nothing"] * 3
    write_results(tmp_path / "r.jsonl", [*here, *there], list(texts))
    report = run(capsys, str(tmp_path / "r.jsonl"))
    assert report["ground_truth"]["samples"] == 6
    assert figures(report, "native", system="r.jsonl", part="pred")["m_tIoU"][0] == 0.5


def test_a_part_of_vidstg_is_scored_against_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        RowTruth.from_json(row_truth().to_json().replace("made", "vidstg").replace('"up"', f'"{split}"'))
        for split in ("test", "test_declarative")
    ]
    for name, row in zip("ab", rows, strict=True):
        write_results(tmp_path / f"{name}.jsonl", [row])
    report = run(capsys, str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"))
    assert report["ground_truth"]["samples"] == 1


@pytest.mark.slow
def test_intervals_resample_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten sentences about each of 20 clips, all right or all wrong: the interval is that of 20 answers."""
    rows = [row_truth(row_id=f"{i}") for i in range(200)]
    texts = [row.format.render(row.answer) if i // 10 % 2 else "nothing" for i, row in enumerate(rows)]
    lines = [
        {"response": t, "stvg": r.to_json(), "videos": [f"{i // 10}.mp4"]}
        for i, (t, r) in enumerate(zip(texts, rows, strict=True))
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = run(capsys, str(tmp_path / "r.jsonl"))
    mean, low, high = figures(report, "native", system="r.jsonl", part="pred")["m_tIoU"]
    assert mean == 0.5
    assert 0.3 < high - low < 0.6, "1.96 * 2 * .5 / sqrt(20) = .44, of 200 answers it would be .14"
    lines = [line | {"videos": ["one.mp4"]} for line in lines]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = run(capsys, str(tmp_path / "r.jsonl"))
    assert figures(report, "native", system="r.jsonl", part="pred")["m_tIoU"] == [0.5, None, None]


def test_published_figures_by_kind_of_query(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for i, query in enumerate(["declarative", "interrogative"] * 4):
        made = json.loads(row_truth(row_id=str(i)).to_json())
        rows.append(RowTruth.from_json(json.dumps(made | {"dataset": "vidstg", "split": "test", "query": query})))
    texts = [row.format.render(row.answer) if row.query == "declarative" else "nothing" for row in rows]
    write_results(tmp_path / "r.jsonl", rows, list(texts))
    write_results(tmp_path / "some.jsonl", [row for row in rows if row.query == "interrogative"])
    compare = ["score", str(tmp_path / "r.jsonl"), "--compare-to", "published", "--by", "area"]
    assert main(compare) == 0
    blocks = capsys.readouterr().out.split("Published figures for vidstg:test, ")[1:]
    for block, query, ours, theirs in zip(
        blocks,
        ("declarative", "interrogative"),
        ("100.0", "0.0"),
        ("52.1 +33.5 +48.4 +32.0", "50.5 +27.9 +39.8 +26.0"),
        strict=True,
    ):
        assert block.startswith(query)
        assert re.search(rf"r\.jsonl \(native\) +{ours}", block)
        assert re.search(rf"STVG-o1 +{theirs}", block)
    compare[1] = str(tmp_path / "some.jsonl")
    assert main(compare) == 0
    _, declarative, interrogative = capsys.readouterr().out.split("Published figures for vidstg:test, ")
    assert "computed here" not in declarative
    assert re.search(r"some\.jsonl \(native\) +100\.0", interrogative)


def test_the_bins_are_those_of_the_paper() -> None:
    assert AREA_EDGES == (0, 0.01, 0.04, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81, 1)


@pytest.mark.slow
def test_text_that_no_terminal_shows(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Lone surrogates and other scripts, on a stream that can print neither."""
    rows = row_truths()[:2]
    write_results(root / "r.jsonl", rows, ["<time> 他 </time>", "\ud83d nothing"])
    words = [sys.executable, "-m", "swift_stvg.cli", "score", "r.jsonl", "--failures", "f.jsonl"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    done = subprocess.run(words, env=env | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True, timeout=60)
    assert b"\\u4ed6" in done.stdout
    responses = [json.loads(line)["response"] for line in (root / "f.jsonl").read_text().splitlines()]
    assert responses == ["<time> 他 </time>", "\ud83d nothing"]


@pytest.mark.slow
def test_reports_go_where_they_are_sent(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link is followed, a pipe is written, and a failed write keeps the old file."""
    (root / "old.txt").write_text("old")
    (root / "link.txt").symlink_to(root / "old.txt")
    score = ["score", "dense.json", "--dataset", "hcstvg_v1:test", "--out"]
    assert main([*score, "link.txt"]) == 0
    assert (root / "link.txt").is_symlink()
    assert (root / "old.txt").read_text().startswith("swift_stvg")
    assert main([*score, "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()
    (root / "old.txt").write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    before = sorted(root.iterdir())
    assert main([*score, "old.txt"]) == 1
    assert (root / "old.txt").read_text() == "old"
    assert sorted(root.iterdir()) == before
    assert "cannot write" in capsys.readouterr().err


COSTS = [  # what the lines hold beside their exact answers, the line of the report, reason
    ([{"seconds": 2.0, "tokens": 90}, {"seconds": 4, "tokens": 110}], ", 100 tokens per answer", "as ground writes it"),
    ([{"seconds": 2.0}, {"seconds": 4}, {}], "", "an engine that counts no tokens, and a line without a time"),
    ([{"seconds": 2.0}, {"seconds": 4}, {"status": "no answer", "seconds": 60.0}], "", "a failure costs nothing"),
    ([{"seconds": 2.0}, {"seconds": 4, "tokens": [1, 2]}, {"seconds": True}, {"seconds": float("nan")}], "", "foreign"),
    ([{"tokens": 7}, {"tokens": 8}], None, "tokens alone, as swift eval writes them"),
]


@pytest.mark.parametrize(("more", "tokens", "reason"), COSTS)
def test_the_cost_of_answers_stands_beside_their_figures(
    root: Path, capsys: pytest.CaptureFixture[str], more: list[dict[str, Any]], tokens: str | None, reason: str
) -> None:
    rows = row_truths()
    lines = write_results(root / "r.jsonl", rows)
    lines = [line | cost for line, cost in zip(lines, more, strict=False)] + lines[len(more) :]
    (root / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    expected = {"answers": 2}
    if tokens is None:
        expected |= {"tokens_per_answer": 7.5}
        said = "cost of 2 answers: 8 tokens per answer"
    else:
        video_s = sum(row.timeline.end_s for row in rows[:2])
        boxes = sum(2 * (row.span[1] - row.span[0] + 1) for row in rows[:2])
        expected |= {"s_per_video": 3.0, "s_per_video_s": 6 / video_s, "boxes_per_s": boxes / 6}
        expected |= {"tokens_per_answer": 100} if tokens else {}
        said = f"cost of 2 answers: 3.00 s per video, {6 / video_s:.3f} s per second of video{tokens}, "
        said += f"{boxes / 6:.1f} boxes per second"
    (system,) = run(capsys, "r.jsonl")["systems"]
    assert system["cost"] == pytest.approx(expected), reason
    assert main(["score", "r.jsonl"]) == 0
    assert f"\n  {said}\n" in capsys.readouterr().out


def test_joined_answers_cost_what_their_samples_cost(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their boxes are those of all samples, whether the file's joined answer counts or `--vote` joins them again."""
    row = row_truths()[0]
    exact = row.format.render(row.answer)
    line = {"response": exact, "stvg": row.to_json(), "videos": ["v"], "seconds": 3.0, "samples": [exact] * 3}
    (root / "r.jsonl").write_text(json.dumps(line) + "\n")
    boxes = 3 * 2 * (row.span[1] - row.span[0] + 1)
    for words in ([], ["--vote", "median"]):
        cost = run(capsys, "r.jsonl", *words)["systems"][0]["cost"]
        assert cost["boxes_per_s"] == pytest.approx(boxes / 3)
