"""`swift-stvg recipe`: ms-swift's own rules, without a GPU, and the arithmetic of memory."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swift_stvg.cli import main
from swift_stvg.errors import DataError
from swift_stvg.recipes import footprint
from swift_stvg.recipes.footprint import MODEL_SHAPES, memory, peaks, shape_of, times
from swift_stvg.recipes.host import by_name_here
from swift_stvg.recipes.rules import FSDP2, OPTIONS, PRESETS, Recipe, batches, faults, zero_stage
from swift_stvg.synthetic.tiny import TinyConfig, build
from tests.recipes import RUNS, runner
from tests.running import run

ROOT = Path(__file__).parent.parent
GRPO, SFT = ROOT / "configs/grpo.yaml", ROOT / "configs/sft.yaml"


def of_run(name: str) -> Recipe:
    return Recipe(runner.values(RUNS[name]), runner.environment(RUNS[name], {}))


@pytest.mark.parametrize("processes", [1, 8, 16])
@pytest.mark.parametrize("name", RUNS)
def test_every_run_is_taken(name: str, processes: int) -> None:
    recipe = of_run(name)
    assert faults(recipe, processes) == []
    assert faults(recipe, recipe.processes) == []
    found = footprint.report(recipe, processes, 80.0)
    assert bool(found["memory"]) == (recipe.text("model") in MODEL_SHAPES)
    assert all(0 <= part["gb"] < 10_000 for part in found["memory"])
    assert len(batches(recipe, processes)) == 1 + recipe.grpo


def test_presets_are_those_of_ms_swift() -> None:
    spec = importlib.util.find_spec("swift")
    assert spec is not None
    assert spec.origin is not None
    config = Path(spec.origin).parent / "config"
    assert {path.stem for path in config.glob("zero*.json")} == set(PRESETS)
    content = json.loads((config / "fsdp2.json").read_text())
    ours = json.loads((ROOT / "configs/fsdp2.json").read_text())
    assert (content["fsdp"], content["fsdp_config"]["state_dict_type"]) == (
        FSDP2["fsdp"],
        FSDP2["fsdp_config"]["state_dict_type"],
    )
    assert ours == {
        "fsdp": content["fsdp"],
        "fsdp_config": content["fsdp_config"] | {"state_dict_type": "FULL_STATE_DICT"},
    }


@pytest.mark.parametrize(
    ("path", "processes", "update"),
    [
        (GRPO, 1, "= 128 completions, 16 prompts x 8"),
        (GRPO, 8, "= 1024 completions, 128 prompts x 8"),
        (GRPO, 16, "= 2048 completions, 256 prompts x 8"),
        (SFT, 1, "= 16 rows"),
        (SFT, 8, "= 128 rows"),
        (SFT, 16, "= 256 rows"),
    ],
)
def test_batches(path: Path, processes: int, update: str) -> None:
    assert batches(Recipe.read(path), processes)[0].endswith(update)


def test_other_ways_to_say_a_batch() -> None:
    words = ["--per_device_train_batch_size", "2", "--generation_batch_size=64", "--num_generations", "4"]
    recipe = Recipe.read(GRPO, [*words, "--gradient_accumulation_steps", "2"])
    update, generation = batches(recipe, 8)
    assert update == "an update: 8 processes x 2 x 2 = 32 completions, 8 prompts x 4"
    assert generation == "a generation: 8 processes x 2 x 4 = 64 completions, 16 prompts x 4"
    assert Recipe({"rlhf_type": ["grpo"]}, {}).accumulation(2) == 1
    plain = Recipe({"per_device_train_batch_size": ["3"]}, {})
    assert [plain.accumulation(processes) for processes in (1, 2, 8)] == [6, 3, 1], "ms-swift's default: 16 rows"


def test_what_is_set_outside_counts(tmp_path: Path) -> None:
    """As in ms-swift, a variable of the environment replaces the recipe's ENV."""
    outside = {"NPROC_PER_NODE": "4", "NNODES": "2", "STVG_MAX_FRAMES": "64", "HOME": "/"}
    recipe = Recipe.read(GRPO, outside=outside)
    assert recipe.processes == 8
    assert (recipe.settings.max_frames, "HOME" in recipe.env) == (64, False)
    assert faults(Recipe.read(GRPO, outside={"STVG_FSP": "1"}), 8)[0].startswith("unknown setting STVG_FSP")


WRONG = [
    (GRPO, "--vllm_gpu_memory_utilisation 0.4", 8, "vllm_gpu_memory_utilisation is no option of ms-swift"),
    (GRPO, "--num_generations 7", 8, "is not a multiple of num_generations (7)"),
    (
        GRPO,
        "--num_generations 6 --gradient_accumulation_steps 1",
        1,
        "1 processes x 4 x 1 = 4 completions is not a multiple",
    ),
    (GRPO, "--num_generations 1", 8, "must be at least 2"),
    (GRPO, "--generation_batch_size 96 --steps_per_generation 2", 8, "is 96, but 2 passes of 8 x 4 are 64"),
    (GRPO, "--generation_batch_size 40", 8, "is 40, but 1 passes of 8 x 4 are 32"),
    (GRPO, "--reward_weights 1 1", 8, "reward_weights has 2 entries, reward_funcs 7"),
    (GRPO, "--truncation_strategy raise", 8, "truncation_strategy must be left or delete"),
    (GRPO, "--use_vllm false", 8, "use_vllm and vllm_mode belong together"),
    (GRPO, "--vllm_mode server", 8, "needs vllm_server_host"),
    (GRPO, "--async_generate true", 8, "async_generate needs vllm_mode server"),
    (GRPO, "--vllm_mode colocated", 8, "must be colocate or server"),
    (GRPO, "--vllm_max_model_len 6143", 8, "less than max_length + max_completion_length = 6144"),
    (GRPO, "--vllm_tensor_parallel_size 3", 8, "must divide the 8 processes"),
    (GRPO, "--vllm_gpu_memory_utilization 40", 8, "must be a share of the GPU"),
    (GRPO, "--deepspeed zero4", 8, "neither a preset"),
    (GRPO, "--fsdp fsdp2", 8, "deepspeed and fsdp exclude each other"),
    (GRPO, "--device_map auto", 8, "deepspeed and device_map exclude each other"),
    (SFT, "--deepspeed= --fsdp fsdp2 --device_map auto", 8, "fsdp and device_map exclude each other"),
    (SFT, "--deepspeed= --fsdp fsdp3", 8, "neither fsdp2 nor a file with fsdp_config"),
    (SFT, "--deepspeed= --fsdp []", 8, "neither fsdp2 nor a file with fsdp_config"),
    (SFT, "--deepspeed= --fsdp fsdp2 --save_only_model true", 8, "needs state_dict_type FULL_STATE_DICT"),
    (GRPO, '--deepspeed= --fsdp {"fsdp_config":{"fsdp_version":1}}', 8, "GRPO needs FSDP2"),
    (GRPO, "--padding_free true --attn_impl sdpa", 8, "padding_free needs attn_impl"),
    (GRPO, "--tuner_type lora --ref_model x", 8, "leave ref_model out for LoRA"),
    (GRPO, "--template stvg_qwen3_vl", 8, "stvg_qwen3_vl needs STVG_COORDS=norm1000, got pixel"),
    (SFT, "--use_vllm true", 8, "SFT has no rollouts"),
    (SFT, "--packing true --attn_impl flash_attention_2 --lazy_tokenize true", 8, "lazy_tokenize exclude"),
]
"""Recipe, options that override it, processes, expected text."""


@pytest.mark.parametrize(("path", "words", "processes", "message"), WRONG)
def test_what_ms_swift_refuses(path: Path, words: str, processes: int, message: str) -> None:
    assert any(message in fault for fault in faults(Recipe.read(path, words.split()), processes))


AGREES = """
import json, sys
from swift.arguments import RLHFArguments, SftArguments
from swift.utils import parse_args

verdicts = []
for grpo, words in json.load(open(sys.argv[1])):
    try:
        unknown = parse_args(RLHFArguments if grpo else SftArguments, words)[1]
    except (ValueError, AssertionError) as error:
        verdicts.append(str(error))
    else:
        verdicts.append(str(unknown) if unknown else None)
print("VERDICTS", json.dumps(verdicts))
"""
COMMON = (
    "--model MODEL --model_type qwen2_5_vl --template qwen2_5_vl --dataset x --torch_dtype float32 --use_cpu true "
    "--check_model false"
)
OF_GRPO = f"{COMMON} --rlhf_type grpo --reward_funcs format --num_generations 4 --per_device_train_batch_size 4"
CASES = [
    (OF_GRPO, 0, "as it is"),
    (f"{COMMON} --max_length 9", 0, "as it is"),
    (f"{OF_GRPO} --num_generations 3", 1, "4 is no multiple of 3"),
    (f"{OF_GRPO} --num_generations 16", 1, "4 of 16"),
    (f"{OF_GRPO} --num_generations 16 --gradient_accumulation_steps 4", 0, "a group over four passes"),
    (f"{OF_GRPO} --num_generations 16 --steps_per_generation 2", 1, "8 of 16"),
    (f"{OF_GRPO} --generation_batch_size 8 --steps_per_generation 2", 0, "both, which agree"),
    (f"{OF_GRPO} --generation_batch_size 16 --steps_per_generation 2", 1, "both, which do not"),
    (f"{OF_GRPO} --generation_batch_size 10", 1, "no multiple of a pass, nor of 4"),
    (f"{OF_GRPO} --truncation_strategy raise", None, "4.5 refuses, 4.6 samples anew"),
    (f"{OF_GRPO} --vllm_mode colocate", 1, "without use_vllm"),
    (f"{OF_GRPO} --use_vllm true", 1, "without vllm_mode"),
    (f"{OF_GRPO} --padding_free true", 1, "without flash attention"),
    (f"{COMMON} --packing true", 1, "without flash attention"),
    (f"{OF_GRPO} --vllm_gpu_memory_utilisation 0.4", 1, "no such option"),
    (f"{OF_GRPO} --ref_model MODEL --tuner_type lora", 1, "ref_model"),
]
"""Options, whether there is a fault (None: not compared), reason."""


@pytest.mark.swift
def test_ms_swift_agrees(workspace: Path, tmp_path: Path) -> None:
    """ms-swift's argument classes refuse the recipes with faults, and accept the others."""
    wanted = [
        case.replace("MODEL", str(workspace / "tiny")).split() for case, at_fault, _ in CASES if at_fault is not None
    ]
    (tmp_path / "cases.json").write_text(json.dumps([("--rlhf_type" in words, words) for words in wanted]))
    words = [sys.executable, "-c", AGREES, str(tmp_path / "cases.json")]
    (line,) = [line for line in run(words, tmp_path, {}).splitlines() if line.startswith("VERDICTS")]
    verdicts: list[str | None] = json.loads(line.removeprefix("VERDICTS"))
    from swift_stvg.recipes.rules import options_of

    for case, verdict in zip([case for case in CASES if case[1] is not None], verdicts, strict=True):
        assert (verdict is not None) == bool(case[1]), (case, verdict)
        assert bool(faults(Recipe(options_of(case[0].split()), {}), 1)) == bool(case[1]), case


NAMES = """
import json
from dataclasses import fields
from swift.arguments import RLHFArguments, SftArguments
print("NAMES", json.dumps([field.name for kind in (RLHFArguments, SftArguments) for field in fields(kind)]))
"""


@pytest.mark.swift
@pytest.mark.parametrize("version", ["installed", pytest.param("4.5.2", marks=pytest.mark.long)])
def test_options_are_known_to_ms_swift(version: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """If the installed one has others too, options.txt needs them, or they are too new for the older one."""
    older = {} if version == "installed" else {"PYTHONPATH": str(request.getfixturevalue("ms_swift_4_5"))}
    (line,) = [line for line in run([sys.executable, "-c", NAMES], tmp_path, older).splitlines() if "NAMES" in line]
    names = set(json.loads(line.removeprefix("NAMES")))
    assert names >= OPTIONS
    assert all(name.startswith("decision_") for name in names - OPTIONS), "of ms-swift 4.6, for other tasks"


def test_zero_stages(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}')
    stages = {name: zero_stage(Recipe({"deepspeed": [name]}, {})) for name in (*PRESETS, str(own))}
    assert stages.pop(str(own)) == (2, True)
    assert stages == {name: (int(name[4]), "offload" in name) for name in PRESETS}
    assert zero_stage(Recipe({}, {})) == (0, False)
    for fsdp, stage in {
        "fsdp2": (3, False),
        str(ROOT / "configs/fsdp2.json"): (3, False),
        '{"fsdp": "full_shard offload", "fsdp_config": {"reshard_after_forward": false}}': (2, True),
    }.items():
        assert zero_stage(Recipe({"fsdp": [fsdp]}, {})) == stage
        assert faults(Recipe({"fsdp": [fsdp]}, {}), 8) == []
    for content in ("[]", "{}", "{", '{"zero_optimization": {"stage": "x"}}'):
        own.write_text(content)
        with pytest.raises(DataError, match="neither a preset"):
            zero_stage(Recipe({"deepspeed": [str(own)]}, {}))


@pytest.mark.parametrize(
    ("name", "gpu_gb", "training", "generating"),
    [
        ("grpo_hcstvg_v1", 80, 44, 56),
        ("grpo_verl_defaults", 80, 60, 72),
        ("lora_80gb", 80, 44, 60),
        ("lora_24gb", 24, 14.4, 21.8),
    ],
)
def test_memory_is_what_the_recipes_say(name: str, gpu_gb: float, training: float, generating: float) -> None:
    """The comments of the recipes hold the same figures, which were computed by hand."""
    recipe = of_run(name)
    shape = shape_of(recipe.text("model"))
    assert shape is not None
    found = peaks(memory(recipe, shape, recipe.processes, gpu_gb))
    assert found["training"] == pytest.approx(training, abs=0.8)
    assert found["generating"] == pytest.approx(generating, abs=0.6)
    text = GRPO.read_text() + (ROOT / "configs/runs.yaml").read_text()
    assert all(f"{figure:g} GB" in text for figure in (training, generating))


def test_memory_under_zero_and_what_changes_it() -> None:
    shape = MODEL_SHAPES["Qwen/Qwen2.5-VL-7B-Instruct"]

    def parts(*words: str, processes: int = 8) -> dict[str, float]:
        recipe = Recipe.read(GRPO, words)
        return {part.what: part.gb for part in memory(recipe, shape, processes, 80)}

    weights = 8.292 * 2
    names = ("weights", "gradients", "Adam's state")
    for deepspeed, expected in {
        "zero1": (weights, weights, 6 * weights / 8),
        "zero2": (weights, weights / 8, 6 * weights / 8),
        "zero3": (weights / 8, weights / 8, 6 * weights / 8),
        "zero3_offload": (weights / 8, weights / 8, 0),
        "zero0": (weights, weights, 2 * weights),
    }.items():
        found = parts("--deepspeed", deepspeed)
        assert [found[name] for name in names] == pytest.approx(expected), deepspeed
    assert parts("--beta", "0").keys() == parts().keys() - {"reference model"}
    assert parts(processes=16)["weights"] == pytest.approx(weights / 16)
    halved = parts("--steps_per_generation", "16")["pixels of a generation, at most"]
    assert halved == pytest.approx(parts()["pixels of a generation, at most"] / 2)
    awake = Recipe.read(GRPO, ["--sleep_level", "0"])
    assert peaks(memory(awake, shape, 8, 80))["training"] == pytest.approx(43.7 + 32, abs=0.1)


def test_the_shape_of_a_local_model(workspace: Path, tmp_path: Path) -> None:
    shape = shape_of(str(workspace / "tiny"))
    assert shape is not None
    config = json.loads((workspace / "tiny/config.json").read_text())["text_config"]
    assert (shape.layers, shape.hidden, shape.vocabulary) == (
        config["num_hidden_layers"],
        config["hidden_size"],
        config["vocab_size"],
    )
    assert 0.5e6 < shape.parameters < 5e6
    assert shape_of("someone/else") is None
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match="not the configuration of a Qwen-VL model"):
        shape_of(str(tmp_path))


@pytest.mark.filterwarnings("default")  # importing torch warns
def test_the_shape_of_a_model_of_experts(tmp_path: Path) -> None:
    """A token uses 2 of 4 experts; a LoRA has the shared expert only, where there is one."""
    config = TinyConfig()
    unused = config.layers * 2 * 3 * config.hidden * (3 * config.hidden // 4)
    for name, inner in (("qwen3_vl_moe", 0), ("qwen3_5_moe", config.hidden)):
        build(tmp_path / name, TinyConfig(architecture=name))
        shape = shape_of(str(tmp_path / name))
        assert shape is not None
        assert (shape.inner, shape.idle) == (inner, unused)
        without = replace(shape, inner=0)
        assert shape.lora(8) - without.lora(8) == (8 * 3 * (config.hidden + inner) * config.layers if inner else 0)
        (_, text) = times(Recipe({}, {}), shape, 1)[-1]
        assert f"{(shape.parameters - unused) / 1e9:.2f} B operations" in text


def test_times_say_how_they_are_known() -> None:
    recipe = Recipe.read(GRPO)
    known = times(recipe, MODEL_SHAPES["Qwen/Qwen2.5-VL-7B-Instruct"], 8)
    assert [how for how, _ in known] == ["measured", "measured", "estimated"]
    assert "163 s (1,024 rows x 6,144 tokens x 10 x 8.29 B operations at 400 TFLOP/s a GPU)" in known[-1][1]
    assert [how for how, _ in times(Recipe.read(SFT), None, 8)] == ["measured"]


def checked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    status = main(["recipe", *words, "--format", "json"])
    return status, json.loads(capsys.readouterr().out)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, report = checked(capsys, str(GRPO), "--gpus", "8x80")
    assert (status, report["errors"]) == (0, [])
    assert report["warnings"] == [] or not by_name_here()[0]
    assert {part["known"] for part in report["memory"]} == {"estimated"}
    status, report = checked(capsys, str(GRPO), "--gpus", "1x80", "--max_length", "4000", "--beta", "0")
    assert status == 0, "an estimate refuses nothing"
    assert any(re.match("training needs an estimated 1[56]", warning) for warning in report["warnings"])
    assert any("starts 8 processes" in warning for warning in report["warnings"])
    status, report = checked(capsys, str(GRPO), "--vllm_mode", "server")
    assert (status, len(report["errors"])) == (1, 1)
    status, report = checked(capsys, str(GRPO), "--gpus", "8x80", "--model", "someone/else")
    assert (status, report["memory"]) == (0, [])
    assert "the size of someone/else is unknown" in report["not_known"][0]
    assert main(["recipe", str(SFT), "--gpus", "8x80"]) == 0
    text = capsys.readouterr().out
    for line in (
        "8 processes x 4 x 4 = 128 rows",
        "time, measured: SFT, 3B",
        "time, estimated: ",
        "ms-swift accepts the recipe.",
    ):
        assert line in text
    assert "generating" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.yaml"], "none.yaml is not a recipe"),
        (["list.yaml"], "must hold lines `option: value`"),
        ([str(GRPO), "--per_device_train_batch_size", "four"], "must be a number, got 'four'"),
        ([str(GRPO), "--num_generations", "0"], "must be a whole number of at least 1, got '0'"),
        ([str(GRPO), "--vllm_max_model_len", "long"], "vllm_max_model_len must be a number, got 'long'"),
        (["ranks.yaml"], "NPROC_PER_NODE and NNODES must be whole numbers of at least 1, got eight and 1"),
    ],
)
def test_wrong_use_is_one_clear_error(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.yaml").write_text("- a\n")
    Path("ranks.yaml").write_text("ENV: {NPROC_PER_NODE: eight}\n")
    assert main(["recipe", *words]) == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "swift-stvg: error" in line]
    assert message in error


def test_numbers_in_lists(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rlhf_type: grpo\nreward_funcs: [a, b]\nreward_weights: [1, 2]\n")
    found = faults(Recipe.read(tmp_path / "a.yaml"), 8)
    assert found == ["reward_weights: the entries of a YAML list must be text, in quotes"]


@pytest.mark.parametrize("text", ["8", "8x", "0x80", "x80", "8x0", "-1x80", "8x80x2"])
def test_gpus_that_are_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["recipe", str(GRPO), f"--gpus={text}"])
    assert "is not NUMBERxGB" in capsys.readouterr().err
