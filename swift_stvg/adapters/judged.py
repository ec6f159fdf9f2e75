"""Answers as they are judged during training, of which the rewards and the metric tell whoever wants to see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from swift_stvg.geometry import FloatArray
from swift_stvg.rewards.batch import Batch

Watcher: TypeAlias = Callable[[str, FloatArray, Batch, Sequence[dict[str, Any]]], None]
"""Takes the name of a reward as it is logged, its values for the answers that it judges, all B answers, and their rows.

A reward about boxes judges no answer to a row that asks for none."""


@dataclass(frozen=True, slots=True, eq=False)
class _Watch:
    state: Any
    watcher: Watcher


_WATCHES: list[_Watch] = []


def watch(state: Any, watcher: Watcher) -> None:
    """Tell a watcher of the answers of one run from now on, and those of earlier runs of nothing more.

    Args:
        state: transformers' state of the run's trainer, by which a run is known.
        watcher: who is told. A run that fails cannot say that it is over.
    """
    _WATCHES[:] = [*(known for known in _WATCHES if known.state is state), _Watch(state, watcher)]


def unwatch(state: Any) -> None:
    """Tell nobody of the answers of a run any more."""
    _WATCHES[:] = [known for known in _WATCHES if known.state is not state]


def is_watched(state: Any) -> bool:
    """Whether anybody wants to know of a run's answers."""
    return any(known.state is state for known in _WATCHES)


def tell(state: Any, name: str, values: FloatArray, batch: Batch, rows: Sequence[dict[str, Any]]) -> None:
    """Tell every watcher of a run of answers; a row holds at least `completion`, `videos` and `messages`."""
    for known in _WATCHES:
        if known.state is state:
            known.watcher(name, values, batch, rows)
