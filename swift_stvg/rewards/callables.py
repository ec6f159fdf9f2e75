"""The rewards in the form that GRPO trainers (TRL, ms-swift) call: with completions and columns of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from swift_stvg.geometry import FloatArray
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import REWARDS, applies
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.util import validation

Completion: TypeAlias = str | Sequence[dict[str, Any]]
"""A text, or messages; the last message holds the text."""
RewardCallable: TypeAlias = Callable[..., list[float | None]]


@dataclass(frozen=True, slots=True, eq=False)
class RewardResult:
    """The values of one reward for some completions.

    Attributes:
        values: one for each completion. None means that the reward does not apply, and trainers leave it out of the
            sum: the row has no `stvg` column, or the reward needs boxes and the row's format has none.
        batch: the completions whose rows have a `stvg` column; None if there are none.
        rewards: (B,) their rewards.
        applies: (B,) whether the reward applies to them.

    Raises:
        RecordError: lengths differ.
    """

    values: list[float | None]
    batch: Batch | None
    rewards: FloatArray
    applies: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        validation.same_length("completion", rewards=self.rewards, applies=self.applies, batch=self.batch or ())


def compute_reward(name: str, completions: Sequence[Completion], stvg: Sequence[str | None] | None) -> RewardResult:
    """Compute a reward.

    Args:
        name: the reward's name, a key of `REWARDS`.
        completions: B texts, or B lists of messages.
        stvg: B values of the column `stvg`; None for a row without it, or if the data has no such column.

    Raises:
        DataError: a value of the column was not written by this package.
    """
    row_truths: Sequence[str | None] = [None] * len(completions) if stvg is None else stvg
    texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
    ours = [(text, row) for text, row in zip(texts, row_truths, strict=True) if row is not None]
    if not ours:
        return RewardResult([None] * len(completions), None, np.empty(0), np.empty(0, dtype=bool))
    batch = _batch(*zip(*ours, strict=True))
    rewards = REWARDS[name](batch)
    fits = np.array([applies(name, row_truth) for row_truth in batch.row_truths], dtype=bool)
    given = iter([value if fit else None for value, fit in zip(rewards.tolist(), fits.tolist(), strict=True)])
    return RewardResult([None if row is None else next(given) for row in row_truths], batch, rewards, fits)


@lru_cache(maxsize=4)
def _batch(texts: tuple[str, ...], rows: tuple[str, ...]) -> Batch:
    """Parse once for all rewards of a step: trainers call them one after the other with the same texts."""
    return Batch(texts, [RowTruth.from_json(row) for row in rows])


def _callable(name: str) -> RewardCallable:
    def reward(
        completions: Sequence[Completion], stvg: Sequence[str | None] | None = None, **columns: Any
    ) -> list[float | None]:
        return compute_reward(name, completions, stvg).values

    reward.__name__ = reward.__qualname__ = name  # the name in trainers' logs
    reward.__doc__ = REWARDS[name].__doc__
    return reward


CALLABLES = {name: _callable(name) for name in REWARDS}
"""The rewards by name."""
