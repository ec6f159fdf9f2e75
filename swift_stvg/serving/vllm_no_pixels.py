"""For vLLM, which imports it in its own processes: answers without the tokens that stand for pixels. Needs vLLM."""

from __future__ import annotations

from typing import Any

from vllm.v1.sample.logits_processor import LogitsProcessor

try:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as RunnerV2LogitsProcessor
except ModuleNotFoundError:  # vLLM 0.26, say, leaves runs with such processors to its first runner
    RunnerV2LogitsProcessor = object

UNWANTED = "swift_stvg_unwanted"
"""Where the template puts the tokens' ids in vLLM's `additional_config`."""


class NoPixels(LogitsProcessor, RunnerV2LogitsProcessor):  # type: ignore[misc]
    """Makes an image's and a video's placeholder impossible to write, under either of vLLM's model runners."""

    def __init__(self, vllm_config: Any, *_: Any) -> None:
        self.unwanted: list[int] = vllm_config.additional_config[UNWANTED]

    def apply(self, logits: Any, *_: Any) -> Any:
        """Logits (K, vocabulary), changed in place."""
        logits[:, self.unwanted] = float("-inf")
        return logits

    def is_argmax_invariant(self) -> bool:
        """No: the placeholder may have been the likeliest."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """All requests are alike."""
