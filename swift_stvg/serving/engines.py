"""What answers rows: the interface that models and servers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Row = dict[str, Any]
"""As `rows.make_prompt` makes them, without an answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for a row.

    Attributes:
        text: what the model wrote.
        failure: why it could not be asked; None if it was.
        down: whether that is likely to be the server's fault, and not this row's.
        cut: how the text was cut off, if it was.
    """

    text: str
    failure: str | None = None
    down: bool = False
    cut: str = ""


class Engine(Protocol):
    """Answers rows.

    Attributes:
        at_once: rows that are worth giving to it together.
    """

    at_once: int

    def answer(self, rows: Sequence[Row]) -> list[Reply]:
        """A reply to each row.

        Raises:
            StvgError: no row will be answered.
        """


def cut_off(finish_reason: Any, tokens: Any) -> str:
    """How a text was cut off, from what an engine says of its end; "" if it was not."""
    if finish_reason != "length":
        return ""
    when = f" after {tokens} tokens" if isinstance(tokens, int) else ""
    return f"cut off{when}: raise --max_new_tokens, or max_tokens in --body, with another --out"
