"""A plugin for `swift rlhf` that measures the parts of a GRPO step's time; run.py gives it to each of its runs.

Each moment belongs to one part: to the videos while any thread encodes a row, otherwise to the innermost of the
trainer's methods in PARTS. Each change of the part waits for the GPU, so that work counts for the part that started it.
STEP_COST_FILE gets a line of JSON for each step, from its start to the start of the next step.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from swift.rlhf_trainers.grpo_trainer import GRPOTrainer
from swift.template import Template

TRAINING, LOGPS = "training", "log-probabilities"
PARTS = {
    "training_step": TRAINING,
    "compute_loss": TRAINING,
    "_generate_and_score_completions": "other",
    "_engine_infer": "generation",
    "_compute_rewards_per_func": "rewards",
    "_get_per_token_logps_and_entropies": LOGPS,
}


class Clock:
    """Seconds by part, each moment counted once."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._parts = [TRAINING]  # of the main thread, the innermost last
        self._encoding = 0
        self._since = time.perf_counter()
        self._lock = threading.Lock()

    def _turn(self) -> None:
        now = time.perf_counter()
        self.seconds["videos" if self._encoding else self._parts[-1]] += now - self._since
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """One of the trainer's methods; the model's own pass within the loss is training."""
        _synchronize()
        with self._lock:
            self._turn()
            self._parts.append(TRAINING if name == LOGPS and self._parts[-1] == TRAINING else name)
        yield
        _synchronize()
        with self._lock:
            self._turn()
            self._parts.pop()

    @contextmanager
    def encoding(self) -> Iterator[None]:
        """One row's encoding, in any thread."""
        with self._lock:
            self._turn()
            self._encoding += 1
        try:
            yield
        finally:
            with self._lock:
                self._turn()
                self._encoding -= 1

    def lap(self) -> dict[str, float]:
        """The seconds since the last call."""
        with self._lock:
            self._turn()
            seconds = dict(self.seconds)
            self.seconds.clear()
        return seconds


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak_gb() -> float:
    """Largest memory until now: of the GPU, or of the process if there is no GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _timed(method: Callable[..., Any], part: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        if method.__name__ == "training_step":
            _synchronize()
            with Path(os.environ["STEP_COST_FILE"]).open("a") as lines:
                lines.write(json.dumps({"seconds": CLOCK.lap(), "peak_gb": _peak_gb()}) + "\n")
        with CLOCK.part(part):
            return method(*args, **kwargs)

    return run


def _timed_encode(encode: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(encode)
    def run(*args: Any, **kwargs: Any) -> Any:
        with CLOCK.encoding():
            return encode(*args, **kwargs)

    return run


def _with_own_ids(init: Callable[..., None]) -> Callable[..., None]:
    """Take the ids from the tokenizer, because random models do not have Qwen's own tokenizer."""

    @functools.wraps(init)
    def run(self: Any, processor: Any) -> None:
        init(self, processor)
        if processor is not None:
            self.image_token_id = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
            self.video_token_id = self.tokenizer.convert_tokens_to_ids("<|video_pad|>")

    return run


CLOCK = Clock()
for name, part in PARTS.items():
    setattr(GRPOTrainer, name, _timed(getattr(GRPOTrainer, name), part))
Template.encode = _timed_encode(Template.encode)
Template.init_processor = _with_own_ids(Template.init_processor)
