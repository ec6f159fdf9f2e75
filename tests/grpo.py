"""A GRPO run on synthetic clips."""

from __future__ import annotations

from tests.running import TRAIN

FUNCS = ("stvg_format", "stvg_consistency", "stvg_temporal", "stvg_spatial", "stvg_think", "stvg_tiou", "stvg_viou")


GRPO = TRAIN | {
    "rlhf_type": "grpo",
    "reward_funcs": " ".join(FUNCS),
    "reward_weights": "1 1 1 1 0.5 0 0",
    "num_generations": "4",
    "per_device_train_batch_size": "4",
    "max_steps": "2",
    "max_completion_length": "120",
    "log_completions": "true",
    "save_strategy": "no",
}
