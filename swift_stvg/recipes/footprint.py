"""The GPU memory and the time that a recipe needs: estimates with their arithmetic, beside measured values.

Memory is in GB (10^9 bytes), without CUDA's own memory and fragmentation. Frozen parts count as if they were trained.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift_stvg.errors import DataError
from swift_stvg.recipes.rules import Recipe, zero_stage
from swift_stvg.rows.making import frame_size

GB = 1e9
BF16, FLOAT = 2, 4
ESTIMATED, MEASURED = "estimated", "measured"
TFLOPS = 400
"""Assumed speed of a GPU in 10^12 operations per second: 40% of NVIDIA's 989 for dense bfloat16 on H100 and H200."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a model: sizes from its config.json, the number of parameters from its weights.

    Attributes:
        parameters: number of all parameters, with the vision tower.
        inner: width of a layer between its two projections, without routed experts; 0 if it has no other ones.
        q, kv: width of a layer's queries, and of its keys and values.
        idle: parameters of routed experts that a token does not use.
    """

    parameters: float
    layers: int
    hidden: int
    inner: int
    q: int
    kv: int
    vocabulary: int
    patch: int
    idle: float = 0

    def lora(self, rank: int) -> int:
        """The number of parameters of a LoRA on all linear layers of the language model, without routed experts."""
        width = 2 * (self.hidden + self.q) + 2 * (self.hidden + self.kv)
        width += 3 * (self.hidden + self.inner) if self.inner else 0
        return rank * width * self.layers


MODEL_SHAPES = {
    "Qwen/Qwen2-VL-7B-Instruct": Shape(8.291e9, 28, 3584, 18944, 3584, 512, 152064, 14),
    "Qwen/Qwen2.5-VL-3B-Instruct": Shape(3.755e9, 36, 2048, 11008, 2048, 256, 151936, 14),
    "Qwen/Qwen2.5-VL-7B-Instruct": Shape(8.292e9, 28, 3584, 18944, 3584, 512, 152064, 14),
    "Qwen/Qwen3-VL-8B-Instruct": Shape(8.767e9, 36, 4096, 12288, 4096, 1024, 151936, 16),
}
"""Sizes of the models that the recipes name."""
H200 = "one H200, random weights, torch 2.11, transformers 5.16.1, ms-swift 4.5.2, vLLM 0.26, clips of 20 s"
TIMES: tuple[tuple[bool, str], ...] = (
    (
        True,
        "GRPO, 3B, LoRA, vLLM colocate without CUDA graphs, 8 answers of 500 tokens: first step 24.4 s "
        "(generation 16.6, training 2.6, log-probabilities 2.0, videos 1.2); 70 GiB reserved, 42 GiB by vLLM",
    ),
    (True, "GRPO, 3B, LoRA, transformers' generation, 8 answers of 256 tokens: 27 to 31 s a step, 22.5 GiB"),
    (False, "SFT, 3B, all weights, ZeRO-3, 4 rows a step: 2 s a step, 67.8 GiB"),
)
"""Measurements on `H200`: whether the training was GRPO, and the measured values."""


def shape_of(model: str) -> Shape | None:
    """The shape of a known release, or of a model in a local folder; None for other names.

    Raises:
        DataError: the folder's config.json is not that of a Qwen-VL model.
    """
    folder = Path(model).expanduser()
    if not (folder / "config.json").is_file():
        return MODEL_SHAPES.get(model)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        text, vision = config.get("text_config", config), config["vision_config"]
        head = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
        layers, hidden = text["num_hidden_layers"], text["hidden_size"]
        experts = text.get("num_experts") or text.get("num_local_experts") or 0
        inner = text.get("shared_expert_intermediate_size", 0) if experts else text["intermediate_size"]
        unused = experts - text["num_experts_per_tok"] if experts else 0
        width = FLOAT if "32" in str(text.get("dtype") or text.get("torch_dtype") or config.get("dtype")) else BF16
        return Shape(
            sum(path.stat().st_size for path in folder.glob("*.safetensors")) / width,
            layers,
            hidden,
            inner,
            head * text["num_attention_heads"],
            head * text["num_key_value_heads"],
            text["vocab_size"],
            vision.get("patch_size", 14),
            layers * unused * 3 * hidden * text["moe_intermediate_size"] if unused else 0,
        )
    except (ValueError, KeyError, TypeError, ZeroDivisionError, AttributeError) as error:
        raise DataError(f"{folder / 'config.json'} is not the configuration of a Qwen-VL model: {error!r}") from None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a GPU's memory.

    Attributes:
        what: its content.
        gb: size in 10^9 bytes.
        how: the arithmetic of the size.
        training, generating: whether it is needed in this phase.
    """

    what: str
    gb: float
    how: str
    training: bool = True
    generating: bool = True


def memory(recipe: Recipe, shape: Shape, processes: int, gpu_gb: float) -> list[Part]:
    """The parts of each GPU's memory, at most.

    Args:
        recipe: the recipe.
        shape: the model's shape.
        processes: number of processes, one for each GPU.
        gpu_gb: memory of a GPU in GB.
    """
    lora = recipe.text("tuner_type", "lora") == "lora"
    parts = _weights(recipe, shape, processes, lora)
    if recipe.grpo and not lora and recipe.number("beta", 0.04):
        split = processes if zero_stage(recipe)[0] == 3 else 1
        gb = shape.parameters * BF16 / split / GB
        parts.append(Part("reference model", gb, f"{_b(shape.parameters)} x 2 bytes{_over(split)}"))
    answer = recipe.count("max_completion_length", 512) if recipe.grpo else 0
    length = _length(recipe)
    if recipe.grpo:
        parts.append(_pixels(recipe, shape, processes))
    tokens = answer or length
    parts.append(
        Part(
            "logits, at most",
            recipe.micro * tokens * shape.vocabulary * FLOAT * 3 / GB,
            f"{recipe.micro} rows x {tokens:,} tokens x {shape.vocabulary:,} x 4 bytes, three times over",
            generating=False,
        )
    )
    if recipe.on("gradient_checkpointing", True):
        gb = recipe.micro * shape.layers * length * shape.hidden * BF16 / GB
        how = f"{recipe.micro} rows x {shape.layers} layers x {length:,} tokens x {shape.hidden:,} x 2 bytes"
        parts.append(Part("activations, checkpointed", gb, how, generating=False))
    if recipe.colocate:
        share = recipe.number("vllm_gpu_memory_utilization", 0.9)
        weights = shape.parameters * BF16 / recipe.count("vllm_tensor_parallel_size", 1) / GB
        kept = recipe.number("sleep_level", 0) == 0
        how = f"{share:g} x {gpu_gb:g} GB, {weights:.1f} of them weights"
        parts.append(Part("vLLM", share * gpu_gb, how + ("" if kept else "; asleep while training"), training=kept))
    return parts


def _weights(recipe: Recipe, shape: Shape, processes: int, lora: bool) -> list[Part]:
    stage, offload = zero_stage(recipe)
    trained = shape.lora(recipe.count("lora_rank", 8)) if lora else shape.parameters
    over = [processes if stage >= least else 1 for least in (3, 2, 1)]  # weights, gradients, optimizer
    # without DeepSpeed a model in bfloat16 has an optimizer in bfloat16; the optimizer of a LoRA is in float32
    state = 0 if offload else 12 if stage or lora else 2 * BF16
    parts = [
        Part("weights", shape.parameters * BF16 / over[0] / GB, f"{_b(shape.parameters)} x 2 bytes{_over(over[0])}")
    ]
    if lora:
        parts.append(Part("LoRA", trained * BF16 / over[0] / GB, f"{_b(trained)} x 2 bytes{_over(over[0])}"))
    parts.append(Part("gradients", trained * BF16 / over[1] / GB, f"{_b(trained)} x 2 bytes{_over(over[1])}"))
    what = "in the host's memory" if offload else f"{_b(trained)} x {state} bytes{_over(over[2])}"
    return [*parts, Part("Adam's state", trained * state / over[2] / GB, what)]


def _pixels(recipe: Recipe, shape: Shape, processes: int) -> Part:
    settings = recipe.settings
    short = all(name.startswith("hcstvg") for name in recipe.options.get("dataset", ()))
    frames = min(settings.max_frames, math.ceil(20 * settings.fps)) if short else settings.max_frames
    width, height = frame_size((640, 480) if short else (640, 640), settings.max_side, settings.side_multiple)
    rows = recipe.micro * recipe.steps_per_generation(processes)
    pairs, across, down = math.ceil(frames / 2), width // shape.patch, height // shape.patch
    numbers = 3 * 2 * shape.patch**2
    return Part(
        "pixels of a generation, at most",
        rows * pairs * across * down * numbers * FLOAT / GB,
        f"{rows} completions x {pairs} pairs of frames x {across} x {down} patches x {numbers:,} x 4 bytes",
    )


def times(recipe: Recipe, shape: Shape | None, processes: int) -> list[tuple[str, str]]:
    """(estimated or measured, text) for each known time. The time of generation is not estimated."""
    known = [(MEASURED, f"{what} ({H200})") for of_grpo, what in TIMES if of_grpo == recipe.grpo]
    if shape is None:
        return known
    rows = processes * recipe.micro * recipe.accumulation(processes)
    length = _length(recipe)
    # forward 2, backward 4, forward again for checkpointed layers 2; log-probabilities of the reference 2
    each = 6 + 2 * recipe.on("gradient_checkpointing", True) + 2 * (recipe.grpo and recipe.number("beta", 0.04) > 0)
    used = shape.parameters - shape.idle
    work = rows * length * each * used
    seconds = work / (processes * TFLOPS * 1e12)
    how = f"{rows:,} rows x {length:,} tokens x {each} x {_b(used)} operations at {TFLOPS} TFLOP/s a GPU"
    return [
        *known,
        (ESTIMATED, f"training for an update, if all rows have the largest length: {seconds:.0f} s ({how})"),
    ]


def _length(recipe: Recipe) -> int:
    """The most tokens of a row, or of rows that are packed into one."""
    prompt = recipe.count("max_length", 4096)
    if recipe.grpo:
        return prompt + recipe.count("max_completion_length", 512)
    return recipe.count("packing_length", prompt) if recipe.on("packing") else prompt


def peaks(parts: Sequence[Part]) -> dict[str, float]:
    """The largest memory in GB in each phase."""
    return {
        "training": sum(part.gb for part in parts if part.training),
        "generating": sum(part.gb for part in parts if part.generating),
    }


def report(recipe: Recipe, processes: int, gpu_gb: float) -> dict[str, Any]:
    """The memory and time that `swift-stvg recipe` prints.

    Raises:
        DataError: a value must be a number and is not, or the model's folder does not hold a Qwen-VL model.
    """
    model = recipe.text("model")
    shape = shape_of(model)
    found: dict[str, Any] = {"memory": [], "peaks": {}, "times": times(recipe, shape, processes), "not_known": []}
    if shape is None:
        found["not_known"].append(f"memory: the size of {model or 'the model'} is unknown; give --model FOLDER")
        return found
    parts = memory(recipe, shape, processes, gpu_gb)
    found["memory"] = [{"what": part.what, "gb": part.gb, "known": ESTIMATED, "how": part.how} for part in parts]
    found["peaks"] = peaks(parts) if recipe.grpo else {"training": peaks(parts)["training"]}
    if not recipe.on("gradient_checkpointing", True):
        found["not_known"].append("activations without gradient_checkpointing")
    if recipe.grpo and not recipe.colocate:
        found["not_known"].append("memory of generation" + (" on the server's GPUs" if recipe.on("use_vllm") else ""))
    return found


def _b(count: float) -> str:
    return f"{count / 1e9:.2f} B"


def _over(split: int) -> str:
    return f" / {split} GPUs" if split > 1 else ""
