"""The examples of reuse: each runs with a tiny model, and each row has its own rewards."""

from __future__ import annotations

import json
import math
import runpy
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from swift_stvg.cli import main
from swift_stvg.records import Tube
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import REWARDS, WEIGHTS, usual_weights
from swift_stvg.rewards.known_mistakes import full_mark
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.ground_truth import GroundTruth
from swift_stvg.scoring.headroom import Sampled, measure
from swift_stvg.scoring.score import score
from swift_stvg.scoring.tube_file import TubeFile
from swift_stvg.settings import Settings
from swift_stvg.sources import LoadReport, load_rows
from tests.fuzzing import standing
from tests.running import SIZES, TRAIN, json_lines, logged, run
from tests.videos import picture, write_video

pytestmark = pytest.mark.filterwarnings("default")  # importing torch warns

REUSE = Path(__file__).parent.parent / "examples/reuse"
SMALL = TRAIN | {
    "tuner_type": "lora",
    "num_generations": "2",
    "per_device_train_batch_size": "8",
    "max_completion_length": "24",
    "max_steps": "2",
    "save_strategy": "no",
    "log_completions": "true",
}
STEPS = """
import json, os, sys
from swift.pipelines import rlhf_main

for settings, words in json.load(open(sys.argv[1])):
    os.environ.update(settings)
    rlhf_main(words)
"""


def converted(script: str, *words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        context.setattr(sys, "argv", [script, *map(str, words)])
        context.setenv("STVG_CACHE_DIR", "off")
        runpy.run_path(str(REUSE / script))


@pytest.fixture
def charades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """Rows from lines in Charades-STA's form; one video is missing, and one event ends after its video."""
    write_video(tmp_path / "videos/3MSZA.mp4", np.arange(75) / 25)
    lines = ["3MSZA 1.0 2.0##person turn a light on.", "AO8RW 0.0 6.9##a person.", "3MSZA 2.2 30.1##person, laughs."]
    (tmp_path / "charades_sta_train.txt").write_text("\n".join(lines) + "\n")
    out = tmp_path / "charades.jsonl"
    words = (tmp_path / "charades_sta_train.txt", tmp_path / "videos", out)
    converted("charades_sta.py", *words, monkeypatch=monkeypatch)
    assert "2 rows, 1 left out; video missing" in capsys.readouterr().out
    return out


@pytest.fixture
def referring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rows from two referring expressions about pictures."""
    refs = []
    for number in (10, 20):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
        refs.append({"image": f"{number}.png", "sentence": "the white part", "bbox": [0, 12, 2 * number, 36]})
    (tmp_path / "refs.jsonl").write_text("".join(json.dumps(ref) + "\n" for ref in refs))
    out = tmp_path / "referring.jsonl"
    converted("referring.py", tmp_path / "refs.jsonl", tmp_path, out, monkeypatch=monkeypatch)
    return out


def test_lengthened_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of LF-STVG: frames count from 1 there, boxes are x, y, w, h, and the rate is the video's."""
    write_video(tmp_path / "lf/video/a.mp4", np.arange(100) / 25)
    entry = {"caption": "he waves", "width": 64, "height": 48, "st_time": 1, "ed_time": 2, "st_frame": 26}
    entry |= {"img_num": 100, "bbox": [[4, 8, 16, 24]] * 25}
    late = entry | {"img_num": 110, "st_frame": 96}  # it ends after its video
    (tmp_path / "lf/annos").mkdir()
    (tmp_path / "lf/video/late.mp4").symlink_to(tmp_path / "lf/video/a.mp4")
    entries = {"a.mp4": entry, "gone.mp4": entry, "late.mp4": late}
    (tmp_path / "lf/annos/test.json").write_text(json.dumps(entries))
    out = tmp_path / "lf.jsonl"
    converted("lf_stvg.py", tmp_path / "lf", out, monkeypatch=monkeypatch)
    printed = capsys.readouterr()
    assert "2 rows, 1 left out; video missing" in printed.out
    assert "1 videos with another number of frames than annotated, e.g. late.mp4: 100 decoded, 110" in printed.err
    rows, report = load_rows("stvg_jsonl", str(out), Settings(cache_dir=None, coords="pixel"))
    assert [*report.notes] == ["events cut to their clip"]
    first, second = (RowTruth.from_json(row["stvg"]) for row in rows)
    assert first.file_span_s(first.span) == pytest.approx((1, 2), abs=0.26)
    assert first.span == (2, 3), "at 1 s and 1.5 s"
    share = first.boxes_xyxy[0] / (2 * first.scale_wh)
    assert share == pytest.approx([4 / 64, 8 / 48, 20 / 64, 32 / 48], abs=0.02)
    assert second.file_span_s(second.span)[1] == pytest.approx(4, abs=0.05)


def rows_of(path: Path, **settings: Any) -> list[dict[str, Any]]:
    return load_rows("stvg_jsonl", str(path), Settings(cache_dir=None, **settings))[0]


def test_rows_about_the_time_alone(charades: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames are at 0, .5, 1, 1.5, 2 and 2.5 s. The answer holds the time; rewards for boxes are None."""
    rows = rows_of(charades, boxes=False)
    row_truths = [RowTruth.from_json(row["stvg"]) for row in rows]
    exact = [row["messages"][-1]["content"] for row in rows]
    assert exact == ["<time> 2 - 3 </time>", "<time> 5 - 5 </time>"]
    assert "Answer in exactly this form: <time> 5 - 6 </time>\n" in rows[0]["messages"][0]["content"]
    assert "box" not in rows[0]["messages"][0]["content"]
    weights = usual_weights(row_truths)
    assert set(weights) == {"stvg_format", "stvg_consistency", "stvg_temporal"}
    assert full_mark(row_truths[0], WEIGHTS) == 3
    batch = Batch(
        [*exact, "<time> 2 - 9 </time>", "<time> 3 - 3 </time> and"], [*row_truths, row_truths[0], row_truths[0]]
    )
    assert REWARDS["stvg_temporal"](batch).tolist() == [1, 1, 0.25, 0.5]
    assert REWARDS["stvg_tiou"](batch).tolist() == [1, 1, 0, 0.5], "a span that leaves the grid gives no answer"
    assert REWARDS["stvg_format"](batch).tolist() == [1, 1, 1, 0]
    assert REWARDS["stvg_viou"](batch).tolist() == REWARDS["stvg_spatial"](batch).tolist() == [0, 0, 0, 0]
    result = tmp_path / "result.jsonl"
    result.write_text("".join(json.dumps(row | {"response": t}) + "\n" for row, t in zip(rows, exact, strict=True)))
    assert main(["score", str(result), "--format", "json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["tables"][0]["rows"][0]["metrics"]
    assert set(metrics) == {"m_tIoU", "tIoU@0.3", "tIoU@0.5"}, "nothing is said of boxes"
    assert metrics["m_tIoU"][0] == 1
    assert main(["score", str(result), "--dataset", f"stvg_jsonl:{charades}", "--format", "json"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert all("m_vIoU" not in table["rows"][0]["metrics"] for table in tables)
    assert main(["score", str(result), "--explain", "3MSZA/0"]) == 0


def test_rows_about_the_time_alone_are_no_rows_with_boxes(charades: Path) -> None:
    with pytest.raises(ValueError, match=r"2 x no usable box, e.g. none .*set STVG_BOXES=false"):
        rows_of(charades)


def test_the_check_takes_rows_about_the_time_alone(
    charades: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STVG_BOXES", "false")
    monkeypatch.setenv("STVG_CACHE_DIR", "off")
    status = main(["check", f"stvg_jsonl:{charades}", "--template", "stvg_qwen2_5_vl", "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    assert (status, report["errors"]) == (0, [])


def test_pictures_are_clips_of_one_frame(referring: Path) -> None:
    (first, second) = rows_of(referring, max_side=56, side_multiple=28)
    row_truth = RowTruth.from_json(first["stvg"])
    assert row_truth.timeline.frames.tolist() == [0]
    assert (row_truth.span, row_truth.size_wh) == ((0, 0), (56, 56))
    text = first["messages"][-1]["content"]
    boxes = "0. [0, 14, 18, 56]"  # from 64 x 48 pixels
    assert text == f"<time> 0 - 0 </time> <think_bbox> {boxes} </think_bbox> <pred_bbox> {boxes} </pred_bbox>"
    batch = Batch([text, second["messages"][-1]["content"]], [row_truth] * 2)
    assert REWARDS["stvg_spatial"](batch)[0] == 2 > REWARDS["stvg_spatial"](batch)[1]


def test_rewards_of_boxes_are_none_where_none_are_asked_for(charades: Path, referring: Path) -> None:
    from swift_stvg.adapters.rewards import CLASSES

    rows = [rows_of(charades, boxes=False)[0], rows_of(referring)[0]]
    columns = {"completions": [row["messages"][-1]["content"] for row in rows], "stvg": [row["stvg"] for row in rows]}
    assert CLASSES["stvg_temporal"]()(**columns) == [1.0, 1.0]
    assert CLASSES["stvg_spatial"]()(**columns) == [None, 2.0]
    columns = {"completions": [*columns["completions"], "4"], "stvg": [*columns["stvg"], None]}
    assert CLASSES["stvg_spatial"]()(**columns) == [None, 2.0, None]


@pytest.mark.parametrize("boxes", [False, True])
def test_the_metric_of_evaluations_says_what_score_says(
    boxes: bool, charades: Path, referring: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The preview and headroom agree too: for rows without boxes they give no figures of boxes."""
    from swift.utils import Serializer

    from swift_stvg.adapters.metrics import StvgMetrics
    from swift_stvg.adapters.preview import _draw

    rows = rows_of(referring if boxes else charades, boxes=boxes)
    exact = [row["messages"][-1]["content"] for row in rows]
    given = [exact[0], "<time> 3 - 3 </time>"]
    prediction = SimpleNamespace(
        predictions=[Serializer.to_tensor(text) for text in given],
        label_ids=[Serializer.to_tensor(text) for text in exact],
    )
    logged = StvgMetrics(None, SimpleNamespace(eval_dataset=rows, state=None)).compute_metrics(prediction)
    result = tmp_path / "result.jsonl"
    result.write_text("".join(json.dumps(row | {"response": t}) + "\n" for row, t in zip(rows, given, strict=True)))
    capsys.readouterr()
    assert main(["score", str(result), "--format", "json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["tables"][0]["rows"][0]["metrics"]
    assert ("m_vIoU" in metrics) == boxes
    assert logged == {name: value for name, (value, *_) in metrics.items() if name != "m_sIoU"}
    row_truths = [RowTruth.from_json(row["stvg"]) for row in rows]
    sampled = Sampled(row_truths, ["a", "b"], given, [given] * 2)
    assert ("m_vIoU" in measure(sampled)["figures"]["gain"]) == boxes
    drawn: list[Any] = []
    board = SimpleNamespace(picture=lambda *shown: drawn.append(shown))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("swift_stvg.adapters.preview.contact_sheet", lambda overlay, _: drawn.append(overlay.scores))
        _draw(board, "one", (given[0], row_truths[0], rows[0]), 1)
    assert set(drawn[0]) == ({"tIoU", "vIoU"} if boxes else {"tIoU"})


def test_events_without_boxes_beside_others_are_left_out_of_metrics_of_boxes() -> None:
    with_box, (none, no_xyxy) = standing(), (np.empty(0, dtype=np.int64), np.empty((0, 4)))
    without = replace(with_box, id="time", tube_frames=none, tube_xyxy=no_xyxy, time_only=True)
    exact = Tube((10, 29), with_box.tube_frames, with_box.tube_xyxy)
    tubes = TubeFile("mine", "mine.json", ["row", "time"], {"row": exact, "time": Tube((10, 29), none, no_xyxy)}, {})
    for samples, viou in (([with_box], 19 / 20), ([with_box, without], 19 / 20), ([without], None)):
        truth = GroundTruth.of_samples("made:up", samples, LoadReport("made:up"))
        report, _ = score([tubes], truth, protocols=["hcstvg_official"])
        metrics = report["tables"][0]["rows"][0]["metrics"]
        assert metrics.get("m_vIoU", [None])[0] == viou
        assert bool(truth.notes) == (len(samples) == 2), truth.notes


@pytest.mark.swift
@pytest.mark.long
def test_the_recipes_run(charades: Path, referring: Path, workspace: Path, tmp_path: Path) -> None:
    """Two GRPO steps of each recipe; every step of the mixed recipe holds prompts with and without a video."""
    others = [{"messages": [{"role": "user", "content": f"what is {n}?"}], "solution": f"{n}"} for n in (2, 3)]
    (tmp_path / "others.jsonl").write_text("".join(json.dumps(row) + "\n" for row in others))
    datasets = {
        "temporal": f"stvg_jsonl:{charades}",
        "referring": f"stvg_jsonl:{referring}",
        "mixed": f"stvg_synthetic:test#2 {tmp_path / 'others.jsonl'}",
    }
    always = SIZES | {"STVG_DATA_ROOT": str(workspace / "data"), "STVG_BOXES": "true", "STVG_CACHE_DIR": "off"}
    steps = []
    for name, dataset in datasets.items():
        recipe = yaml.safe_load((REUSE / f"{name}.yaml").read_text())
        settings = {key: str(value).lower() for key, value in recipe.pop("ENV", {}).items()}
        options = {key: " ".join(map(str, v)) if isinstance(v, list) else str(v) for key, v in recipe.items()}
        options |= SMALL | {"model": str(workspace / "tiny"), "dataset": dataset, "output_dir": str(tmp_path / name)}
        if name != "mixed":
            options["per_device_train_batch_size"] = "4"
        words = [word for key, value in options.items() for word in (f"--{key}", *shlex.split(value))]
        words = [str(REUSE.parent.parent / word) if word.startswith("examples/") else word for word in words]
        steps.append((always | settings | SIZES, words))
    (tmp_path / "steps.json").write_text(json.dumps(steps))
    run([sys.executable, "-c", STEPS, str(tmp_path / "steps.json")], tmp_path, {})
    for name in datasets:
        assert len(logged(tmp_path / name)) == 2
        assert all(math.isfinite(step["reward"]) for step in logged(tmp_path / name))
    assert "rewards/StvgTemporal/mean" in logged(tmp_path / "temporal")[0]
    kinds = set()
    for line in json_lines(tmp_path / "mixed/completions.jsonl"):
        for prompt, ours, theirs in zip(line["prompt"], line["StvgFormat"], line["ExactAnswer"], strict=True):
            other = "what is" in prompt and "video" not in prompt
            kinds.add(other)
            assert absent(ours) == other
            assert absent(theirs) != other
    assert kinds == {True, False}


def absent(value: float | None) -> bool:
    return value is None or math.isnan(value)


@pytest.mark.swift
def test_trl_trains_with_the_rewards(workspace: Path, tmp_path: Path) -> None:
    """A step of TRL's trainer in a process that has no ms-swift."""
    code = f"""
import runpy, sys
sys.modules["swift"] = None
sys.argv = ["trl_grpo.py", {str(workspace / "tiny")!r}, "stvg_synthetic", "test", "out", "1", "64"]
made = runpy.run_path({str(REUSE / "trl_grpo.py")!r}, run_name="__main__")
row = made["rows"][0]
judged = [made["CALLABLES"][name]([[row["messages"][-1]]], [row["stvg"]], prompts=[""]) for name in made["WEIGHTS"]]
print("JUDGED", judged)
"""
    settings = SIZES | {"STVG_DATA_ROOT": str(workspace / "data"), "STVG_CACHE_DIR": "off"}
    printed = run([sys.executable, "-c", code], tmp_path, settings, anew=True)
    assert "JUDGED [[1.0], [1.0], [1.0], [2.0], [0.0]]" in printed
    history = json.loads(next(line for line in printed.splitlines() if line.startswith('[{"loss"')))
    assert all(math.isfinite(history[0][f"rewards/{name}/mean"]) for name in WEIGHTS)
