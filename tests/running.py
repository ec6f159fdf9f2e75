"""Running the real `swift` command."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests import warm

LIMIT_S = 600
"""Seconds after which a command counts as hanging."""
RECORDER = Path(__file__).with_name("recorder.py")
SIZES = {"STVG_MAX_SIDE": "56", "STVG_SIDE_MULTIPLE": "56", "STVG_SYSTEM_PROMPT": "false"}
COMMON = {
    "model_type": "qwen2_5_vl",
    "template": "stvg_qwen2_5_vl",
    "torch_dtype": "float32",
}
TRAIN = COMMON | {
    "tuner_type": "full",
    "freeze_vit": "false",
    "freeze_aligner": "false",
    "gradient_checkpointing": "false",
    "check_model": "false",
    "use_cpu": "true",
    "report_to": "none",
    "logging_steps": "1",
    "dataloader_num_workers": "1",
    "add_version": "false",
}
EVALUATE = {
    "val_dataset": "stvg_synthetic:test",
    "per_device_eval_batch_size": "3",  # so that two processes must fill up the last round
    "eval_metric": "stvg",
    "predict_with_generate": "true",
    "max_new_tokens": "160",
    "metric_for_best_model": "m_tIoU",
    "load_best_model_at_end": "true",
}
"""An evaluation within SFT."""
PREVIEW = {"report_to": "tensorboard", "callbacks": "stvg_preview"}


class SwiftFailed(Exception):
    """The swift command exited with an error. The message holds the end of its output."""


def swift(
    command: str,
    options: dict[str, str],
    folder: Path,
    env: dict[str, str],
    plugin: str = "swift_stvg",
    record: Path | None = None,
    words: list[str] | None = None,
    anew: bool = False,
) -> str:
    """Run `swift COMMAND` in `folder` and return its output.

    Args:
        command: a command of ms-swift.
        options: its options by name.
        folder: the working folder.
        env: more environment variables.
        plugin: value of --external_plugins.
        record: a file for the model's inputs from the template (tests/recorder.py).
        words: words of the command line in place of the plugin.
        anew: whether a new Python runs the command, as from a shell; otherwise a fork of a process that has imported
            ms-swift already.

    Raises:
        SwiftFailed: the command ended with an error.
        TimeoutError: the command took longer than LIMIT_S.
    """
    words = [command, *(words or ["--external_plugins", plugin])]
    if record is not None:
        words.append(str(RECORDER))
        env = env | {"RECORD_TO": str(record)}
    words += as_words(options)
    return run([sys.executable, "-m", "swift.cli.main", *words], folder, env, anew or "NPROC_PER_NODE" in env)


def as_words(options: dict[str, str]) -> list[str]:
    """Options as words of a command line; a value may be several words."""
    return [word for name, value in options.items() for word in (f"--{name}", *value.split())]


def run(words: list[str], folder: Path, env: dict[str, str], anew: bool = False) -> str:
    """Run a command that imports ms-swift, without STVG_* settings of this process, and return its output.

    Args:
        words: this Python and its arguments.
        folder: the working folder.
        env: more environment variables.
        anew: as for `swift`.

    Raises:
        SwiftFailed: the command ended with an error.
        TimeoutError: the command took longer than LIMIT_S.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        printed = Path(scratch, "printed.txt")
        if anew or "PYTHONPATH" in env:
            status = _anew(words, folder, _environment(env), printed)
        else:
            assert words[0] == sys.executable
            status = warm.server().run(words[1:], folder, _environment(env), printed, LIMIT_S)
        text = printed.read_text()
    if status:
        raise SwiftFailed(text[-6000:])
    return text


def _anew(words: list[str], folder: Path, env: dict[str, str], printed: Path) -> int:
    with printed.open("wb") as file:
        how: dict[str, Any] = {"stdout": file, "stderr": subprocess.STDOUT, "timeout": LIMIT_S}
        try:
            return subprocess.run(words, cwd=folder, env=env, **how).returncode
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{error}: {printed.read_text()[-3000:]}") from None


def _environment(more: dict[str, str]) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    return clean | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | more


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def logged(folder: Path) -> list[dict[str, float]]:
    """The numbers of each logged step."""
    return [
        {key: float(value) for key, value in line.items() if key.startswith(("reward", "loss"))}
        for line in json_lines(folder / "logging.jsonl")
        if "loss" in line
    ]


def previewed(folder: Path) -> tuple[dict[str, list[int]], dict[str, dict[int, float]]]:
    """The records of `stvg_preview` in the event files of a training's output folder.

    Returns:
        The steps of the pictures by tag; and for each histogram's tag the number of values of each step.
    """
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = list((folder / "runs").glob("*.stvg"))
    assert len(files) == 1, "the first process alone writes one"
    events = EventAccumulator(str(files[0]), {"images": 0, "histograms": 0})
    events.Reload()
    pictures = {}
    for tag in events.Tags()["images"]:
        pictures[tag] = [event.step for event in events.Images(tag)]
        for event in events.Images(tag):
            picture = Image.open(io.BytesIO(event.encoded_image_string))
            assert len(picture.getcolors(1 << 20)) > 10, "not blank"
    histograms = {
        tag: {event.step: event.histogram_value.num for event in events.Histograms(tag)}
        for tag in events.Tags()["histograms"]
    }
    return pictures, histograms
