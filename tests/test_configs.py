"""The recipes of configs/: their names exist, ms-swift's argument classes accept them, and a tiny model runs them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from swift_stvg.recipes.rules import options_of
from swift_stvg.rewards.functions import REWARDS
from swift_stvg.settings import PREFIX, Settings
from swift_stvg.sources import SOURCES
from tests import running
from tests.helpers import hcstvg_entry
from tests.recipes import ROOT, RUNS, runner
from tests.running import SIZES, json_lines, swift

TRAININGS = sorted({run["trained_as"] for run in RUNS.values()})
TRIED = "cold_start"
"""This run is trained for two steps, the others with `--all`. All options are always read."""
NOT_OURS = {"NPROC_PER_NODE", "NNODES", "MASTER_PORT", "CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF"}
NEEDS_GPU = ("deepspeed", "attn_impl", "padding_free", "packing", "use_vllm", "vllm_mode", "sleep_level")
ON_CPU = {
    "model_type": "qwen2_5_vl",
    "dataset": "stvg_synthetic:train",
    "torch_dtype": "float32",
    "use_cpu": "true",
    "check_model": "false",
    "report_to": "none",
    "max_steps": "2",
    "save_strategy": "no",
    "dataloader_num_workers": "1",
}
SMALL_GRPO = {"per_device_train_batch_size": "8", "gradient_accumulation_steps": "1", "max_completion_length": "24"}
SMALL_SFT = {"per_device_train_batch_size": "2", "gradient_accumulation_steps": "1"}


@pytest.mark.parametrize("name", RUNS)
def test_names_exist(name: str) -> None:
    run = RUNS[name]
    known = {"what", "base", "env", "args", "without", "test", "like", "from", "trained_as", "configs"}
    assert set(run) <= known
    assert set(run.get("without", [])) <= set(yaml.safe_load((ROOT / f"configs/{run['base']}.yaml").read_text()))
    assert run.get("from", "cold_start") in RUNS
    values = runner.values(run)
    selected = values["dataset"] == [f"output/selected/{values.get('rlhf_type', ['sft'])[0]}.jsonl"]
    for dataset in (*([] if selected else values["dataset"]), run["test"]):
        source, _, split = dataset.partition(":")
        assert split in SOURCES[source].splits
    env = runner.environment(run, {})
    assert {key for key in env if not key.startswith(PREFIX)} <= NOT_OURS
    Settings.from_env({key: value for key, value in env.items() if key.startswith(PREFIX)})
    assert values["external_plugins"] == ["swift_stvg"]
    accumulated = int(values["gradient_accumulation_steps"][0])
    processes = int(env["NPROC_PER_NODE"]) * int(env.get("NNODES", 1))
    rows = processes * int(values["per_device_train_batch_size"][0])
    if run["base"] == "sft":
        packed = 4 if "packing" in values else 1
        assert rows * accumulated * packed == (16 if "rlhf_type" in values else 128)
    else:
        assert set(values["reward_funcs"]) <= set(REWARDS)
        assert len(values["reward_funcs"]) == len(values["reward_weights"])
        assert set(map(float, values["reward_weights"])) <= {0, 0.2, 0.5, 1}
        completions = 64 if name == "objects_hcstvg_v2" else 1024  # 8 prompts, or 128, x 8 rollouts for each update
        assert completions <= rows * accumulated <= completions * 1.04
        generated = int(values.get("steps_per_generation", [accumulated])[0])
        assert accumulated % generated == 0 or generated % accumulated == 0
        assert rows * generated % int(values["num_generations"][0]) == 0
        lengths = int(values["max_length"][0]) + int(values["max_completion_length"][0])
        assert int(values["vllm_max_model_len"][0]) >= lengths


def test_the_inferred_run_differs_in_what_it_says() -> None:
    """It differs in nothing else, so that a comparison with our run shows the effect of these options."""
    ours, inferred = (runner.values(RUNS[name]) for name in ("grpo_hcstvg_v1", "grpo_verl_defaults"))
    assert {name: value for name, value in inferred.items() if ours.get(name) != value} == {
        "beta": ["0.01"],
        "lr_scheduler_type": ["constant"],
        "warmup_ratio": ["0"],
        "steps_per_generation": ["128"],  # 4 updates of 32 micro-batches
        "epsilon_high": ["0.3"],
        "delta": ["3"],
    }
    assert "an inference" in RUNS["grpo_verl_defaults"]["what"]


@pytest.mark.parametrize("name", ["grpo", "sft", "infer"])
def test_lists_hold_text(name: str) -> None:
    """ms-swift ends with a TypeError on numbers in a YAML list."""
    recipe = yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())
    assert all(isinstance(word, str) for value in recipe.values() if isinstance(value, list) for word in value)


CHECK = """
import json, sys
from dataclasses import fields
from swift.arguments import InferArguments, RLHFArguments, RolloutArguments, SftArguments
from swift.utils import parse_args

classes = {"rlhf": RLHFArguments, "sft": SftArguments, "infer": InferArguments, "rollout": RolloutArguments}
for base, names, argv in json.load(open(sys.argv[1])):
    cls = classes[base]
    unknown = set(names) - {field.name for field in fields(cls)}
    assert not unknown, (base, unknown)
    if not argv:
        print("known", base, len(names))
        continue
    args, rest = parse_args(cls, argv)
    assert not rest, rest
    print("ok", base, getattr(args, "learning_rate", None), getattr(args, "reward_funcs", None))
"""


@pytest.mark.swift
@pytest.mark.parametrize("version", ["installed", pytest.param("4.5.2", marks=pytest.mark.long)])
def test_argument_classes_take_them(version: str, tmp_path: Path, tiny: Path, request: pytest.FixtureRequest) -> None:
    """Every run and the rollout server. Values that need a GPU are replaced; names of options are not."""
    older = {} if version == "installed" else {"PYTHONPATH": str(request.getfixturevalue("ms_swift_4_5"))}
    cases = []
    for each in [*RUNS.values(), {"base": "infer", "configs": ROOT / "configs"}]:
        values = runner.values(each)
        kept = {name: value for name, value in values.items() if name not in NEEDS_GPU and "server" not in name}
        kept |= {"model": [str(tiny)], "model_type": ["qwen2_5_vl"], "torch_dtype": ["float32"]}
        kept |= (
            {"report_to": ["none"], "check_model": ["false"], "use_cpu": ["true"]} if each["base"] != "infer" else {}
        )
        kept |= {"teacher_model": [str(tiny)]} if "teacher_model" in kept else {}
        if each["base"] != "infer":
            kept["output_dir"] = [str(tmp_path / "out")]
        argv = [word for name, value in kept.items() for word in (f"--{name}", *value)]
        cases.append(("rlhf" if "rlhf_type" in values else each["base"], list(values), argv))
    (rollout,) = re.findall(r"swift rollout (.*\n.*)", (ROOT / "configs/runs.yaml").read_text())
    cases.append(("rollout", re.findall(r"--(\w+)", rollout), []))
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    words = [sys.executable, "-c", CHECK, str(tmp_path / "cases.json")]
    printed = running.run(words, tmp_path, older)
    assert printed.count("ok rlhf") == sum("rlhf_type" in runner.values(each) for each in RUNS.values())
    assert printed.count("ok infer") == 1
    assert "known rollout 5" in printed


def test_presets_exist() -> None:
    spec = importlib.util.find_spec("swift")
    assert spec is not None
    assert spec.origin is not None
    for run in RUNS.values():
        for preset in runner.values(run).get("deepspeed", []):
            assert (Path(spec.origin).parent / f"config/{preset}.json").is_file()


@pytest.fixture(scope="session")
def tiny(workspace: Path) -> Path:
    return workspace / "tiny"


def without_gpu(folder: Path, **more: str) -> Path:
    """The recipes without the options that need a GPU, and with more options."""
    folder.mkdir()
    for path in (ROOT / "configs").glob("*.yaml"):
        recipe = yaml.safe_load(path.read_text())
        if path.stem != "runs":
            recipe = {key: value for key, value in recipe.items() if key not in NEEDS_GPU} | more
        (folder / path.name).write_text(yaml.safe_dump(recipe))
    return folder


@pytest.mark.swift
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == TRIED else pytest.mark.long)
        for name in TRAININGS  # test_backbones.py runs the other templates, and rows without padding
        if name not in ("rollout_server", "two_nodes", "padding_free", "packed_sft", "grpo_from_cold_start")
        and "--template" not in RUNS[name].get("args", "")
        and "--rlhf_type" not in RUNS[name].get("args", "")  # test_select.py trains on selected rows
        and name != "best_of_k"
    ],
)
def test_two_steps_with_a_tiny_model(name: str, workspace: Path, tiny: Path, cold_start: Path, tmp_path: Path) -> None:
    """The recipe's file and options without those that need a GPU, and with small counts.

    GRPO starts from a trained model. A random model may write the placeholder token of a video, and then the Qwen
    models of transformers end with an error.
    """
    run = runner.runs(without_gpu(tmp_path / "configs"))[name]
    output = tmp_path / name / "train"
    small = ON_CPU | (
        {"model": str(cold_start)} | SMALL_GRPO if run["base"] == "grpo" else {"model": str(tiny)} | SMALL_SFT
    )
    values = runner.values(run)
    if "steps_per_generation" in values:  # several generations for an update, or several updates for a generation
        is_less = int(values["steps_per_generation"][0]) < int(values["gradient_accumulation_steps"][0])
        small |= {"gradient_accumulation_steps": "2" if is_less else "1"}
        small |= {"steps_per_generation": "1" if is_less else "2"}
    more = [word for option, value in small.items() for word in (f"--{option}", *value.split())]
    task = runner.train_task(name, {name: run}, more)
    _, command, path, *rest = task.command(tmp_path)
    env = dict(task.env) | SIZES | {"STVG_DATA_ROOT": str(workspace / "data"), "NPROC_PER_NODE": "1"}
    env.pop("PYTORCH_CUDA_ALLOC_CONF")
    printed = swift(command, {}, tmp_path, env, words=[path, *rest])
    logged = [line for line in json_lines(output / "logging.jsonl") if "loss" in line]
    assert len(logged) >= 2, printed[-2000:]
    if run["base"] == "grpo":
        assert {f"rewards/{c}/mean" for c in ("StvgFormat", "StvgTemporal", "m_vIoU")} <= set(logged[0])
        assert ("rewards/StvgThink/mean" in logged[0]) == (name != "no_think_boxes")


@pytest.mark.slow
def test_the_runner_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in RUNS:
        monkeypatch.setattr(sys, "argv", ["run.py", name, "--print", "--output", "out"])
        assert runner.main() == 0
        data, *before, train, answers, report = capsys.readouterr().out.splitlines()
        assert f"--oracle {RUNS[name]['test']}" in data
        assert len(before) == ("from" in RUNS[name])
        assert f"out/{RUNS[name]['trained_as']}/train" in train
        assert f"--val_dataset {RUNS[name]['test']}" in answers
        assert f"--template {runner.values(RUNS[name])['template'][0]} " in answers
        assert f"--out out/{name}/report.txt" in report


def test_answers_are_those_of_the_model_that_was_trained() -> None:
    def answers(name: str, *more: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = options_of(runner.tasks(name, RUNS, more)[-2].words)
        return found

    lora = answers("lora_24gb")
    assert lora["model"] == ["Qwen/Qwen2.5-VL-3B-Instruct"], "its own base, not the recipe's"
    assert lora["adapters"] == ["OUTPUT/lora_24gb/train/CHECKPOINT"]
    assert "adapters" not in answers("grpo_hcstvg_v1")
    given = ["--tuner_type", "lora", "--template", "stvg_qwen3_vl", "--max_completion_length", "99", "--model", "else"]
    more = answers("grpo_hcstvg_v1", *given)
    assert [more[name] for name in ("model", "template", "max_new_tokens")] == [["else"], ["stvg_qwen3_vl"], ["99"]]
    assert more["adapters"] == ["OUTPUT/grpo_hcstvg_v1/train/CHECKPOINT"]


@pytest.mark.parametrize(
    ("name", "reference"), [("grpo_hcstvg_v1", "Qwen/Qwen2.5-VL-7B-Instruct"), ("cold_start", None)]
)
def test_a_resumed_training_goes_on_from_the_last_checkpoint_that_is_whole(
    name: str, reference: str | None, tmp_path: Path
) -> None:
    """Its KL term still refers to the first model."""
    folder = tmp_path / name / "train"
    for number in (5, 20, 100):
        (folder / f"checkpoint-{number}").mkdir(parents=True)
    for number in (5, 20):
        (folder / f"checkpoint-{number}/trainer_state.json").write_text("{}")
    words = runner.train_task(name, RUNS).command(tmp_path)
    last = str(folder / "checkpoint-20")
    found = options_of(words)
    assert (found["model"], found["resume_from_checkpoint"]) == ([last], [last])
    assert found.get("ref_model") == (reference and [reference])
    (folder / "checkpoint-20/adapter_config.json").write_text("{}")
    found = options_of(runner.train_task(name, RUNS).command(tmp_path))
    assert "model" not in found
    assert "ref_model" not in found, "ms-swift refuses it for LoRA"


def test_settings_outside_do_not_turn_a_run_into_another() -> None:
    run = RUNS["no_think_boxes"]
    with pytest.raises(runner.RunnerError, match=r"STVG_THINK=true is set .* needs false"):
        runner.environment(run, {"STVG_THINK": "true"})
    given = runner.environment(
        run, {"STVG_THINK": "false", "STVG_FPS": "1", "STVG_DATA_ROOT": "/x", "NPROC_PER_NODE": "4"}
    )
    assert (given["STVG_FPS"], given["NPROC_PER_NODE"]) == ("1", "4")
    assert "STVG_DATA_ROOT" not in given, "it says where things are, not what is trained"


def test_several_nodes_train_and_one_does_the_rest() -> None:
    data, train, *rest = runner.tasks("two_nodes", RUNS)
    assert train.env["NNODES"] == "2"
    assert all("NNODES" not in task.env for task in (data, *rest)), "they would wait for the other node"


def test_headers_train_what_the_runs_do() -> None:
    """The commands at the head of the SFT recipe are the runs of runs.yaml."""
    header = (ROOT / "configs/sft.yaml").read_text()
    found = re.findall(r"/data (STVG_\w+)=(\S+) swift sft configs/sft\.yaml ?(.*)", header)
    for (setting, value, args), name in zip(found, ("sft_hcstvg_v1", "cold_start"), strict=True):
        assert runner.as_texts(RUNS[name]["env"]) == {setting: value}
        assert args == RUNS[name].get("args", "")


@pytest.mark.swift
@pytest.mark.long
def test_the_runner_from_annotations_to_report(workspace: Path, cold_start: Path, tmp_path: Path) -> None:
    """All steps of one run on clips in HC-STVG's format. A second run finds all steps done."""
    root = tmp_path / "data/hc-stvg"
    root.mkdir(parents=True)
    (root / "v1_video").symlink_to(workspace / "data/stvg_synthetic/videos")
    for split in ("train", "test"):
        lines = json_lines(workspace / f"data/stvg_synthetic/{split}.jsonl")
        annotations = dict(hcstvg_entry(line) for line in lines)
        (root / f"{split}.json").write_text(json.dumps(annotations))
    configs = without_gpu(tmp_path / "configs", model_type="qwen2_5_vl", torch_dtype="float32")
    small = ON_CPU | SMALL_GRPO | {"model": str(cold_start), "save_strategy": "steps", "save_steps": "2"}
    small = {name: value for name, value in small.items() if name not in ("dataset", "model_type", "torch_dtype")}
    more = [word for option, value in small.items() for word in (f"--{option}", *value.split())]
    words = [
        sys.executable,
        str(ROOT / "examples/paper/run.py"),
        "grpo_hcstvg_v1",
        "--configs",
        str(configs),
        *more,
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    env |= SIZES | {"STVG_DATA_ROOT": str(tmp_path / "data"), "NPROC_PER_NODE": "1", "OMP_NUM_THREADS": "1"}
    env |= {"PYTORCH_CUDA_ALLOC_CONF": "", "PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "8 samples of 8 videos" in done.stdout
    assert "STVG-o1" in done.stdout
    assert (tmp_path / "output/grpo_hcstvg_v1/exact.txt").is_file()
    again = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert again.stdout.count("done before") == 4
    assert "8 samples of 8 videos" in again.stdout
    other = subprocess.run([*words, "--learning_rate", "9"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert other.returncode == 1, "what another command made is not passed off as this one's"
    assert (
        "output/grpo_hcstvg_v1/train output/grpo_hcstvg_v1/answers.jsonl output/grpo_hcstvg_v1/report.txt"
        in other.stderr
    )
