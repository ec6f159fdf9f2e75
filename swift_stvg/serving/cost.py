"""The time and the tokens that answers took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from swift_stvg.rows.row_truth import PromptSpec
from swift_stvg.serving.engines import Reply


@dataclass(slots=True)
class Cost:
    """Sums over answers whose time is known. Loading the model does not count; decoding the video does.

    Attributes:
        answers: number of answers.
        seconds: seconds that they took.
        video_s: seconds of video that they are about.
        boxes: think and final boxes in them.
        tokens: tokens of each answer, where the engine counts them.
    """

    answers: int = 0
    seconds: float = 0.0
    video_s: float = 0.0
    boxes: int = 0
    tokens: list[int] = field(default_factory=list)

    def add(self, spec: PromptSpec, reply: Reply) -> None:
        """Count a reply; without a time, or after a failure, it does not count."""
        if reply.failure is not None or reply.seconds is None:
            return
        self.answers += 1
        self.seconds += reply.seconds
        self.video_s += spec.timeline.end_s
        for text in reply.samples or (reply.text,):
            answer = spec.format.parse(text)
            self.boxes += sum(len(boxes.index) for boxes in (answer.think, answer.pred) if boxes is not None)
        if reply.tokens is not None:
            self.tokens.append(reply.tokens)

    def line(self) -> str:
        """One line for a person; "" if nothing was counted."""
        if not self.answers or self.seconds <= 0:
            return ""
        said = [f"{self.seconds / self.answers:.2f} s per video"]
        if self.video_s > 0:
            said.append(f"{self.seconds / self.video_s:.3f} s per second of video")
        if self.tokens:
            said.append(f"{sum(self.tokens) / len(self.tokens):.0f} tokens per answer")
        said.append(f"{self.boxes / self.seconds:.1f} boxes per second")
        return f"cost of {self.answers} answers: {', '.join(said)}"


def cost_of(replies: Sequence[Reply], specs: Sequence[PromptSpec]) -> Cost:
    """The cost of replies to prompts."""
    cost = Cost()
    for spec, reply in zip(specs, replies, strict=True):
        cost.add(spec, reply)
    return cost


def cost_fields(reply: Reply) -> dict[str, Any]:
    """What a record or a line of answers says of its cost, and of sampled answers, where it is known."""
    fields: dict[str, Any] = {} if reply.seconds is None else {"seconds": round(reply.seconds, 3)}
    fields |= {} if reply.tokens is None else {"tokens": reply.tokens}
    return fields | ({"samples": list(reply.samples)} if reply.samples else {})
