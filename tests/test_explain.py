"""`swift-stvg score --explain` against figures worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.cli import main
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.synthetic.clips import SynthConfig, generate
from tests.helpers import answer, boxes, row_truth

# The truth: indices 2 to 5 of 10, half a second apart, the box (20, 20, 60, 60) of 100 x 100.
# Ten pixels to the right: IoU .6, hull 50 x 40 = union, so GIoU .6, L1 .2, term .4
SHIFTED = answer("3 - 6", boxes(3, 6, "30, 20, 70, 60"), boxes(3, 6))


def result(path: Path, *answers: tuple[RowTruth, str]) -> Path:
    lines = [{"response": text, "stvg": row.to_json(), "videos": [f"{row.id}.mp4"]} for row, text in answers]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def explained(capsys: pytest.CaptureFixture[str], *words: str | Path) -> list[dict[str, Any]]:
    assert main(["score", *map(str, words), "--format", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["answers"]
    return found


def test_every_number_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = result(tmp_path / "r.jsonl", (row_truth(row_id="other"), "nothing"), (row_truth(gaps=(4,)), SHIFTED))
    (found,) = explained(capsys, path, "--explain", "row")
    assert (found["line"], found["id"], found["subset"], found["response"]) == (2, "row", "made:up", SHIFTED)
    assert (found["span"], found["true_span"], found["well_formed"], found["fault"]) == ([3, 6], [2, 5], True, None)
    assert found["boxes"] == {"think": "4 boxes", "pred": "4 boxes"}
    assert [f["index"] for f in found["frames"]] == [2, 3, 4, 5, 6]
    assert [f["note"] for f in found["frames"]] == ["outside the answer", "", "not annotated", "", "outside the event"]
    assert [f["s"] for f in found["frames"]] == [1.0, 1.5, 2.0, 2.5, 3.0]
    for place in (1, 3):
        frame = found["frames"][place]
        assert (frame["true"], frame["think"], frame["pred"]) == (
            [20, 20, 60, 60],
            [30, 20, 70, 60],
            [20, 20, 60, 60],
        )
        assert frame["think_terms"] == pytest.approx({"iou": 0.6, "giou": 0.6, "l1": 0.2, "term": 0.4})
        assert frame["pred_terms"] == pytest.approx({"iou": 1.0, "giou": 1.0, "l1": 0.0, "term": 1.0})
        assert frame["gain"] == pytest.approx(0.6)
    assert found["frames"][0]["pred"] is None
    assert found["frames"][4]["true"] is None
    assert all(found["frames"][place]["gain"] is None for place in (0, 2, 4))
    assert found["spatial"] == {
        "think": {"frames": 2, "mean": pytest.approx(0.4)},
        "pred": {"frames": 2, "mean": pytest.approx(1.0)},
    }
    expected = {"stvg_format": 1, "stvg_consistency": 1, "stvg_temporal": 0.6, "stvg_spatial": 1.4, "stvg_think": 0.6}
    assert {name: found["rewards"][name] for name in expected} == pytest.approx(expected)
    assert found["total"] == pytest.approx(1 + 1 + 0.6 + 1.4 + 0.5 * 0.6)
    # two annotated frames that are shared, by three annotated ones and one beyond the event
    assert found["metrics"]["native, pred boxes"]["m_vIoU"] == pytest.approx(0.5)
    assert found["metrics"]["native, think boxes"]["m_vIoU"] == pytest.approx(0.3)
    assert found["counts_zero"] is None


def test_the_floor_clamps_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = answer("2 - 5", boxes(2, 3), boxes(2, 5))
    (found,) = explained(capsys, result(tmp_path / "r.jsonl", (row_truth(floor=-1.0), text)), "--explain", "row")
    assert [f["think_terms"]["term"] for f in found["frames"]] == [1.0, 1.0, -1.0, -1.0]
    assert found["frames"][2]["think_terms"]["l1"] == 4.0
    assert found["spatial"]["think"]["mean"] == pytest.approx(0.0)
    assert found["rewards"]["stvg_spatial"] == pytest.approx(1.0)


HOSTILE = [
    ("", "unparsable"),
    ("<time> 2 - 5 </time>", "unparsable"),
    (answer("5 - 2", boxes(2, 5), boxes(2, 5)), "runs backwards"),
    (answer("0 - 9999999", boxes(2, 5), boxes(2, 5)), "goes beyond the last index"),
    (answer("2 - 5", boxes(2, 5), boxes(2, 5, "60, 60, 20, 20")), None),
    (answer("2 - 3", boxes(2, 3), "2. [1, 2, 3], 3. [20, 20, 60, 60]"), "cannot be read"),
    (answer("2 - 5", boxes(2, 5), boxes(2, 5)).replace("<pred_bbox>", "<pred>"), "no <pred_bbox>"),
]


@pytest.mark.parametrize(("text", "fault"), HOSTILE)
def test_any_answer_can_be_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, fault: str | None
) -> None:
    path = result(tmp_path / "r.jsonl", (row_truth(), text))
    (found,) = explained(capsys, path, "--explain", "row")
    assert (found["fault"] is None) == (fault is None)
    if fault is not None:
        assert fault in found["fault"]
        assert fault in found["counts_zero"]
        assert found["metrics"]["native, pred boxes"]["m_vIoU"] == 0
    assert len(found["frames"]) <= 10
    assert main(["score", str(path), "--explain", "row"]) == 0
    printed = capsys.readouterr().out
    assert repr(text) in printed
    assert f"gives a tube: {'yes' if fault is None else 'no'}" in printed


def test_without_think_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = row_truth(fmt=AnswerFormat(think=False))
    text = row.format.render(row.answer)
    (found,) = explained(capsys, result(tmp_path / "r.jsonl", (row, text)), "--explain", "row")
    assert found["boxes"] == {"pred": "4 boxes"}
    assert found["total"] == 4.0
    assert "stvg_think" not in found["weights"]


def test_protocols_are_those_of_the_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a dataset of one clip, the metrics of its answer equal the reported means."""
    generate(tmp_path / "stvg_synthetic", {"one": 1}, SynthConfig(duration_s=3.0, sentences_per_clip=1))
    monkeypatch.setenv("STVG_DATA_ROOT", str(tmp_path))
    from swift_stvg.settings import Settings
    from swift_stvg.sources import load_rows

    (row,), _ = load_rows("stvg_synthetic", "one", Settings.from_env())
    made = RowTruth.from_json(row["stvg"])
    text = made.format.render(made.answer).replace(" - ", " - 9", 1)  # beyond the last index
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"response": text, "stvg": row["stvg"], "messages": row["messages"]}) + "\n")
    for more in ([], ["--partial"]):
        words = ["score", str(path), "--dataset", "stvg_synthetic:one", *more, "--format", "json"]
        assert main(words) == 0
        whole = {
            f"{table['protocol']}, {line['part']} boxes": {m: v[0] for m, v in line["metrics"].items()}
            for table in json.loads(capsys.readouterr().out)["tables"]
            for line in table["rows"]
            if "minus" not in line and line["part"] in ("think", "pred")
        }
        assert main([*words, "--explain", made.id]) == 0
        (found,) = json.loads(capsys.readouterr().out)["answers"]
        assert found["metrics"] == whole
        assert found["sentence"] in row["messages"][-2]["content"]
        assert (found["counts_zero"] is None) == bool(more)


def test_two_files_and_repeated_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = result(tmp_path / "a.jsonl", (row_truth(), SHIFTED), (row_truth(), "nothing"))
    second = result(tmp_path / "b.jsonl", (row_truth(), "nothing"))
    one, two = explained(capsys, first, second, "--explain", "row")
    assert (one["system"], two["system"]) == ("a.jsonl", "b.jsonl")
    assert one["set_aside"] == ["line 2, id row: repeated: stands in line 1 already, which counts"]
    assert two["set_aside"] == []
    report = tmp_path / "report.md"
    words = ["score", str(first), str(second), "--explain", "row", "--format", "markdown", "--out", str(report)]
    assert main(words) == 0
    assert report.read_text().count("**Rewards**") == 2


WRONG = [
    (["{a}", "--explain", "clip_13"], "no sample is called 'clip_13'; close to it are clip_12"),
    (["{a}", "--explain", "zzz"], "the first of 2 is clip_12"),
    (["{b}", "{a}", "--dataset", "stvg_jsonl:{d}", "--explain", "clip_11"], "hold no answer to clip_11: it counts 0"),
    (["{t}", "--dataset", "stvg_jsonl:{d}", "--explain", "clip_11"], "give .jsonl files of `swift infer`"),
    (["{a}", "--explain", "clip_12", "--failures", "f.jsonl"], "leave --failures, --compare-to,"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_wrong_use_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    result(tmp_path / "a.jsonl", (row_truth(row_id="clip_12"), SHIFTED), (row_truth(row_id="x"), SHIFTED))
    result(tmp_path / "b.jsonl", (row_truth(row_id="clip_12"), SHIFTED))
    (tmp_path / "t.json").write_text('{"clip_11": {"span_frames": [1, 2], "boxes": {}}}')
    line = {"stvg_schema": 1, "id": "clip_11", "video": "v.mp4", "sentence": "it moves", "n_frames": 50, "fps": 10.0}
    line |= {"size_wh": [100, 100], "span_frames": [10, 30], "tube": [[i, 1, 1, 9, 9] for i in range(10, 30)]}
    (tmp_path / "d.jsonl").write_text(json.dumps(line) + "\n")
    paths = {p.stem: p for p in tmp_path.iterdir()}
    assert main(["score", *(word.format(**paths) for word in words)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
