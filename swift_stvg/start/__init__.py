"""The start: a small trained model that comes with this package.

It plays the part of a pretrained model where there is none at hand: in the examples, and in the commands that need a
model and are given none. It knows synthetic clips of one kind (`model/README.md` says which and what it scores);
examples/start makes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from swift_stvg.settings import PREFIX
from swift_stvg.sharing.checkpoint import OUR_SETTINGS, read_args


def folder() -> Path:
    """The folder of the start, a checkpoint as ms-swift loads it."""
    return Path(__file__).with_name("model")


def environment() -> dict[str, str]:
    """The STVG_* settings that the start was trained with, as the environment has them."""
    texts: dict[str, str] = read_args(folder())[OUR_SETTINGS]
    return {PREFIX + name.upper(): text for name, text in texts.items()}


def model_or_start(model: str | None) -> str:
    """The model that a command asks: the given one, or else the start. The latter is said on standard error."""
    if model is not None:
        return model
    print("no --model: the start that comes with swift_stvg answers, which knows synthetic clips only", file=sys.stderr)
    return str(folder())
