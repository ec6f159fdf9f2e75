"""The cost of an engine's replies, and how a record and a line of answers hold it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift_stvg.rows.row_truth import PromptSpec
from swift_stvg.scoring.cost import Cost
from swift_stvg.serving.engines import Reply


def cost_of(replies: Sequence[Reply], specs: Sequence[PromptSpec]) -> Cost:
    """The cost of replies to prompts. A reply without a time, or after a failure, does not count."""
    cost = Cost()
    for spec, reply in zip(specs, replies, strict=True):
        if reply.failure is None and reply.seconds is not None:
            texts = [spec.format.parse(text) for text in reply.samples or (reply.text,)]
            cost.add(spec, texts, reply.seconds, reply.tokens)
    return cost


def cost_fields(reply: Reply) -> dict[str, Any]:
    """What a record or a line of answers says of its cost, and of sampled answers, where it is known."""
    fields: dict[str, Any] = {} if reply.seconds is None else {"seconds": round(reply.seconds, 3)}
    fields |= {} if reply.tokens is None else {"tokens": reply.tokens}
    return fields | ({"samples": list(reply.samples)} if reply.samples else {})
