"""Answers as they are judged during training, of which the rewards and the metric tell whoever wants to see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from swift_stvg.geometry import FloatArray
from swift_stvg.rewards import Batch

Watcher: TypeAlias = Callable[[str, FloatArray, Batch, Sequence[dict[str, Any]]], None]
"""Takes the name of a reward as it is logged, its values for the answers that it judges, all B answers, and their rows.

A reward about boxes judges no answer to a row that asks for none."""
WATCHERS: list[Watcher] = []


def tell(name: str, values: FloatArray, batch: Batch, rows: Sequence[dict[str, Any]]) -> None:
    """Tell every watcher of answers; a row holds at least `completion`, `videos` and `messages`."""
    for watcher in WATCHERS:
        watcher(name, values, batch, rows)
