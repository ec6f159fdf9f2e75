"""The recipes of the examples have existing names. The learning benchmark runs, continues, and reports its results."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from swift_stvg.rewards.functions import REWARDS
from swift_stvg.settings import Settings
from swift_stvg.sources import SOURCES
from swift_stvg.synthetic.tiny import TinyConfig, build
from tests.helpers import row_truth

BENCHMARK = Path(__file__).parent.parent / "examples/learning_benchmark"
FILES = [BENCHMARK / f"{name}.yaml" for name in ("sft", "grpo", "infer")]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules of the learning benchmark."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARK), *sys.path])
    yield SimpleNamespace(run=importlib.import_module("run"), report=importlib.import_module("report"))
    for name in ("run", "report"):
        del sys.modules[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_recipe(path: Path) -> None:
    recipe: dict[str, Any] = yaml.safe_load(path.read_text())
    Settings.from_env({name: str(value) for name, value in recipe.pop("ENV").items()})
    assert recipe["external_plugins"] == "swift_stvg"
    assert recipe["template"] == "stvg_qwen2_5_vl"
    for key in ("dataset", "val_dataset"):
        assert str(recipe.get(key, "vidstg:test")).split(":")[0] in SOURCES
    assert set(recipe.get("reward_funcs", [])) <= set(REWARDS)
    assert len(recipe.get("reward_weights", [])) == len(recipe.get("reward_funcs", []))
    for name, value in recipe.items():
        words = value if isinstance(value, list) else []
        assert all(isinstance(word, str) for word in words), f"ms-swift wants text in the list {name}"


PLANS = sorted(BENCHMARK.parent.glob("*/plan*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", PLANS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_plans_name_what_exists(benchmark: SimpleNamespace, path: Path) -> None:
    plan = benchmark.run.Plan.read(path)
    for name, spec in plan.trainings.items():
        Settings.from_env({k: v for k, v in plan.environment(name).items() if k.startswith("STVG_")})
        assert spec.get("recipe") in ("sft", "grpo", None)
        splits = {word.split("=")[0] for word in plan.worlds[plan.world(name)]["splits"].split()}
        assert "recipe" not in spec or spec.get("labels", "train") in splits
        if spec.get("recipe") == "grpo":
            assert set(benchmark.report.weights_of(spec)) <= set(REWARDS)
    for question in plan.questions:
        assert {name for pair in question["pairs"] for name in pair} <= set(plan.trainings)
    assert set(plan.also_on) <= set(plan.worlds)
    for world in plan.worlds.values():
        assert {"val", "test"} <= {word.split("=")[0] for word in world["splits"].split()}


def test_a_round_goes_on_from_the_model_that_answered(benchmark: SimpleNamespace) -> None:
    plan = benchmark.run.Plan.read(BENCHMARK / "plan_selected.yaml")
    commands = {task.result: " ".join(task.words) for task in benchmark.run.tasks(plan, ["dpo_100_2"], [1], "test")}
    results = [result for result in commands if result.startswith("1/")]
    first, second = (
        [f"1/{name}/{made}" for made in ("answers.txt", "rows.jsonl", "trained")] for name in ("dpo_100_1", "dpo_100_2")
    )
    assert results == [*first, *second, "1/dpo_100_2/test.jsonl"]
    assert "headroom --model OUTPUT/1/dpo_100_1/CHECKPOINT " in commands[second[0]]
    assert "select OUTPUT/1/dpo_100_2/answers.jsonl --for dpo" in commands[second[1]]
    assert commands[second[2]].startswith("swift rlhf RECIPES/sft.yaml --model OUTPUT/1/dpo_100_1/CHECKPOINT")
    assert "--dataset OUTPUT/1/dpo_100_2/rows.jsonl" in commands[second[2]]


def test_a_cell_differs_from_the_one_it_is_compared_with_in_one_thing(benchmark: SimpleNamespace) -> None:
    """Two GRPO trainings on the same clips differ only in the options that the plan names."""
    plan = benchmark.run.Plan.read()
    commands = {task.result: task.words for task in benchmark.run.tasks(plan, plan.trainings, [1], "test")}
    base, other = commands["1/grpo_100/trained"], commands["1/sft_grpo_100/trained"]
    assert [w for w in other if w not in base] == ["OUTPUT/1/sft_100/CHECKPOINT", "OUTPUT/1/sft_grpo_100"]


def cell(benchmark: SimpleNamespace, values: list[float]) -> Any:
    metrics = {name: np.array(values) for name in benchmark.report.METRICS}
    return benchmark.report.Cell(list(range(len(values))), metrics, len(values))


def test_differences_are_paired_by_clip_and_seed(benchmark: SimpleNamespace) -> None:
    cells = {
        ("a", 1): cell(benchmark, [0.1, 0.9]),
        ("b", 1): cell(benchmark, [0.0, 0.8]),
        ("a", 2): cell(benchmark, [0.5, 0.7]),
        ("b", 2): cell(benchmark, [0.2, 0.4]),
        ("a", 3): cell(benchmark, [1.0, 1.0]),  # b was not trained with it
    }
    found = benchmark.report.difference(cells, ("a", "b"), "m_vIoU")
    assert found["mean"] == pytest.approx(0.2)
    assert found["seeds"] == pytest.approx({"1": 0.1, "2": 0.3})
    assert found["clips"] == pytest.approx([0.2, 0.2]), "each clip has the same mean over the seeds"
    # Student's t for one degree of freedom is 12.706; the two seeds have a standard error of .1
    assert found["student"] == pytest.approx([0.2 - 1.2706, 0.2 + 1.2706], abs=1e-4)
    assert benchmark.report.difference(cells, ("a", "c"), "m_vIoU") is None


def test_headroom_is_ranked_against_gain(benchmark: SimpleNamespace) -> None:
    def point(better: float, gain: float, start: str, seed: int, cell: str = "grpo") -> dict[str, Any]:
        values = {"better": [better], "gain": [gain], "best - greedy": [better], "too wide": [-0.25 - gain]}
        values["too long"] = [0.5 - gain]
        return values | {"start": start, "seed": seed, "cell": cell}

    points = [point(0.1, 0.0, "a", 1), point(0.3, 0.2, "b", 1), point(0.2, 0.1, "b", 2), point(0.4, -0.1, "c", 1)]
    assert benchmark.report._correlation(points[:2], "better") == "too few starts"
    # ranks 1 3 2 4 against 2 4 3 1: 1 - 6 * (1 + 1 + 1 + 9) / (4 * 15)
    assert benchmark.report._correlation(points, "better") == "Spearman's rho -0.20 over 4 starts"
    lines = benchmark.report._headroom_lines([*points, point(0.1, 0.9, "a", 1, "variant")])
    assert lines[2] == "| a, 1 | +10.0 | +10.0 | -25.0 | +50.0 | +0.0 |"
    assert len(lines) == 2 + 4 + 3 + 4, "a variant of the rewards is no further start"


def test_joined_answers_are_compared_with_the_greedy_ones_of_the_same_model(
    benchmark: SimpleNamespace, tmp_path: Path
) -> None:
    """Two of three samples are right where the greedy answer is wrong by one second, or, on the other clip, exact."""
    (tmp_path / "plan.yaml").write_text(SMALL)
    plan = benchmark.run.Plan.read(tmp_path / "plan.yaml")
    known = {task.result: task for task in benchmark.run.tasks(plan, ["start"], [1, 2], "test", voting=3)}
    assert "--rows 1000000000 --samples 3 " in " ".join(known["2/start/test_3_samples.jsonl"].words)
    truths = [row_truth(row_id=name) for name in ("a", "b")]
    exact = truths[0].format.render(truths[0].answer)
    late = exact.replace("2 - 5", "3 - 5").replace("2. [20, 20, 60, 60], ", "")
    answers = {1: [late, exact], 2: [late, late]}  # greedy, of the two clips

    def write(result: str, text: str) -> None:
        (tmp_path / result).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / result).write_text(text)
        known[result].note(tmp_path).write_text(known[result].description)

    for seed, greedy in answers.items():
        sampled = benchmark.report.Sampled(truths, ["a.mp4", "b.mp4"], greedy, [[late, exact, exact]] * 2)
        write(f"{seed}/start/test_3_samples.jsonl", sampled.to_lines())
    lines = ({"response": exact, "stvg": truth.to_json()} for truth in truths)
    write("start/test.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    found = benchmark.report.report(plan, [1, 2], tmp_path, "test", 3)
    for rule in ("medoid", "median"):
        gain = found["voting"]["gains"]["start"][rule]["m_vIoU"]
        assert gain["seeds"] == pytest.approx({"1": 0.125, "2": 0.25}), "a greedy answer lacks one of four seconds"
        assert gain["mean"] == pytest.approx(0.1875)
    text = benchmark.report.as_markdown(found)
    assert "| 3 answers joined, minus the greedy answer, points | m_tIoU | m_vIoU | seeds, m_vIoU |" in text
    assert "| start, medoid | +18.8 [" in text
    assert text.count("+12.5, +25.0 |") == 2
    assert "voting" not in benchmark.report.report(plan, [1, 2], tmp_path, "test")


def test_training_times_of_interrupted_runs_are_not_taken(benchmark: SimpleNamespace, tmp_path: Path) -> None:
    def log(*steps: tuple[int, str]) -> float | None:
        lines = [{"loss": 1.0, "global_step/max_steps": f"{k}/9", "elapsed_time": time} for k, time in steps]
        lines.append({"train_runtime": 70.5})  # type: ignore[dict-item]
        (tmp_path / "logging.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        seconds: float | None = benchmark.report.train_seconds(tmp_path)
        return seconds

    assert log((3, "20s"), (6, "50s"), (9, "1m 10s")) == 70.5
    assert log((3, "50s"), (6, "10s"), (9, "20s")) is None, "the clock began anew"
    assert log((3, "20s"), (6, "50s"), (6, "1m 10s")) is None, "a step was done twice"


SMALL = """
seeds: [1]
headroom: --rows 4 --samples 2 --temperature 0.8 --max_batch_size 8 --max_new_tokens 72 --torch_dtype float32
worlds:
  easy: {args: --difficulty easy --fps 2, splits: tight=64@0.7 train=8 test=6}
  light: {args: --difficulty easy --fps 2 --background 200 220, splits: test=2}
also_on: [light]
trainings:
  start: {}
  tight: {recipe: sft, labels: tight, args: --max_steps 2}
  grpo:
    from: tight
    recipe: grpo
    args: --max_steps 2 --save_steps 1 --num_generations 2 --per_device_train_batch_size 4
questions:
  - {ask: does it run, pairs: [[grpo, tight]]}
"""


@pytest.mark.swift
@pytest.mark.long
def test_the_benchmark_runs_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(SMALL)
    env = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}

    def python(script: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(BENCHMARK / script), "--plan", "plan.yaml", "--output", "out", *words]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=500)

    done = python("run.py")
    logs = "".join(path.read_text()[-1500:] for path in tmp_path.rglob("*.log"))
    assert done.returncode == 0, done.stderr[-2000:] + logs
    assert python("run.py", "--print").stdout == ""
    voted = python("run.py", "start", "--voting", "2")
    assert voted.returncode == 0, voted.stderr[-2000:]
    assert "| start, median | " in python("report.py", "--voting", "2").stdout
    # as if it had been interrupted: the last training goes on from its last checkpoint, which is its end
    (tmp_path / "out/1/grpo/trained").unlink()
    assert "checkpoint-2 --resume_from_checkpoint" in python("run.py", "--print").stdout
    reported = python("report.py", "--figure", "figure.png", "--json", "found.json")
    assert reported.returncode == 0, reported.stderr[-2000:]
    assert "| grpo - tight |" in reported.stdout
    assert "| m_tIoU / m_vIoU on other clips | light |" in reported.stdout
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")

    broken = (tmp_path / "plan.yaml").read_text().replace("--num_generations 2", "--num_generations 3")
    (tmp_path / "plan.yaml").write_text(broken)
    for script in ("run.py", "report.py"):
        stale = python(script)
        assert stale.returncode == 1
        assert "out/1/grpo" in stale.stderr
    shutil.rmtree(tmp_path / "out/1/grpo")
    failed = python("run.py", "grpo")
    assert failed.returncode == 1
    assert "1/grpo/trained: the command ended with status 1; see" in failed.stderr


STEP_COST = BENCHMARK.parent / "step_cost"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # importing torch warns
@pytest.mark.parametrize(("shape", "billions"), [("3b", 3.755), ("7b", 8.292)])  # as the weights on the model hubs
def test_the_shapes_of_the_step_cost_are_the_real_ones(tmp_path: Path, shape: str, billions: float) -> None:
    import torch
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    configuration = runpy.run_path(str(STEP_COST / "run.py"))["configuration"]
    build(tmp_path / "tiny", TinyConfig())
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(configuration(shape, AutoConfig.from_pretrained(tmp_path / "tiny")))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(billions, abs=5e-4)


@pytest.mark.swift
@pytest.mark.long
def test_the_cost_of_a_step_is_split(tmp_path: Path) -> None:
    words = ["--completion", "8", "--generations", "4", "--seconds", "2", "--steps", "1", "--output", "out"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}
    command = [sys.executable, str(STEP_COST / "run.py"), *words]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=500)
    logs = "".join(path.read_text()[-1500:] for path in tmp_path.rglob("log.txt"))
    assert done.returncode == 0, done.stderr[-2000:] + logs
    ours, stock = json.loads((tmp_path / "out/report.json").read_text())["runs"]
    for found in (ours, stock):
        assert min(found["seconds"][name] for name in ("videos", "generation", "log-probabilities", "training")) > 0
        assert sum(found["seconds"].values()) == pytest.approx(found["step_s"])
