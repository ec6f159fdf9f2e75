"""A logits processor that prevents pixel tokens in answers. vLLM imports it in its own processes. Needs vLLM."""

from __future__ import annotations

from typing import Any

from vllm.v1.sample.logits_processor import LogitsProcessor

try:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as RunnerV2LogitsProcessor
except ModuleNotFoundError:  # older versions such as 0.26 use their first runner for such processors
    RunnerV2LogitsProcessor = object

UNWANTED = "swift_stvg_unwanted"
"""The key of the tokens' ids in vLLM's `additional_config`. The template sets it."""


class NoPixels(LogitsProcessor, RunnerV2LogitsProcessor):  # type: ignore[misc]
    """Gives the placeholders of images and videos a probability of 0, in both of vLLM's model runners."""

    def __init__(self, vllm_config: Any, *_: Any) -> None:
        self.unwanted: list[int] = vllm_config.additional_config[UNWANTED]

    def apply(self, logits: Any, *_: Any) -> Any:
        """Change logits (K, vocabulary) in place."""
        logits[:, self.unwanted] = float("-inf")
        return logits

    def is_argmax_invariant(self) -> bool:
        """No: a placeholder may be the most likely token."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Do nothing: all requests are processed alike."""
