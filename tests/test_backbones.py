"""Training, rewards, answers and scores of each further backbone, by ms-swift's commands in one process."""

from __future__ import annotations

import json
import math
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image
from safetensors.torch import load_file

from swift_stvg import register
from swift_stvg.cli import main
from swift_stvg.errors import TemplateMismatch
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.synthetic.tiny import ARCHITECTURES, TinyConfig, build
from swift_stvg.video.request import VIDEO_KEY, VideoRequest
from tests.internvl import build_internvl
from tests.running import RECORDER, TRAIN, as_words, json_lines, logged, run
from tests.templated import row, skip_unknown
from tests.videos import picture, write_video

pytestmark = [pytest.mark.swift, pytest.mark.filterwarnings("default")]  # importing torch warns

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "swift_stvg/plugin/swift_stvg_plugin.py"  # a path, which every version of ms-swift takes
BACKBONES = {
    "qwen2_5_vl": (56, "true"),
    "qwen2_vl": (56, "false"),
    "qwen3_vl": (64, "true"),
    "qwen3_5": (64, "true"),
    "qwen3_8": (64, "false"),
    "internvl": (56, "true"),
    "qwen3_vl_moe": (64, "false"),
    "qwen3_5_moe": (64, "true"),
    "qwen4_exp": (64, "false"),
}
"""Side of a frame, and whether SFT freezes the vision tower; GRPO does it the other way round."""
ALIKE = ("qwen2_vl", "qwen3_5", "internvl", "qwen3_8", "qwen3_vl_moe", "qwen3_5_moe", "qwen4_exp")
"""Trained with `--all` only. Other tests compare their prompts and positions with those of the release."""
WEIGHTS = {"qwen3_8": "qwen3_5"}
"""Whose weights are of another's kind."""
STEPS = """
import json, sys
from swift.pipelines import infer_main, rlhf_main, sft_main

for command, words in json.load(open(sys.argv[1])):
    {"sft": sft_main, "rlhf": rlhf_main, "infer": infer_main}[command](words)
"""
UNEQUAL = """
from swift.rewards import ORM, orms


class Unequal(ORM):
    def __call__(self, completions, **kwargs):
        return [float(sum(map(ord, text))) for text in completions]


orms["unequal"] = Unequal
"""
"""A reward that differs for any two answers, so that even a random model learns."""
GRPO = {
    "rlhf_type": "grpo",
    "reward_funcs": "unequal stvg_format stvg_spatial",
    "num_generations": "2",
    "per_device_train_batch_size": "2",
    "max_steps": "1",
    "save_steps": "1",
    "max_completion_length": "8",
}
OTHER = {"true": "false", "false": "true"}
LORA = {"tuner_type": "lora", "target_modules": "all-linear", "freeze_vit": "true", "freeze_aligner": "true"}


def in_tower(key: str) -> bool:
    """Whether a weight of that name belongs to the vision tower; its merger does not."""
    return ("visual" in key and "merger" not in key) or "vision_tower" in key


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in ALIKE else []) for name in BACKBONES]
)
def test_from_training_to_score(name: str, workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SFT and full GRPO, one of them with the vision tower, GRPO of LoRA, all with gradient checkpointing; answers.

    All of them use the same eight rows. Each row gives the same tokens and pixels everywhere.
    """
    kind, template = WEIGHTS.get(name, name), ARCHITECTURES.get(name, f"stvg_{name}")
    if name != "internvl":
        skip_unknown(kind)
    if name == "qwen3_5_moe" and Version(transformers.__version__) < Version("5.16"):
        pytest.skip("LoRA: with transformers 5.2.0, peft takes ms-swift's pattern of linear layers for single letters")
    side, freeze_vit = BACKBONES[name]
    coords = "pixel" if name == "qwen2_5_vl" else "norm1000"
    start, learned = tmp_path / "tiny", tmp_path / "sft/checkpoint-1"
    (tmp_path / "unequal.py").write_text(UNEQUAL)
    plugins = f"{PLUGIN} {tmp_path / 'unequal.py'} {RECORDER}"
    if name == "internvl":
        build_internvl(start)
        plugins += f" {ROOT / 'examples/add_a_backbone/internvl.py'}"
    else:
        build(start, TinyConfig(architecture=kind, spatial_merge=4, max_coordinate=1000))
    model = {"model_type": kind, "template": template, "external_plugins": plugins, "model": str(learned)}
    train = TRAIN | model | {"dataset": "stvg_synthetic:test", "gradient_checkpointing": "true"}
    sft = {"model": str(start), "freeze_vit": freeze_vit, "per_device_train_batch_size": "2"}
    infer = {"torch_dtype": "float32", "val_dataset": "stvg_synthetic:test", "max_new_tokens": "8"}
    steps = [
        ("sft", train | sft | {"max_steps": "1", "save_steps": "1", "output_dir": str(tmp_path / "sft")}),
        ("rlhf", train | GRPO | {"output_dir": str(tmp_path / "full"), "freeze_vit": OTHER[freeze_vit]}),
        ("rlhf", train | GRPO | LORA | {"output_dir": str(tmp_path / "lora")}),
        ("infer", model | infer | {"temperature": "0", "result_path": str(tmp_path / "answers.jsonl")}),
    ]
    (tmp_path / "steps.json").write_text(json.dumps([(command, as_words(options)) for command, options in steps]))
    settings = {"STVG_MAX_SIDE": str(side), "STVG_SIDE_MULTIPLE": str(side), "STVG_COORDS": coords}
    settings |= {"STVG_SYSTEM_PROMPT": "false", "STVG_DATA_ROOT": str(workspace / "data")}
    settings |= {"RECORD_TO": str(tmp_path / "record.jsonl"), "STVG_FRAME_MEMORY": "0"}
    run([sys.executable, "-c", STEPS, str(tmp_path / "steps.json")], tmp_path, settings)
    records = json_lines(tmp_path / "record.jsonl")
    assert {record["mode"] for record in records} == {"train", "transformers"}
    keys = ("prompt", "pixels", "grid", "seconds")
    assert len({json.dumps([record[key] for key in keys]) for record in records}) == 8

    weights = {folder: load_file(folder / "model.safetensors") for folder in (start, learned)}
    weights[tmp_path / "full"] = load_file(tmp_path / "full/checkpoint-1/model.safetensors")
    for before, after, frozen in ((start, learned, freeze_vit), (learned, tmp_path / "full", OTHER[freeze_vit])):
        moved = {key for key, value in weights[before].items() if not value.equal(weights[after][key])}
        assert {key for key in moved if not in_tower(key)}
        assert any(map(in_tower, moved)) == (frozen == "false")
    for output in ("full", "lora"):
        (step,) = logged(tmp_path / output)
        assert all(map(math.isfinite, step.values()))
        assert {"rewards/StvgFormat/mean", "rewards/StvgSpatial/mean"} <= set(step)
    lora = load_file(tmp_path / "lora/checkpoint-1/adapter_model.safetensors")
    assert not any(map(in_tower, lora))
    assert any(value.any() for key, value in lora.items() if "lora_B" in key), "which is zero before the first step"
    answers = json_lines(tmp_path / "answers.jsonl")
    assert {RowTruth.from_json(answer["stvg"]).format.coords for answer in answers} == {coords}
    assert main(["score", str(tmp_path / "answers.jsonl"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["ground_truth"]["samples"] == 8


ANY_ATTENTION = """
import sys
from swift.arguments import SftArguments

def check(self):
    self.padding_free = self.padding_free or self.packing

SftArguments._check_padding_free = check
"""
"""A plugin that removes the check for FlashAttention, because FlashAttention needs a GPU."""


@pytest.mark.long
def test_rows_without_padding(workspace: Path, env: dict[str, str], tmp_path: Path) -> None:
    """Packed rows in SFT, and rows without padding in GRPO, with all of ms-swift's code except FlashAttention.

    torch's attention replaces it. Here this attention does not separate the rows; see test_template.py.
    """
    (tmp_path / "unequal.py").write_text(UNEQUAL)
    common = TRAIN | {"model": str(workspace / "tiny"), "external_plugins": f"{PLUGIN} {tmp_path / 'unequal.py'}"}
    common |= {"dataset": "stvg_synthetic:train#6", "max_length": "512", "max_steps": "1"}
    packed = {"packing": "true", "per_device_train_batch_size": "1", "save_strategy": "no"}
    steps = [
        ("sft", common | packed | {"output_dir": str(tmp_path / "sft")}),
        ("rlhf", common | GRPO | {"padding_free": "true", "output_dir": str(tmp_path / "grpo")}),
    ]
    (tmp_path / "steps.json").write_text(json.dumps([(command, as_words(options)) for command, options in steps]))
    printed = run([sys.executable, "-c", ANY_ATTENTION + STEPS, str(tmp_path / "steps.json")], tmp_path, env)
    assert "Packing:" in printed
    for output in ("sft", "grpo"):
        (step,) = logged(tmp_path / output)
        assert math.isfinite(step["loss"])


@pytest.mark.parametrize("query_first", [False, True], ids=["query after", "query before"])
@pytest.mark.parametrize("fps", [2.0, 1.25, 4.0, 1.7])
def test_the_example_asks_as_the_models_own_processor(tmp_path: Path, fps: float, query_first: bool) -> None:
    """The tokens are equal, and positions are consecutive, as in the model's own forward pass."""
    register()
    runpy.run_path(str(ROOT / "examples/add_a_backbone/internvl.py"))
    from swift.model import get_processor
    from swift.template import get_template
    from transformers import InternVLForConditionalGeneration

    build_internvl(tmp_path / "tiny")
    template = get_template(get_processor(str(tmp_path / "tiny"), model_type="internvl"), template_type="stvg_internvl")
    template.set_mode("train")
    video = write_video(tmp_path / "a.mp4", np.arange(75) / 25, size_wh=(112, 64))
    settings = {"coords": "norm1000", "side_multiple": 56, "max_side": 56, "fps": fps, "query_first": query_first}
    made = row(video, **settings)
    encoded = template.encode({key: made[key] for key in ("messages", "videos", "chat_template_kwargs")})
    text = template.tokenizer.decode(encoded["input_ids"])
    count = text.count("<img>")
    assert count == len(VideoRequest.from_json(made["chat_template_kwargs"][VIDEO_KEY]).frames)
    asked = re.sub(r"Frame1: .*</img>", "<video>", text, flags=re.DOTALL)
    frames = np.zeros((count, 56, 56, 3), dtype=np.uint8)
    own = template.processor(text=[asked], videos=[frames])["input_ids"][0]
    assert encoded["input_ids"] == list(own)
    model = InternVLForConditionalGeneration.from_pretrained(tmp_path / "tiny")
    seen: list[torch.Tensor] = []
    rotary = model.model.language_model.rotary_emb
    rotary.register_forward_pre_hook(
        lambda _, args, given: seen.append(given.get("position_ids", args[-1])), with_kwargs=True
    )
    batch = template.data_collator([encoded])
    batch = {name: value for name, value in batch.items() if name not in ("labels", "text_position_ids")}
    with torch.no_grad():
        model(**batch)
    assert seen[0].tolist() == [list(range(len(encoded["input_ids"])))]


def test_the_example_answers_in_the_command_line(tmp_path: Path) -> None:
    """After the import of a plugin, its template is accepted by name, and as the template that fits the model."""
    build_internvl(tmp_path / "tiny")
    script = (
        "import sys\n"
        "from swift_stvg.adapters.engine import swift_arguments\n"
        "words = sys.argv[1:]\n"
        "print('TEMPLATE', swift_arguments(words[1], words).template)\n"
    )
    words = ["--model", str(tmp_path / "tiny"), "--model_type", "internvl", "--stream", "false"]
    words += ["--external_plugins", str(ROOT / "examples/add_a_backbone/internvl.py")]
    for more in ([], ["--template", "stvg_internvl"]):
        assert "TEMPLATE stvg_internvl" in run([sys.executable, "-c", script, *words, *more], tmp_path, {})


def test_the_example_hands_over_squares(tmp_path: Path) -> None:
    """Frames are resized once, to squares that the processor does not change, each with its tokens and its number."""
    register()
    runpy.run_path(str(ROOT / "examples/add_a_backbone/internvl.py"))
    from swift.model import get_processor
    from swift.template import get_template

    build_internvl(tmp_path / "tiny")
    template = get_template(get_processor(str(tmp_path / "tiny"), model_type="internvl"), template_type="stvg_internvl")
    template.set_mode("train")
    video = write_video(tmp_path / "a.mp4", np.arange(75) / 25, size_wh=(112, 64))
    made = row(video, coords="norm1000", side_multiple=56, max_side=56)
    encoded = template.encode({key: made[key] for key in ("messages", "videos", "chat_template_kwargs")})
    squares = [
        Image.fromarray(picture(k, (112, 64))).resize((56, 56), Image.Resampling.BICUBIC)
        for k in (0, 12, 25, 37, 50, 62)
    ]
    expected = template.processor.video_processor(videos=[np.stack(squares)], return_tensors="pt")
    difference = (encoded["pixel_values"] - expected["pixel_values_videos"][0]).abs()
    assert difference.mean() < 0.05  # of values that span 4: the file is compressed
    text = "".join(f"Frame{k}: <img>{4 * '<IMG_CONTEXT>'}</img>\n" for k in range(1, 7))
    assert text + "(frames 0 - 5, 2 per second)" in template.tokenizer.decode(encoded["input_ids"])
    pixels = template.tokenizer.convert_tokens_to_ids(["<IMG_CONTEXT>", "<video>"])
    template.set_mode("vllm")
    assert template.prepare_engine_kwargs()["additional_config"] == {"swift_stvg_unwanted": pixels}
    assert [template.image_token_id, template.video_token_id] == pixels
    with pytest.raises(TemplateMismatch, match="needs multiples of 56: set STVG_SIDE_MULTIPLE=56"):
        template.require("norm1000", (28, 28))
