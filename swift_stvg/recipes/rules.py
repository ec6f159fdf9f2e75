"""Checks of a recipe by ms-swift's rules. ms-swift itself finds such faults only minutes after the start of a run.

The rules are those of ms-swift 4.5 and 4.6: swift/arguments (sft_args, rlhf_args) and swift/rlhf_trainers (args_mixin).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from swift_stvg.errors import DataError, SettingsError
from swift_stvg.settings import BACKBONES, PREFIX, Settings

RANKS = ("NPROC_PER_NODE", "NNODES")
PRESETS = ("zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
"""DeepSpeed configurations that ms-swift provides."""
FSDP2: dict[str, Any] = {"fsdp": "full_shard auto_wrap", "fsdp_config": {"state_dict_type": "SHARDED_STATE_DICT"}}
"""What counts here of the FSDP configuration that ms-swift provides by the name fsdp2."""
OPTIONS = frozenset(Path(__file__).with_name("options.txt").read_text(encoding="utf-8").split())
"""Options that `swift sft` and `swift rlhf` have in ms-swift 4.5.0 and 4.6.0: the fields of their argument classes."""
FLASH = ("flash_attn", "flash_attention_2", "flash_attention_3", "flash_attention_4")
"""Attention implementations that ms-swift accepts for rows without padding."""


def options_of(words: Sequence[str]) -> dict[str, list[str]]:
    """The options of a command line with their values. If an option is given twice, the last values count."""
    found: dict[str, list[str]] = {}
    last: list[str] = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            last = found[name] = [value] if equals else []
        else:
            last.append(word)
    return found


@dataclass(frozen=True)
class Recipe:
    """Options and environment of a training.

    Attributes:
        options: the values of each option, as text.
        env: environment variables of the ENV block; variables that are already set replace them.
        not_text: options whose YAML list has entries that are not text.
    """

    options: Mapping[str, Sequence[str]]
    env: Mapping[str, str]
    not_text: Sequence[str] = ()

    @classmethod
    def read(cls, path: Path, words: Sequence[str] = (), outside: Mapping[str, str] = os.environ) -> Recipe:
        """A YAML file as `swift sft FILE WORDS` and `swift rlhf FILE WORDS` read it.

        Raises:
            DataError: the file cannot be read, or is not a YAML mapping.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DataError(f"{path} is not a recipe: {error}") from None
        if not isinstance(content, dict) or not isinstance(content.get("ENV", {}), dict):
            raise DataError(
                f"{path} is not a recipe: it must hold lines `option: value`, and lines of this form under ENV"
            )
        env = {str(name): _text(value) for name, value in content.pop("ENV", {}).items()}
        lists = {name: value if isinstance(value, list) else [value] for name, value in content.items()}
        not_text = [
            name
            for name, value in content.items()
            if isinstance(value, list) and not all(isinstance(x, str) for x in value)
        ]
        options = {str(name): [_text(value) for value in values] for name, values in lists.items()}
        env |= {name: value for name, value in outside.items() if name in {*env, *RANKS} or name.startswith(PREFIX)}
        return cls(options | options_of(words), env, not_text)

    def text(self, name: str, default: str = "") -> str:
        """The value of an option; the first one of several values."""
        return next(iter(self.options.get(name, ())), default) or default

    def number(self, name: str, default: float) -> float:
        """The value of an option as a number.

        Raises:
            DataError: the value is not a number.
        """
        text = self.text(name, str(default))
        try:
            return float(text)
        except ValueError:
            raise DataError(f"{name} must be a number, got {text!r}") from None

    def count(self, name: str, default: int) -> int:
        """The value of an option as a whole number of at least 1.

        Raises:
            DataError: the value is not such a number.
        """
        value = self.number(name, default)
        if value < 1 or value != int(value):
            raise DataError(f"{name} must be a whole number of at least 1, got {self.text(name)!r}")
        return int(value)

    def on(self, name: str, default: bool = False) -> bool:
        """Whether a Boolean option is true."""
        return self.text(name, str(default)).lower() in ("true", "1", "yes", "y", "t")

    @property
    def grpo(self) -> bool:
        """Whether the recipe is for GRPO; SFT otherwise."""
        return self.text("rlhf_type") == "grpo"

    @property
    def colocate(self) -> bool:
        """Whether vLLM shares the GPUs of the training."""
        return self.on("use_vllm") and self.text("vllm_mode") == "colocate"

    @property
    def processes(self) -> int:
        """The number of processes that the recipe starts, on all nodes together.

        Raises:
            DataError: NPROC_PER_NODE or NNODES is not a number.
        """
        numbers = [self.env.get(name, "1") for name in RANKS]
        if not all(number.isdecimal() and int(number) for number in numbers):
            raise DataError(
                f"NPROC_PER_NODE and NNODES must be whole numbers of at least 1, got {' and '.join(numbers)}"
            )
        return int(numbers[0]) * int(numbers[1])

    @property
    def micro(self) -> int:
        """The number of rows of a process in a forward pass."""
        return self.count("per_device_train_batch_size", 1)

    def accumulation(self, processes: int) -> int:
        """Forward passes for an update. ms-swift's default is 1 in GRPO; in SFT it is the number that gives 16 rows."""
        usual = 1 if self.grpo else max(1, -(-16 // (self.micro * processes)))
        return self.count("gradient_accumulation_steps", usual)

    def steps_per_generation(self, processes: int) -> int:
        """The number of forward passes that use the completions of one generation in GRPO."""
        usual = self.accumulation(processes)
        if self.options.get("generation_batch_size"):
            usual = max(1, self.count("generation_batch_size", 1) // (self.micro * processes))
        return self.count("steps_per_generation", usual)

    @property
    def settings(self) -> Settings:
        """The STVG_* settings of the run.

        Raises:
            SettingsError: a setting is unknown or has an invalid value.
        """
        return Settings.from_env({name: value for name, value in self.env.items() if name.startswith(PREFIX)})


def batches(recipe: Recipe, processes: int) -> list[str]:
    """The composition of an update, as text."""
    rows = processes * recipe.micro * recipe.accumulation(processes)
    parts = f"{processes} processes x {recipe.micro} x {recipe.accumulation(processes)}"
    if not recipe.grpo:
        return [f"an update: {parts} = {rows} rows"]
    each = recipe.count("num_generations", 8)
    steps = recipe.steps_per_generation(processes)
    generated = processes * recipe.micro * steps
    return [
        f"an update: {parts} = {rows} completions, {rows / each:g} prompts x {each}",
        f"a generation: {processes} processes x {recipe.micro} x {steps} = {generated} completions, "
        f"{generated / each:g} prompts x {each}",
    ]


def faults(recipe: Recipe, processes: int) -> list[str]:
    """What ms-swift would refuse, or would do differently from the recipe, with this number of processes.

    Raises:
        DataError: a value must be a number and is not.
    """
    found = [f"{name}: the entries of a YAML list must be text, in quotes" for name in recipe.not_text]
    found += [f"{name} is no option of ms-swift 4.5 and 4.6" for name in recipe.options if name not in OPTIONS]
    found += _settings(recipe) + _sharding(recipe)
    if recipe.grpo:
        found += _grpo(recipe, processes) + _vllm(recipe, processes)
    elif recipe.options.get("vllm_mode") or recipe.on("use_vllm"):
        found.append("vLLM makes rollouts, and SFT has no rollouts: leave use_vllm and vllm_mode out")
    for name in ("padding_free", "packing"):
        if recipe.on(name) and recipe.text("attn_impl") not in FLASH:
            found.append(f"{name} needs attn_impl to be one of {', '.join(FLASH)}")
    if recipe.on("packing") and recipe.on("lazy_tokenize"):
        found.append("packing and lazy_tokenize exclude each other: choose one")
    if recipe.text("ref_model") and recipe.text("tuner_type") == "lora":
        found.append("leave ref_model out for LoRA: its reference is the model without the adapter")
    return found


def _settings(recipe: Recipe) -> list[str]:
    try:
        settings = recipe.settings
    except SettingsError as error:
        return [str(error)]
    name = recipe.text("template")
    backbone = BACKBONES.get(name)
    if backbone is None:
        return []
    found = []
    if settings.coords != backbone.coords:
        found.append(f"{name} needs STVG_COORDS={backbone.coords}, got {settings.coords}")
    if settings.side_multiple % backbone.side_multiple:
        found.append(f"{name} needs STVG_SIDE_MULTIPLE={backbone.side_multiple}, got {settings.side_multiple}")
    return found


def _sharding(recipe: Recipe) -> list[str]:
    chosen = [name for name in ("deepspeed", "fsdp", "device_map") if recipe.text(name)]
    if len(chosen) > 1:
        return [f"{' and '.join(chosen)} exclude each other: choose one"]
    try:
        zero_stage(recipe)
    except DataError as error:
        return [str(error)]
    if not recipe.text("fsdp"):
        return []
    config, found = _fsdp(recipe)["fsdp_config"], []
    if recipe.grpo and config.get("fsdp_version", 2) != 2:
        found.append("GRPO needs FSDP2: fsdp_version must be 2")
    if recipe.on("save_only_model") and "SHARDED" in str(config.get("state_dict_type", "SHARDED_STATE_DICT")).upper():
        found.append("save_only_model needs state_dict_type FULL_STATE_DICT in the configuration of fsdp")
    return found


def _fsdp(recipe: Recipe) -> dict[str, Any]:
    name = recipe.text("fsdp")
    if name == "fsdp2":
        return FSDP2
    try:
        content: Any = json.loads(name if name.startswith("{") else Path(name).read_text(encoding="utf-8"))
        return {"fsdp": str(content.get("fsdp", FSDP2["fsdp"])), "fsdp_config": dict(content["fsdp_config"])}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"fsdp is {name}, which is neither fsdp2 nor a file with fsdp_config: {error!r}") from None


def zero_stage(recipe: Recipe) -> tuple[int, bool]:
    """The stage of ZeRO (0 for whole weights), and whether the optimizer's state is kept in the CPU's memory.

    FSDP2 shards as stage 3, or as stage 2 if it does not reshard after the forward pass.

    Raises:
        DataError: deepspeed or fsdp names neither a preset nor a configuration.
    """
    if recipe.text("fsdp"):
        fsdp = _fsdp(recipe)
        return 3 if fsdp["fsdp_config"].get("reshard_after_forward", True) else 2, "offload" in fsdp["fsdp"]
    name = recipe.text("deepspeed")
    if not name:
        return 0, False
    if name in PRESETS:
        return int(name[4]), name.endswith("offload")
    try:
        content: Any = json.loads(name if name.startswith("{") else Path(name).read_text(encoding="utf-8"))
        zero = content["zero_optimization"]
        return int(zero.get("stage", 0)), zero.get("offload_optimizer", {}).get("device", "none") != "none"
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"deepspeed is {name}, which is neither a preset ({', '.join(PRESETS)}) nor a file with zero_optimization: "
            f"{error!r}"
        ) from None


def _grpo(recipe: Recipe, processes: int) -> list[str]:
    found = []
    each, forward = recipe.count("num_generations", 8), recipe.micro * processes
    steps = recipe.steps_per_generation(processes)
    if each < 2:
        found.append("num_generations must be at least 2: advantages compare several answers to a prompt")
    whole = recipe.count("generation_batch_size", forward * steps)
    if whole != forward * steps:
        found.append(
            f"generation_batch_size is {whole}, but {steps} passes of {processes} x {recipe.micro} are "
            f"{forward * steps}"
        )
    if forward * steps % each:
        found.append(
            f"a generation of {processes} processes x {recipe.micro} x {steps} = {forward * steps} completions is not "
            f"a multiple of num_generations ({each})"
        )
    names, weights = recipe.options.get("reward_funcs", ()), recipe.options.get("reward_weights")
    if weights is not None and len(weights) != len(names):
        found.append(f"reward_weights has {len(weights)} entries, reward_funcs {len(names)}")
    if recipe.text("truncation_strategy", "left") not in ("left", "delete"):
        found.append("truncation_strategy must be left or delete for GRPO")
    if recipe.text("delta") and recipe.on("use_liger_kernel"):
        found.append("delta and use_liger_kernel exclude each other: choose one")
    return found


def _vllm(recipe: Recipe, processes: int) -> list[str]:
    used, mode = recipe.on("use_vllm"), recipe.text("vllm_mode")
    if used != bool(mode):
        return ["use_vllm and vllm_mode belong together: give both or none"]
    found = []
    if mode and mode not in ("colocate", "server"):
        found.append(f"vllm_mode must be colocate or server, got {mode}")
    if mode == "server" and not (recipe.text("vllm_server_host") or recipe.text("vllm_server_base_url")):
        found.append("vllm_mode server needs vllm_server_host or vllm_server_base_url")
    if recipe.on("async_generate") and mode != "server":
        found.append("async_generate needs vllm_mode server")
    together = recipe.count("vllm_tensor_parallel_size", 1)
    if recipe.colocate and processes % together:
        found.append(f"vllm_tensor_parallel_size ({together}) must divide the {processes} processes")
    share = recipe.number("vllm_gpu_memory_utilization", 0.9)
    if not 0 < share <= 1:
        found.append(f"vllm_gpu_memory_utilization must be a share of the GPU, in (0, 1], got {share:g}")
    if used and recipe.text("device_map"):
        found.append("use_vllm and device_map exclude each other: choose one")
    if used and recipe.text("vllm_max_model_len") and recipe.text("max_length"):
        limit = recipe.count("vllm_max_model_len", 1)
        needed = recipe.count("max_length", 1) + recipe.count("max_completion_length", 512)
        if limit < needed:
            found.append(f"vllm_max_model_len ({limit}) is less than max_length + max_completion_length = {needed}")
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
