"""The real `swift` command on real decoded video with a tiny model, on one and two processes and two versions."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from swift_stvg.cli import main
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import REWARDS
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.headroom import Sampled, measure
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows
from tests.grpo import FUNCS, GRPO
from tests.running import (
    COMMON,
    EVALUATE,
    PREVIEW,
    TRAIN,
    SwiftFailed,
    json_lines,
    logged,
    previewed,
    run,
    swift,
)

pytestmark = pytest.mark.swift

NAMES = ("StvgFormat", "StvgConsistency", "StvgTemporal", "StvgSpatial", "StvgThink", "m_tIoU", "m_vIoU")
THRESHOLDS = ("vIoU@0.3", "vIoU@0.5")


@pytest.fixture(scope="session")
def inferred(workspace: Path, env: dict[str, str], cold_start: Path) -> Path:
    """Result file of `swift infer` on the held-out clips and, for the comparison of inputs, the training clips."""
    result = workspace / "result.jsonl"
    options = COMMON | {
        "model": str(cold_start),
        "val_dataset": "stvg_synthetic:train stvg_synthetic:test",
        "result_path": str(result),
        "max_new_tokens": "160",
        "temperature": "0",
        "max_batch_size": "36",
    }
    swift("infer", options, workspace / "elsewhere", env, record=workspace / "infer.jsonl")
    return result


@pytest.fixture(scope="session")
def grpo(workspace: Path, env: dict[str, str], cold_start: Path) -> tuple[Path, str]:
    """Output folder and printed text of a GRPO run on the default ms-swift, by name from a foreign folder."""
    output = workspace / "grpo"
    options = GRPO | {"model": str(cold_start), "dataset": "stvg_synthetic:train", "output_dir": str(output)}
    printed = swift(
        "rlhf",
        options,
        workspace / "elsewhere",
        env,
        record=workspace / "grpo.jsonl",
        anew=True,
    )
    return output, printed


def rows_of(env: dict[str, str], split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = load_rows("stvg_synthetic", split, Settings.from_env(env))[0]
    return rows


def check_rewards(folder: Path, weights: str = GRPO["reward_weights"]) -> None:
    """The logged rewards are finite, and their weighted sum is the logged total."""
    steps = [step for step in logged(folder) if "reward" in step]
    assert len(steps) == 2
    names = (*NAMES, *THRESHOLDS)[: len(weights.split())]
    for step in steps:
        assert all(math.isfinite(value) for value in step.values()), step
        total = sum(float(w) * step[f"rewards/{n}/mean"] for w, n in zip(weights.split(), names, strict=True))
        assert step["reward"] == pytest.approx(total, abs=1e-4)


def compare_with_rows(folder: Path, rows: list[dict[str, Any]]) -> int:
    """Check that logged rewards equal the rewards that this process computes. Returns the number that are not 0."""
    by_prompt = defaultdict(list)
    for row in rows:
        by_prompt[next(m["content"] for m in row["messages"] if m["role"] == "user")].append(row)
    earned = 0
    for line in json_lines(folder / "completions.jsonl"):
        for i, (prompt, completion) in enumerate(zip(line["prompt"], line["completion"], strict=True)):
            got = tuple(round(float(line[name][i]), 4) for name in NAMES)
            candidates = [row for text, group in by_prompt.items() if text in prompt for row in group]
            text = completion.removesuffix("<|im_end|>")
            expected = []
            for row in candidates:
                batch = Batch([text], [RowTruth.from_json(row["stvg"])])
                expected.append(tuple(round(float(REWARDS[name](batch)[0]), 4) for name in FUNCS))
            assert any(got == pytest.approx(e, abs=2e-4) for e in expected), (prompt, completion, got, expected)
            earned += any(got)
    return earned


def test_grpo_by_name_from_a_foreign_folder(grpo: tuple[Path, str], env: dict[str, str]) -> None:
    output, printed = grpo
    assert "stvg_synthetic:train: 64 rows kept, 0 dropped" in printed
    check_rewards(output)
    assert compare_with_rows(output, rows_of(env, "train")) > 0


@pytest.mark.usefixtures("grpo", "inferred")
def test_same_pixels_and_tokens_everywhere(workspace: Path) -> None:
    """A row has the same tokens and pixels in SFT, its evaluation, GRPO's rollouts and training, and inference."""
    seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for source in ("sft", "grpo", "infer"):
        for record in json_lines(workspace / f"{source}.jsonl"):
            phase = f"{source} {record.pop('mode')}"
            key = record.pop("sentence") + record["pixels"]
            seen[key][phase].add(json.dumps(record, sort_keys=True))
    trained = {"sft train", "grpo train", "grpo transformers", "infer transformers"}
    evaluated = {"sft transformers", "infer transformers"}
    phases = [set(by_phase) for by_phase in seen.values()]
    assert set.union(*phases) == trained | evaluated
    assert all(trained <= each for each in phases if "grpo train" in each)
    assert sum(trained <= each for each in phases) == 2, "the prompts of both of GRPO's steps"
    assert sum(evaluated <= each for each in phases) == 8
    for by_phase in seen.values():
        assert len(set.union(*by_phase.values())) == 1


@pytest.mark.usefixtures("grpo", "inferred")
def test_text_comes_after_the_frames_wherever_the_model_runs(workspace: Path) -> None:
    """Checked in the model: updates of SFT and GRPO, rollouts, log-probabilities, and each generated token."""
    kinds = {}
    for source in ("sft", "grpo", "infer"):
        recorded = json_lines(workspace / f"{source}.jsonl.positions")
        kinds[source] = {record["kind"] for record in recorded}
        wrong = [record for record in recorded if any(found != right for found, right in record["places"])]
        assert wrong == [], source
    assert kinds == {name: {"update", "forward", "token"} for name in ("sft", "grpo")} | {"infer": {"forward", "token"}}


@pytest.mark.usefixtures("grpo")
def test_a_prompt_is_decoded_once_for_all_its_completions(workspace: Path) -> None:
    encoded = json_lines(workspace / "grpo.jsonl")
    decoded = (workspace / "grpo.jsonl.decoded").read_text().splitlines()
    assert len(decoded) == len(set(decoded)) == len({record["pixels"] for record in encoded})
    assert len(encoded) == 2 * 4 * len(decoded), "for generation and for training of each of four completions"


def test_infer_and_score(inferred: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = json_lines(inferred)
    assert len(results) == 72
    assert all(RowTruth.from_json(result["stvg"]).id for result in results), "the truth travels with the result"
    assert main(["score", str(inferred), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ground_truth"]["samples"] == 72
    assert report["ground_truth"]["splits"] == ["stvg_synthetic:test", "stvg_synthetic:train"]
    metrics = report["tables"][0]["rows"][0]["metrics"]
    batch = Batch([r["response"] for r in results], [RowTruth.from_json(r["stvg"]) for r in results])
    assert metrics["m_tIoU"][0] == pytest.approx(REWARDS["stvg_tiou"](batch).mean())
    assert metrics["m_vIoU"][0] == pytest.approx(REWARDS["stvg_viou"](batch).mean())


def test_headroom(inferred: Path, cold_start: Path, workspace: Path, env: dict[str, str]) -> None:
    """Greedy answers equal those of `swift infer`; samples differ; the figures follow from the kept answers."""
    kept = workspace / "headroom.jsonl"
    options = "--rows 6 --samples 3 --max_batch_size 8 --max_new_tokens 160 --torch_dtype float32 --format json"
    words = [sys.executable, "-m", "swift_stvg.cli", "headroom", "--model", str(cold_start)]
    words += ["--dataset", "stvg_synthetic:test", "--answers", str(kept), *options.split()]
    report_to = workspace / "headroom.json"
    more = {"RECORD_TO": str(workspace / "headroom_inputs.jsonl")}  # the checkpoint remembers the recorder as a plugin
    run([*words, "--out", str(report_to)], workspace, env | more)
    sampled = Sampled.read(kept)
    assert len(sampled.greedy) == 6
    answers = {RowTruth.from_json(r["stvg"]).id: r["response"] for r in json_lines(inferred)}
    assert [answers[row_truth.id] for row_truth in sampled.row_truths] == list(sampled.greedy)
    assert all(len(texts) == 3 for texts in sampled.samples)
    assert any(len(set(texts)) > 1 for texts in sampled.samples)
    report = json.loads(report_to.read_text())
    assert report["figures"] == json.loads(json.dumps(measure(sampled)["figures"]))


def check_evaluation(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that the last logged metrics equal the scorer's metrics of the answers beside them."""
    evaluated = [line for line in json_lines(output / "logging.jsonl") if "eval_m_tIoU" in line]
    assert len(evaluated) == 1
    (predictions,) = output.glob("checkpoint-*/predict.jsonl")
    assert main(["score", str(predictions), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ground_truth"]["samples"] == 8
    for name in ("m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5"):
        expected = report["tables"][0]["rows"][0]["metrics"][name][0]
        assert 0 < expected <= 1
        assert float(evaluated[0][f"eval_{name}"]) == pytest.approx(expected, abs=1e-6)
    (state,) = output.glob("checkpoint-*/trainer_state.json")
    assert json.loads(state.read_text())["best_metric"] == float(evaluated[0]["eval_m_tIoU"])


def test_sft_evaluates_with_our_metric(cold_start: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_evaluation(cold_start.parent, capsys)
    pictures, histograms = previewed(cold_start.parent)
    assert pictures == {f"stvg_eval/answer {place}": [16] for place in range(4)}
    assert histograms == {f"stvg_eval/{name}": {16: 8} for name in NAMES[:5]}


@pytest.mark.long
def test_sft_evaluates_in_two_processes(
    cold_start: Path, workspace: Path, env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = workspace / "sft_eval_2"
    options = {"model": str(cold_start), "dataset": "stvg_synthetic:test", "output_dir": str(output)}
    options |= {"max_steps": "1", "eval_steps": "1", "save_steps": "1", "learning_rate": "0", "ddp_backend": "gloo"}
    swift("sft", TRAIN | EVALUATE | options, workspace / "elsewhere", env | {"NPROC_PER_NODE": "2"})
    check_evaluation(output, capsys)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.long
def test_grpo_in_processes_with_an_evaluation(
    cold_start: Path, workspace: Path, env: dict[str, str], processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames come from disk, and no video is decoded. Rewards, metrics and pictures cover all processes."""
    output, frames, record = (workspace / f"grpo_{processes}{what}" for what in ("", "_frames", ".jsonl"))
    with monkeypatch.context() as context:
        for name, value in env.items():
            context.setenv(name, value)
        for split in ("train", "test"):
            assert main(["cache", f"stvg_synthetic:{split}", str(frames)]) == 0
    weights = GRPO["reward_weights"] + " 0 0"
    options = GRPO | PREVIEW | {"model": str(cold_start), "output_dir": str(output)}
    options |= {"dataset": "stvg_synthetic:train", "val_dataset": "stvg_synthetic:test", "save_strategy": "steps"}
    options |= {"eval_steps": "2", "save_steps": "2", "per_device_eval_batch_size": "4"}
    options |= {"reward_funcs": f"{GRPO['reward_funcs']} stvg_viou@0.3 stvg_viou@0.5", "reward_weights": weights}
    options |= {"metric_for_best_model": "rewards/m_vIoU/mean", "load_best_model_at_end": "true"}
    options |= {"ddp_backend": "gloo"} if processes > 1 else {}
    more = {"NPROC_PER_NODE": str(processes), "STVG_PREVIEW_STEPS": "2", "STVG_PREVIEW_ROWS": "2"}
    more |= {"STVG_FRAME_CACHE": str(frames)}
    swift("rlhf", options, workspace / "elsewhere", env | more, record=record)
    assert json_lines(record)
    assert not record.with_name(f"{record.name}.decoded").exists()
    check_rewards(output, weights)
    assert compare_with_rows(output, [row for split in ("train", "test") for row in rows_of(env, split)]) > 0
    pictures, histograms = previewed(output)
    assert pictures == {"stvg_train/answer 0": [2]} | {f"stvg_eval/answer {place}": [2] for place in range(2)}
    # four rollouts of a prompt in each step, and those to the evaluation's eight, of which each process answers a share
    expected = {f"stvg_train/{name}": {2: 8} for name in (*NAMES, *THRESHOLDS)}
    assert histograms == expected | {f"stvg_eval/{name}": {2: 32 / processes} for name in (*NAMES, *THRESHOLDS)}
    (evaluated,) = [line for line in json_lines(output / "logging.jsonl") if "eval_reward" in line]
    means = {name: float(evaluated[f"eval_rewards/{name}/mean"]) for name in ("m_tIoU", "m_vIoU", *THRESHOLDS)}
    assert 0 < means["vIoU@0.5"] <= means["vIoU@0.3"] <= 1
    assert 0 < means["m_vIoU"] <= means["m_tIoU"] <= 1
    (state,) = output.glob("checkpoint-*/trainer_state.json")
    assert json.loads(state.read_text())["best_metric"] == pytest.approx(means["m_vIoU"], abs=1e-6)


def test_score_against_the_annotation(
    cold_start: Path,
    inferred: Path,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On native frames, right answers score as the exact answers, and answers to other rows are set aside."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    score = ["score", "--dataset", "stvg_synthetic:test", "--format", "json"]
    assert main([*score, str(cold_start / "predict.jsonl"), str(inferred)]) == 0
    report = json.loads(capsys.readouterr().out)
    right, other = report["systems"]
    assert right["counts"]["samples"] == 8
    assert other["reasons"]["unknown id"]["count"] == 64, "the answers to the other subset"
    assert [table["protocol"] for table in report["tables"]] == ["native", "tubedetr", "cg_stvg"]
    assert main(["score", "--oracle", "stvg_synthetic:test", "--format", "json"]) == 0
    ceiling = json.loads(capsys.readouterr().out)["tables"]
    share = right["counts"]["scored"] / 8
    for ours, best in zip(report["tables"][1:], ceiling, strict=True):
        assert ours["protocol"] == best["protocol"]
        (by_the_second,) = [
            row for row in best["rows"] if row["system"] == "oracle, index second" and "minus" not in row
        ]
        reached, limit = (row["metrics"]["m_tIoU"][0] for row in (ours["rows"][0], by_the_second))
        assert reached == pytest.approx(limit * share, abs=0.15)


def previewed_grpo(name: str, workspace: Path, env: dict[str, str], start: Path, plugin: str = "swift_stvg") -> str:
    """Run two steps of GRPO and check the pictures of the second. Returns the output."""
    output = workspace / name
    options = GRPO | PREVIEW | {"model": str(start), "dataset": "stvg_synthetic:train", "output_dir": str(output)}
    printed = swift("rlhf", options, workspace / "elsewhere", env | {"STVG_PREVIEW_STEPS": "2"}, plugin)
    check_rewards(output)
    pictures, histograms = previewed(output)
    assert pictures == {"stvg_train/answer 0": [2]}
    assert histograms == {f"stvg_train/{name}": {2: 8} for name in NAMES}, "of both steps"
    return printed


@pytest.mark.long
def test_grpo_on_ms_swift_4_5(workspace: Path, env: dict[str, str], cold_start: Path, ms_swift_4_5: Path) -> None:
    printed = previewed_grpo("grpo_4_5", workspace, env | {"PYTHONPATH": str(ms_swift_4_5)}, cold_start)
    assert "swift.__version__: 4.5.2" in printed


@pytest.mark.long
def test_grpo_with_the_plugin_as_a_file(
    workspace: Path, env: dict[str, str], cold_start: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugin"]) == 0
    previewed_grpo("grpo_by_path", workspace, env, cold_start, capsys.readouterr().out.strip())


@pytest.mark.long
def test_a_preview_that_fails_ends_no_training(workspace: Path, env: dict[str, str], tmp_path: Path) -> None:
    """All videos are deleted at the end of the only step, before the preview draws them."""
    shutil.copytree(env["STVG_DATA_ROOT"], tmp_path / "data")
    output = tmp_path / "grpo"
    options = GRPO | PREVIEW | {"model": str(workspace / "tiny"), "dataset": "stvg_synthetic:test", "max_steps": "1"}
    options |= {"output_dir": str(output), "callbacks": "breaker stvg_preview", "max_completion_length": "20"}
    more = {"STVG_DATA_ROOT": str(tmp_path / "data"), "STVG_PREVIEW_STEPS": "1"}
    plugins = ["--external_plugins", "swift_stvg", str(Path(__file__).with_name("breaker.py"))]
    printed = swift("rlhf", options, tmp_path, env | more, words=plugins)
    assert printed.count("stvg_preview cannot show stvg_train/answer 0; training goes on") == 1
    assert "VideoError: video missing" in printed
    assert f"stvg_preview: {len(NAMES)} pictures and histograms shown, 1 failed" in printed
    pictures, histograms = previewed(output)
    assert pictures == {}
    assert set(histograms) == {f"stvg_train/{name}" for name in NAMES}
    assert len(logged(output)) == 1


@pytest.mark.skipif(find_spec("swanlab") is None, reason="swanlab is not installed: it needs protobuf < 7")
def test_preview_in_swanlab(workspace: Path, env: dict[str, str], tmp_path: Path) -> None:
    """In SwanLab's local mode, which needs no account."""
    options = GRPO | {"model": str(workspace / "tiny"), "dataset": "stvg_synthetic:test", "max_steps": "1"}
    options |= {"report_to": "swanlab", "swanlab_mode": "local", "callbacks": "stvg_preview", "output_dir": "out"}
    more = {"STVG_PREVIEW_STEPS": "1", "SWANLAB_LOG_DIR": str(tmp_path / "board")}
    printed = swift("rlhf", options | {"max_completion_length": "20"}, tmp_path, env | more)
    assert f"stvg_preview: {len(NAMES) + 1} pictures and histograms shown, 0 failed" in printed
    assert len(list((tmp_path / "board").rglob("media/image/*.png"))) == 1
    assert list((tmp_path / "board").rglob("media/echarts/*.json"))


def test_grpo_on_real_video(tmp_path: Path, stvg_test_data: Path, workspace: Path) -> None:
    """The public VidSTG rows about the one clip of the test data, at the paper's size and rate."""
    root = tmp_path / "data"
    (root / "vidstg").mkdir(parents=True)
    (root / "vidor").symlink_to(stvg_test_data / "vidor")
    (root / "vidstg/test_annotations.json").symlink_to(stvg_test_data / "vidstg/annotations/test_5587257558.json")
    model = tmp_path / "tiny"
    assert main(["tiny", str(model)]) == 0
    output = tmp_path / "grpo"
    options = GRPO | {"model": str(model), "dataset": "vidstg:test", "output_dir": str(output)}
    printed = swift("rlhf", options, tmp_path, {"STVG_DATA_ROOT": str(root)})
    assert "vidstg:test: 8 rows kept, 0 dropped" in printed
    check_rewards(output)


@pytest.mark.parametrize("command", ["sft", "rlhf"])
def test_wrong_coordinates_are_refused_with_an_explanation(workspace: Path, env: dict[str, str], command: str) -> None:
    options = (TRAIN if command == "sft" else GRPO) | {
        "model": str(workspace / "tiny"),
        "dataset": "stvg_synthetic:test",
        "output_dir": str(workspace / "refused"),
    }
    with pytest.raises(SwiftFailed, match=r"TemplateMismatch: rows have norm1000.*set STVG_COORDS=pixel[^\n]*\s*$"):
        swift(command, options, workspace / "elsewhere", env | {"STVG_COORDS": "norm1000"})


def test_a_misspelt_setting_stops_the_run(workspace: Path, env: dict[str, str]) -> None:
    options = GRPO | {"model": str(workspace / "tiny"), "dataset": "stvg_synthetic:test", "output_dir": "none"}
    with pytest.raises(SwiftFailed, match=r"unknown setting STVG_FSP. Did you mean STVG_FPS\?"):
        swift("rlhf", options, workspace / "elsewhere", env | {"STVG_FSP": "2"})
