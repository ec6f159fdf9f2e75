"""The time and the tokens that answers took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swift_stvg.answers.format import Answer
from swift_stvg.rows.row_truth import PromptSpec

NO_ANSWER = "no answer"
"""The status of a record or a line of answers for which the model gave no text."""
LARGEST = 10**9
"""Seconds and tokens of an answer are less than this."""
_UNITS = {
    "s_per_video": "{:.2f} s per video",
    "s_per_video_s": "{:.3f} s per second of video",
    "tokens_per_answer": "{:.0f} tokens per answer",
    "boxes_per_s": "{:.1f} boxes per second",
}


@dataclass(slots=True)
class Cost:
    """Sums over answers whose time or tokens are known. Loading the model does not count; decoding the video does.

    Attributes:
        answers: number of answers with a time.
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

    def add(self, spec: PromptSpec, texts: Sequence[Answer], seconds: float | None, tokens: int | None) -> None:
        """Count an answer.

        Args:
            spec: the prompt spec of its question.
            texts: the answer as read; several if it was joined from samples.
            seconds, tokens: what it took, with all samples; None if unknown.
        """
        if tokens is not None:
            self.tokens.append(tokens)
        if seconds is not None:
            self.answers += 1
            self.seconds += seconds
            self.video_s += spec.timeline.end_s
            lists = (boxes for answer in texts for boxes in (answer.think, answer.pred) if boxes is not None)
            self.boxes += sum(len(boxes.index) for boxes in lists)

    def figures(self) -> dict[str, float]:
        """How many answers were counted, and the means that are known; empty if nothing is."""
        found: dict[str, float] = {}
        if self.seconds > 0:
            found["s_per_video"] = self.seconds / self.answers
            if self.video_s > 0:
                found["s_per_video_s"] = self.seconds / self.video_s
        if self.tokens:
            found["tokens_per_answer"] = sum(self.tokens) / len(self.tokens)
        if self.seconds > 0:
            found["boxes_per_s"] = self.boxes / self.seconds
        return {"answers": self.answers or len(self.tokens)} | found if found else {}


def cost_line(figures: Mapping[str, float]) -> str:
    """Figures of `Cost.figures` in one line for a person; "" if there are none."""
    said = ", ".join(text.format(figures[name]) for name, text in _UNITS.items() if name in figures)
    return said and f"cost of {figures['answers']} answers: {said}"


def recorded_cost(line: Mapping[str, Any]) -> tuple[float | None, int | None]:
    """The seconds and tokens that a line of answers names (`serving.cost.cost_fields`); None where it names none.

    The line may be of another program, whose fields of these names mean something else.
    """
    seconds: Any = line.get("seconds")
    tokens: Any = line.get("tokens")
    if line.get("status") == NO_ANSWER:
        return None, None
    if type(seconds) not in (int, float) or not 0 <= seconds < LARGEST:
        seconds = None
    if type(tokens) is not int or not 0 <= tokens < LARGEST:
        tokens = None
    return seconds, tokens
