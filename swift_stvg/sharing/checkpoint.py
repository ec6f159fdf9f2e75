"""Checkpoints for other people: an `args.json` without private values, and a search for private values in files.

ms-swift's `args.json` holds all arguments of a training, with paths and tokens. When ms-swift loads a checkpoint, it
takes `external_plugins` and the arguments in `LOADED_ARGS` from this file. If the reader's machine lacks the plugin or
the template, the run ends with an error.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.errors import DataError
from swift_stvg.settings import BACKBONES, Settings
from swift_stvg.util.json_reading import read_json

ARGS = "args.json"
ADAPTER = "adapter_config.json"
CONFIGS = (ADAPTER, "config.json", "generation_config.json", "processor_config.json", "tokenizer_config.json")
_ORIGINS = ("base_model_name_or_path", "_name_or_path", "name_or_path")
README = "README.md"
OUR_TEMPLATE, OUR_SETTINGS = "stvg_template", "stvg_settings"
OUR_SYSTEM, OUR_BEGINNING = "stvg_system", "stvg_answer_begins"
"""Keys of `args.json` for the template, settings and prompt of the training. ms-swift ignores unknown keys."""
ANSWER, ENGINES = "answer.py", "answer_engines.py"
SCRIPTS = (ANSWER, "answer_video.py", ENGINES)
"""The scripts beside the weights that ask the model without this package."""
MARK = "<!-- Written by swift-stvg card. Without this line it will not be overwritten. -->"
LOADED_ARGS = (
    *("swift_version", "tuner_type", "task_type", "model", "model_type", "model_revision", "torch_dtype", "attn_impl"),
    *("experts_impl", "new_special_tokens", "num_labels", "problem_type", "rope_scaling", "max_model_len"),
    *("quant_method", "quant_bits", "hqq_axis", "bnb_4bit_compute_dtype", "bnb_4bit_quant_type"),
    *("bnb_4bit_use_double_quant", "template", "system", "truncation_strategy", "agent_template", "norm_bbox"),
    *("use_chat_template", "response_prefix"),
)
"""The arguments that ms-swift 4.5 reads back from `args.json`, without `external_plugins`."""
CARD_ARGS = (
    *("rlhf_type", "dataset", "val_dataset", "reward_funcs", "reward_weights", "num_generations", "beta", "epsilon"),
    *("loss_type", "temperature", "max_completion_length", "max_length", "learning_rate", "lr_scheduler_type"),
    *("warmup_ratio", "weight_decay", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("global_world_size", "num_train_epochs", "max_steps", "freeze_vit", "freeze_aligner", "lora_rank", "lora_alpha"),
    *("target_modules", "seed"),
)
"""Arguments of the training that a model card lists."""
TRAINING_FILES = (
    *("optimizer*", "scheduler.pt", "scaler.pt", "rng_state*", "training_args.bin", "trainer_state.json", "latest"),
    *("global_step*", "zero_to_fp32.py", "pytorch_model_fsdp*", "checkpoint-*", "runs", "images", "logging.jsonl"),
    *("predict.jsonl", "completions.jsonl", "infer_result", "deploy_result", "__pycache__"),
)
"""Names of files that only resuming a training needs, and of files that a run leaves behind."""
MAX_SEARCHED_BYTES = 1 << 26
"""Larger files are not searched."""
_HIDDEN = (".git", ".cache", ".ms_upload_cache", ".*.part")
_SECRET = re.compile(r"token|secret|passw|api_?key|webhook", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|WEBHOOK")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_CACHED = re.compile(r"models--([^/]+?)--([^/]+)(?:/snapshots/[^/]+)?$|/hub/(?:models/)?([^/]+)/([^/]+)$")
_WEIGHTS = ("*.safetensors", "*.gguf", "pytorch_model*.bin", "adapter_model*.bin")


def read_args(checkpoint: Path) -> dict[str, Any]:
    """The `args.json` of a checkpoint.

    Raises:
        DataError: the file is missing, or does not hold an object.
    """
    if not (checkpoint / ARGS).is_file():
        raise DataError(f"{checkpoint} holds no {ARGS}: it is not a checkpoint of ms-swift")
    args = read_json(checkpoint / ARGS)
    if not isinstance(args, dict):
        raise DataError(f"{checkpoint / ARGS} must hold an object, got {type(args).__name__}")
    return args


def hub_id(model: Any) -> str | None:
    """OWNER/NAME of a model from `--model`, which is an id or a folder in a hub's cache; None for other folders."""
    if not isinstance(model, str):
        return None
    if (found := _cached(model)) is not None:
        return found
    return model if _ID.fullmatch(model) and not Path(model).exists() else None


def _cached(path: Any) -> str | None:
    """OWNER/NAME of a folder in a hub's cache; None for anything else."""
    found = _CACHED.search(path) if isinstance(path, str) else None
    if found is None:
        return None
    owner, name = (part for part in found.groups() if part is not None)
    return f"{owner}/{name.replace('___', '.')}"


def base_model(args: Mapping[str, Any], adapter: Mapping[str, Any], checkpoint: Path) -> str | None:
    """OWNER/NAME of the model that a training began with; None if that was a local folder.

    A value such as `output/merged` may be a folder or a model on a hub. The path from which ms-swift loaded the model
    decides between the two.

    Args:
        args: the arguments as ms-swift wrote them.
        adapter: the configuration of the adapter; empty for a whole model.
        checkpoint: the folder that holds the arguments.

    Raises:
        DataError: the arguments do not decide between a folder and a hub.
    """
    loaded_from, origin = args.get("model_dir"), adapter.get(_ORIGINS[0])
    model = args.get("model") or origin
    cached = (found for path in (model, loaded_from, origin) if (found := _cached(path)) is not None)
    if (known := next(cached, None)) is not None:
        return known
    found = hub_id(model)
    if found is None or any((folder / found).exists() for folder in checkpoint.resolve().parents):
        return None
    if OUR_TEMPLATE in args or (isinstance(loaded_from, str) and not loaded_from.endswith(f"/{found}")):
        return found
    raise DataError(f"is the base model {found} a folder or a model on a hub? Give --base_model OWNER/NAME")


def stock_template(template: str, asked: str | None) -> str:
    """The template of ms-swift that one of our templates extends. Other templates are returned unchanged.

    Args:
        template: the template in `args.json`.
        asked: the user's answer, for a template that this package does not know.

    Raises:
        DataError: the template is unknown, and the user gave no answer.
    """
    if asked is not None or not template.startswith("stvg_"):
        return asked or template
    if template not in BACKBONES:
        raise DataError(f"which template of ms-swift does {template} extend? Give --stock_template NAME")
    return template.removeprefix("stvg_")


def has_other_ids(ours: str, config: Mapping[str, Any]) -> bool:
    """Whether the ids of a model's pixel tokens differ from the ids in the code of ms-swift's own template.

    Args:
        ours: our template.
        config: the model's `config.json`; empty if it does not lie in the checkpoint.
    """
    ids = [config.get(name) for name in ("image_token_id", "video_token_id")]
    return ours in BACKBONES and None not in ids and ids != list(BACKBONES[ours].pixel_ids)


def public_args(
    args: Mapping[str, Any], *, template: str, ours: str, settings: Settings, base_model: str | None, adapter: bool
) -> dict[str, Any]:
    """The arguments for a public `args.json`: arguments that loading needs, and arguments that describe the training.

    Args:
        args: the arguments as ms-swift wrote them.
        template: the template of ms-swift itself, with which the model loads without a plugin; `ours` if the model
            cannot be used with it.
        ours: the template of the training.
        settings: the settings of the training.
        base_model: the id of the base model on a hub.
        adapter: whether the checkpoint is an adapter and not a whole model.
    """
    told = [name for name in CARD_ARGS if adapter or not name.startswith(("lora_", "target_modules"))]
    kept = {name: args.get(name) for name in LOADED_ARGS if _without_paths(args.get(name)) == args.get(name)}
    kept |= {name: _without_paths(args.get(name)) for name in told}
    kept = {name: value for name, value in kept.items() if value not in (None, [], -1)}
    plugins = ["swift_stvg"] if template == ours and ours in BACKBONES else []
    kept |= {"external_plugins": plugins, "template": template, "model": base_model}
    kept |= {OUR_TEMPLATE: ours, OUR_SETTINGS: settings.to_texts()}
    if (backbone := BACKBONES.get(ours)) is not None:
        system = args["system"] if isinstance(args.get("system"), str) else backbone.system
        kept[OUR_SYSTEM] = AnswerFormat.of(settings).instruction() if settings.system_prompt else system
        kept[OUR_BEGINNING] = backbone.answer_begins
    if not adapter:
        kept["tuner_type"] = "full"  # of a merged checkpoint too
    return {name: value for name, value in kept.items() if value is not None}


def answer_scripts(template: str, settings: Settings) -> dict[str, str]:
    """The texts of `SCRIPTS` by name.

    There are none for templates of other packages, and none for answers that name an object, because the numbers of the
    objects must first be drawn onto the frames.
    """
    if template not in BACKBONES or settings.style == "ids":
        return {}
    return {name: (Path(__file__).with_name("beside_weights") / name).read_text("utf-8") for name in SCRIPTS}


def missing_for_users(folder: Path) -> str | None:
    """The message that a folder lacks files which users without the plugin need; None if it lacks none.

    Models that name objects cannot have the scripts, see `answer_scripts`.
    """
    args = read_json(folder / ARGS) if (folder / ARGS).is_file() else {}
    recorded = args.get(OUR_SETTINGS) if isinstance(args, dict) else None
    names_objects = isinstance(recorded, dict) and recorded.get("style") == "ids"
    missing = [name for name in SCRIPTS if not names_objects and not (folder / name).is_file()]
    missing += [f"the settings in {ARGS}"] * (recorded is None)
    if not missing:
        return None
    return f"{folder} lacks {', '.join(missing)}, which users without this package need: run swift-stvg card"


def trained_with(args: Mapping[str, Any]) -> tuple[str, Settings | None]:
    """The template and the settings of the training; None for settings that `args.json` does not hold.

    Raises:
        DataError, SettingsError: the values in `args.json` are damaged.
    """
    template = args.get(OUR_TEMPLATE, args.get("template"))
    if not isinstance(template, str):
        raise DataError(f"{ARGS} must say what template the training used, got {template!r:.80}")
    return template, recorded_settings(args)


def recorded_settings(args: Mapping[str, Any]) -> Settings | None:
    """The settings of the training in `args.json`; None if there are none.

    Raises:
        DataError, SettingsError: they are damaged.
    """
    texts = args.get(OUR_SETTINGS)
    if not isinstance(texts, dict | None):
        raise DataError(f"{OUR_SETTINGS} in {ARGS} must hold an object, got {texts!r:.80}")
    return None if texts is None else Settings.from_texts({str(k): str(v) for k, v in texts.items()})


def _without_paths(value: Any) -> Any:
    """A value in which paths are shortened to their last part."""
    if isinstance(value, list):
        return [_without_paths(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _without_paths(entry) for key, entry in value.items()}
    if not isinstance(value, str):
        return value
    head, colon, path = value.rpartition(":") if value.startswith("stvg_jsonl:") else ("", "", value)
    return head + colon + Path(path).name if os.path.isabs(path) or path.startswith(("~", "..")) else value


def public_config(config: Mapping[str, Any], base_model: str | None) -> dict[str, Any]:
    """A configuration in which the base model has its name on the hub instead of a local path."""
    kept = dict(config)
    for name in _ORIGINS:
        if isinstance(kept.get(name), str) and (name == _ORIGINS[0] or os.path.isabs(kept[name])):
            kept[name] = base_model
    return {name: value for name, value in kept.items() if value is not None or config[name] is None}


def files_of(folder: Path, *, all_of_them: bool = True) -> Iterator[str]:
    """Sorted paths of the files below a folder that a push uploads, or only of files that users of the model need."""
    ignored = _HIDDEN if all_of_them else (*_HIDDEN, *TRAINING_FILES)
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(fnmatch(part, name) for part in relative.parts for name in ignored):
            yield relative.as_posix()


def copy_model(checkpoint: Path, out: Path) -> None:
    """Copy the files that users of a checkpoint need to a folder. Weights become hard links where this is possible."""
    for name in files_of(checkpoint, all_of_them=False):
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if _is_weights(name):
            try:
                os.link((checkpoint / name).resolve(), target)
                continue
            except OSError:  # another file system
                pass
        shutil.copyfile(checkpoint / name, target)


def _is_weights(name: str) -> bool:
    return any(fnmatch(name.rpartition("/")[2], pattern) for pattern in _WEIGHTS)


def secrets(args: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Secret values by name: values of `args.json` and of the environment whose names say that they are secret.

    The path of an existing file is not a secret, even if the file holds one. A text that looks like a path, but
    names no file, may be a key.
    """
    found = {name: value for name, value in args.items() if isinstance(value, str) and _SECRET.search(name)}
    found |= {name: value for name, value in environ.items() if _SECRET_VARIABLE.search(name)}
    return {n: value for n, value in found.items() if len(value) >= 8 and not _is_path(value)}


def _is_path(value: str) -> bool:
    return value.startswith("/") and os.path.exists(value)


def paths_of(args: Mapping[str, Any]) -> list[str]:
    """Absolute paths in the arguments of a training."""
    values = [value for value in args.values() if isinstance(value, str)]
    return sorted({value for value in values if os.path.isabs(value) and value.count("/") > 1})


def leaks(folder: Path, wanted: Mapping[str, str]) -> list[tuple[str, str]]:
    """(file, name) for each file that holds one of the wanted values, given by name. Weights are not searched."""
    found = []
    for name in files_of(folder):
        if not _is_weights(name) and (folder / name).stat().st_size <= MAX_SEARCHED_BYTES:
            data = (folder / name).read_bytes()
            found += [(name, what) for what, value in wanted.items() if value.encode() in data]
    return found
