"""Answers that name an object by a number on the frames: reading, rewards, scores, and real trainings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.answers.format import Answer, AnswerFormat
from swift_stvg.cli import main
from swift_stvg.errors import DataError, SettingsError
from swift_stvg.rewards import stvg_object, stvg_object_viou, stvg_temporal
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import OBJECT_WEIGHTS, REWARDS, usual_weights
from swift_stvg.rewards.known_mistakes import rewards_of_mistakes
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows
from tests.running import TRAIN, json_lines, logged, swift

FORMAT = AnswerFormat(think=False, style="ids")
SYNTH = ["--split", "train=64", "test=8", "--duration-s", "4", "--fps", "10"]

READ: dict[str, tuple[str, tuple[int, int] | None, int | None]] = {
    "the exact form": ("<time> 5 - 6 </time> <object> 3 </object>", (5, 6), 3),
    "none of them": ("<time> 5 - 6 </time> <object> 0 </object>", (5, 6), 0),
    "text around": ("It is 3. <time>5-6</time> so <object>#3</object>.", (5, 6), 3),
    "words in the tag": ("<time> 5 - 6 </time> <object> number 12. </object>", (5, 6), 12),
    "a thought": ("<think> <object> 1 </object> </think> <time> 5 - 6 </time> <object> 3 </object>", (5, 6), 3),
    "full-width digits": ("<time> ５ - ６ </time> <object> ３ </object>", (5, 6), 3),
    "two numbers": ("<time> 5 - 6 </time> <object> 3 or 4 </object>", (5, 6), None),
    "two objects": ("<time> 5 - 6 </time> <object> 3 </object> <object> 4 </object>", (5, 6), None),
    "the same object twice": ("<time> 5 - 6 </time> <object> 3 </object> <object> 3 </object>", (5, 6), 3),
    "no object": ("<time> 5 - 6 </time>", (5, 6), None),
    "no time": ("<object> 3 </object>", None, 3),
    "a fraction": ("<time> 5 - 6 </time> <object> 3.5 </object>", (5, 6), None),
    "STVG-R1's form": ("<think>a</think><answer>Target ID: 3, Time range: 5 to 6</answer>", (5, 6), 3),
    "a number too long": ("<time> 5 - 6 </time> <object> 31234567890 </object>", (5, 6), None),
    "nothing": ("", None, None),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_read(case: str) -> None:
    text, span, number = READ[case]
    answer, valid = FORMAT.read(text)
    assert (answer.span, answer.object) == (span, number)
    assert valid == (case in ("the exact form", "none of them"))
    assert ("pred_bbox" in answer.failures) == (number is None)
    assert ("time" in answer.failures) == (span is None)


def test_what_is_written_is_read_back() -> None:
    for number in (0, 1, 30):
        answer = Answer((5, 6), None, None, object=number)
        assert FORMAT.read(FORMAT.render(answer)) == (answer, True)
    with pytest.raises(ValueError, match="only a complete answer can be rendered"):
        FORMAT.render(Answer((5, 6), None, None))
    assert FORMAT.is_valid(FORMAT.example())
    assert FORMAT.example() in FORMAT.instruction()


def test_boxes_are_needed() -> None:
    with pytest.raises(SettingsError, match="STVG_STYLE=ids needs STVG_BOXES=true"):
        Settings(style="ids", boxes=False)


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings for clips of several things, with exact tracks."""
    root = tmp_path_factory.mktemp("objects")
    tracks = root / "tracks.json"
    assert main(["synth", str(root / "stvg_synthetic"), *SYNTH, "--tracks", str(tracks)]) == 0
    return {"STVG_DATA_ROOT": str(root), "STVG_STYLE": "ids", "STVG_PROPOSALS": str(tracks)} | {
        "STVG_MAX_SIDE": "56",
        "STVG_SIDE_MULTIPLE": "56",
        "STVG_SYSTEM_PROMPT": "false",
        "STVG_CACHE_DIR": "off",
    }


@pytest.fixture(scope="session")
def rows(objects: dict[str, str]) -> list[dict[str, Any]]:
    found, report = load_rows("stvg_synthetic", "train", Settings.from_env(objects))
    assert report.n_dropped == 0
    return found


@pytest.mark.slow
def test_rows_name_the_object_of_the_sentence(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        truth = RowTruth.from_json(row["stvg"])
        assert truth.object
        assert truth.to_json() == row["stvg"]
        text = row["messages"][-1]["content"]
        assert text == f"<time> {truth.span[0]} - {truth.span[1]} </time> <object> {truth.object} </object>"
        answer, valid = truth.read(text)
        assert valid
        assert answer == truth.answer
        assert answer.fault(truth.timeline.size, truth.scale_wh) is None
        assert answer.pred is not None
        at = answer.pred.index.searchsorted(truth.index)
        # a track's box is rounded to a hundredth; an annotated box, to whole pixels, and it is one pixel at least
        assert np.abs(answer.pred.boxes_xyxy[at] - truth.boxes_xyxy).max() <= 1.01
        marks = json.loads(row["chat_template_kwargs"]["stvg_video"])["marks"]
        assert {mark[1] for mark in marks} == set(range(1, len(truth.objects) + 1))


def test_numbers_are_spread(rows: list[dict[str, Any]]) -> None:
    """No number is right by itself."""
    right = [RowTruth.from_json(row["stvg"]).object for row in rows]
    assert max(right.count(number) for number in set(right)) < 0.75 * len(right)


def test_rewards(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if len(RowTruth.from_json(row["stvg"]).objects) > 1)
    truth = RowTruth.from_json(row["stvg"])
    assert truth.object is not None
    other = 1 if truth.object != 1 else 2
    first, last = truth.span
    texts = {
        name: f"<time> {first} - {end} </time> <object> {number} </object>"
        for name, number, end in (
            ("right", truth.object, last),
            ("other", other, last),
            ("none", 0, last),
            ("unknown", len(truth.objects) + 1, last),
            ("longer", truth.object, truth.timeline.size - 1),
        )
    }
    columns = {"completions": list(texts.values()), "stvg": [row["stvg"]] * len(texts)}
    assert stvg_object(**columns) == [1.0, 0.0, 0.0, 0.0, 1.0]
    viou = stvg_object_viou(**columns)
    assert viou[0] == viou[4]
    assert viou[0] is not None
    assert viou[1] is not None
    assert viou[0] > 0.8
    assert viou[1] < viou[0]
    assert viou[2:4] == [0.0, 0.0]
    assert stvg_temporal(**columns)[:4] == [1.0] * 4, "the span counts, whatever the object"
    batch = Batch(list(texts.values()), [truth] * len(texts))
    assert batch.faults[0] is None
    assert [fault and fault[0] for fault in batch.faults[1:4]] == [None, "unparsable", "unparsable"]
    assert REWARDS["stvg_viou"](batch)[0] == pytest.approx(viou[0])


def test_other_rows_are_left_out_of_the_sum(workspace: Path) -> None:
    settings = Settings(data_root=str(workspace / "data"), cache_dir=None)
    made, _ = load_rows("stvg_synthetic", "test", settings)
    text = made[0]["messages"][-1]["content"]
    assert stvg_object([text], [made[0]["stvg"]]) == [None]
    assert stvg_object_viou([text], [made[0]["stvg"]]) == [None]


def test_known_mistakes_do_not_pay(rows: list[dict[str, Any]]) -> None:
    truths = [RowTruth.from_json(row["stvg"]) for row in rows]
    assert usual_weights(truths) == OBJECT_WEIGHTS
    found = rewards_of_mistakes(truths, OBJECT_WEIGHTS)
    assert found["faults"] == {}
    assert found["lines"]["exact answer"]["earns"]["total"] == [3.0, 3.0, 3.0]
    for name in ("always object 1", "always the largest object", "a number that no object has"):
        assert found["lines"][name]["earns"]["total"] == [2.0, 2.0, 2.0], name


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["drop", "time"])
def test_an_object_without_a_track(missing: str, objects: dict[str, str], tmp_path: Path) -> None:
    half = tmp_path / "half.json"
    words = [
        "synth",
        str(Path(objects["STVG_DATA_ROOT"]) / "stvg_synthetic"),
        *SYNTH,
        "--tracks",
        str(half),
        "--track_missing",
        "0.4",
    ]
    assert main(words) == 0
    settings = Settings.from_env(objects | {"STVG_PROPOSALS": str(half), "STVG_OBJECT_MISSING": missing})
    kept, report = load_rows("stvg_synthetic", "train", settings)
    right = [RowTruth.from_json(row["stvg"]).object for row in kept]
    reasons = {reason: count for reason, (count, _) in report.dropped.items()}
    assert set(reasons) <= {"no track covers the object", "no track on a sampled frame"}
    assert len(kept) + report.n_dropped == 64
    if missing == "drop":
        assert reasons["no track covers the object"] > 0
        assert all(right)
        return
    assert "no track covers the object" not in reasons
    alone = next(row for row in kept if RowTruth.from_json(row["stvg"]).object == 0)
    text = alone["messages"][-1]["content"]
    assert text.endswith("<object> 0 </object>")
    assert stvg_temporal([text], [alone["stvg"]]) == [1.0]
    assert stvg_object([text], [alone["stvg"]]) == [None], "left out of the sum"
    truths = [RowTruth.from_json(row["stvg"]) for row in kept]
    assert rewards_of_mistakes(truths, OBJECT_WEIGHTS)["faults"] == {}


@pytest.mark.slow
def test_tracks_that_are_not_set_or_name_other_videos(objects: dict[str, str], tmp_path: Path) -> None:
    settings = Settings.from_env(objects)
    with pytest.raises(DataError, match="set STVG_PROPOSALS to their file or folder"):
        load_rows("stvg_synthetic", "train", replace(settings, proposals=None))
    (tmp_path / "others.json").write_text('{"other.mp4": {"tracks": {"1": {"0": [0, 0, 5, 5]}}}}')
    with pytest.raises(DataError, match=r"(?s)no usable row.*64 x video without tracks"):
        load_rows("stvg_synthetic", "train", replace(settings, proposals=str(tmp_path / "others.json")))


def test_check_shows_the_ceiling(
    objects: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = json.loads(Path(objects["STVG_PROPOSALS"]).read_text())
    tracks["test_000000.mp4"]["tracks"]["77"] = {"0": [1, 2, 3]}
    (tmp_path / "tracks.json").write_text(json.dumps(tracks))
    for name, value in (objects | {"STVG_PROPOSALS": str(tmp_path / "tracks.json")}).items():
        monkeypatch.setenv(name, value)
    assert main(["check", "stvg_synthetic:test", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (part,) = report["parts"]
    assert part["notes"]["broken track, left out"]["count"] == 1
    assert "track 77 of test_000000.mp4" in part["notes"]["broken track, left out"]["example"]
    native = next(t for t in report["ceiling"]["stvg_synthetic:test"] if t["protocol"] == "native")
    by = {row["labels"]["by"] if "labels" in row else row.get("by") for row in native["rows"]}
    assert {"area", "length"} <= by
    whole = native["rows"][0]["metrics"]
    assert whole["m_tIoU"][0] == 1
    assert 0.85 < whole["m_vIoU"][0] < 1


@pytest.mark.slow
def test_sft_grpo_and_answers_of_the_real_commands(
    objects: dict[str, str], workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    common = {"model": str(workspace / "tiny"), "dataset": "stvg_synthetic:train#8"}
    sft = common | {"output_dir": "sft", "max_steps": "2", "per_device_train_batch_size": "4"}
    swift("sft", TRAIN | sft | {"save_steps": "2", "learning_rate": "1e-3"}, tmp_path, objects)
    assert all(np.isfinite(line["loss"]) for line in logged(tmp_path / "sft"))
    grpo = common | {"rlhf_type": "grpo", "output_dir": "grpo", "max_steps": "1", "num_generations": "4"}
    grpo |= {"per_device_train_batch_size": "4", "max_completion_length": "16", "save_strategy": "no"}
    grpo |= {"reward_funcs": " ".join(OBJECT_WEIGHTS), "reward_weights": "1 1 1"}
    swift("rlhf", TRAIN | grpo, tmp_path, objects)
    (line,) = [line for line in json_lines(tmp_path / "grpo/logging.jsonl") if "reward" in line]
    assert line["rewards/StvgObject/mean"] == 0
    infer = {"model": "sft/checkpoint-2", "val_dataset": "stvg_synthetic:test", "result_path": "answers.jsonl"}
    infer |= {"temperature": "0", "max_new_tokens": "8", "max_batch_size": "8", "torch_dtype": "float32"}
    swift("infer", infer, tmp_path, objects)
    answers = json_lines(tmp_path / "answers.jsonl")
    assert len(answers) == 8
    for answer in answers:  # scored as any other answers are
        truth = RowTruth.from_json(answer["stvg"])
        answer["response"] = truth.format.render(truth.answer)
    (tmp_path / "exact.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    monkeypatch.chdir(tmp_path)
    assert main(["score", "answers.jsonl", "exact.jsonl", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    native = next(table for table in report["tables"] if table["protocol"] == "native")
    figures = {row["labels"]["system"] if "labels" in row else row["system"]: row["metrics"] for row in native["rows"]}
    assert figures["exact.jsonl"]["m_vIoU"][0] > 0.85
    assert main(["show", "exact.jsonl", "--out", "page"]) == 0
    assert "8 of them drawn" in capsys.readouterr().out
