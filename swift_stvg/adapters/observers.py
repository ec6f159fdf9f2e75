"""Observers of scored batches: they receive the answers of a training with their values from rewards and the metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from swift_stvg.geometry import FloatArray
from swift_stvg.rewards.batch import Batch

Observer: TypeAlias = Callable[[str, FloatArray, Batch, Sequence[dict[str, Any]]], None]
"""Takes the name of a reward as it is logged, its values, the batch of B answers, and their B rows.

A reward for boxes has no values for rows without boxes."""


@dataclass(frozen=True, slots=True, eq=False)
class _Registration:
    state: Any
    observer: Observer


_REGISTERED: list[_Registration] = []


def add_observer(state: Any, observer: Observer) -> None:
    """Add an observer of a run, and remove the observers of earlier runs, because a failed run does not remove its own.

    Args:
        state: transformers' state of the trainer, which identifies the run.
        observer: called with each scored batch of the run.
    """
    _REGISTERED[:] = [*(known for known in _REGISTERED if known.state is state), _Registration(state, observer)]


def remove_observers(state: Any) -> None:
    """Remove all observers of a run."""
    _REGISTERED[:] = [known for known in _REGISTERED if known.state is not state]


def has_observers(state: Any) -> bool:
    """Whether a run has an observer."""
    return any(known.state is state for known in _REGISTERED)


def notify(state: Any, name: str, values: FloatArray, batch: Batch, rows: Sequence[dict[str, Any]]) -> None:
    """Give a scored batch to all observers of a run. A row holds at least `completion`, `videos` and `messages`."""
    for known in _REGISTERED:
        if known.state is state:
            known.observer(name, values, batch, rows)
