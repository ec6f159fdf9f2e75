"""Several sampled answers to each row, joined to one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swift_stvg.errors import DataError
from swift_stvg.rows.row_truth import PromptSpec
from swift_stvg.scoring.vote import RULES, vote
from swift_stvg.serving.engines import Engine, Reply, Row


@dataclass(frozen=True, slots=True)
class Voting:
    """How often each row is asked, and how its answers are joined.

    Args:
        samples: number of answers to each row; with 1 nothing is joined.
        rule: one of `scoring.vote.RULES`.

    Raises:
        DataError: a value is impossible.
    """

    samples: int = 1
    rule: str = "median"

    def __post_init__(self) -> None:
        if self.samples < 1 or self.rule not in RULES:
            raise DataError(f"samples must be at least 1 and the rule {' or '.join(RULES)}, got {self}")

    def around(self, engine: Engine, spec_of: Callable[[Row], PromptSpec]) -> Engine:
        """An engine that asks another engine several times; `spec_of` gives the prompt spec of a row."""
        return engine if self.samples == 1 else _Sampled(engine, self, spec_of)


class _Sampled:
    def __init__(self, engine: Engine, voting: Voting, spec_of: Callable[[Row], PromptSpec]) -> None:
        self._engine, self._voting, self._spec_of = engine, voting, spec_of
        self.at_once = max(1, engine.at_once // voting.samples)

    def answer(self, rows: Sequence[Row]) -> list[Reply]:
        n = self._voting.samples
        replies = self._engine.answer([row for row in rows for _ in range(n)])
        return [self._joined(row, replies[i * n : (i + 1) * n]) for i, row in enumerate(rows)]

    def _joined(self, row: Row, replies: Sequence[Reply]) -> Reply:
        """One reply; answers that failed do not vote."""
        given = [reply for reply in replies if reply.failure is None]
        if not given:
            return replies[0]
        text = vote([reply.text for reply in given], self._spec_of(row), self._voting.rule)
        cut = next((reply.cut for reply in given if reply.text == text), "")
        tokens = [reply.tokens for reply in given if reply.tokens is not None]
        seconds = [reply.seconds for reply in given if reply.seconds is not None]
        return Reply(
            text,
            cut=cut,
            tokens=sum(tokens) if tokens else None,
            seconds=sum(seconds) if seconds else None,
            samples=tuple(reply.text for reply in given),
        )
