"""Engines that answer rows: the common interface of models and servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Row = dict[str, Any]
"""A row from `rows.making.make_prompt`, without an answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a row.

    Attributes:
        text: the model's text; empty after a failure.
        failure: why the model gave no text; None if it gave one.
        down: whether the server is the likely cause of the failure, and not this row.
        cut: how the text was cut off; empty if it was not.
        tokens: tokens of the text, as the engine counts them; None if it does not.
        seconds: time until the text was there; for rows that are answered in one call, the call's time by their number.
        samples: the sampled texts that were joined to this text; empty if it was not made so.
    """

    text: str
    failure: str | None = None
    down: bool = False
    cut: str = ""
    tokens: int | None = None
    seconds: float | None = field(default=None, compare=False)
    samples: tuple[str, ...] = ()


class Engine(Protocol):
    """Answers rows.

    Attributes:
        at_once: the best number of rows for a call of `answer`.
    """

    at_once: int

    def answer(self, rows: Sequence[Row]) -> list[Reply]:
        """A reply to each row.

        Raises:
            StvgError: the engine cannot answer any row.
        """


def cut_off(finish_reason: Any, tokens: Any) -> str:
    """How a text was cut off, by the engine's finish reason; "" if it was not."""
    if finish_reason != "length":
        return ""
    when = f" after {tokens} tokens" if isinstance(tokens, int) else ""
    return f"cut off{when}: raise --max_new_tokens, or max_tokens in --body, with another --out"
