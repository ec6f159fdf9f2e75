"""What the runners in this folder share: settings, checkpoints that are whole, and how training goes on from one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Values of a YAML file as the shell would have them."""
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def last_checkpoint(trained: Path) -> Path | None:
    """The newest checkpoint that was written whole."""
    found = [path.parent for path in trained.glob("checkpoint-*/trainer_state.json")]
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def resume_options(trained: Path) -> list[str]:
    """Options of `swift` that continue from the last checkpoint, if there is one."""
    last = last_checkpoint(trained)
    if last is None:
        return []
    # --resume_from_checkpoint alone brings back the optimizer, but not Qwen2.5-VL's weights
    model = [] if is_lora(last) else ["--model", str(last)]
    return [*model, "--resume_from_checkpoint", str(last)]


def is_lora(checkpoint: Path) -> bool:
    """Whether a checkpoint holds adapters only."""
    return (checkpoint / "adapter_config.json").is_file()
