"""The rewards as ms-swift reward functions. Each has its own class, because ms-swift logs them by class name.

Metrics are logged under their usual names, `rewards/m_vIoU/mean` and `eval_rewards/m_vIoU/mean`, which
`--metric_for_best_model rewards/m_vIoU/mean` accepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from swift.rewards import ORM, orms
from swift.utils import get_logger

from swift_stvg.adapters.observers import has_observers, notify
from swift_stvg.adapters.versions import warn_of_lack
from swift_stvg.errors import DataError
from swift_stvg.geometry import THRESHOLDS
from swift_stvg.rewards.callables import compute_reward
from swift_stvg.rewards.functions import REWARDS
from swift_stvg.rows.target_truth import truth_of_target
from swift_stvg.settings import Settings
from swift_stvg.video.request import VIDEO_KEY, VideoRequest

logger = get_logger()


class StvgReward(ORM):  # type: ignore[misc]
    """A reward on the rows' `stvg` column. `RewardResult.values` describes the rows for which it is None."""

    reward: str

    def __init__(self, args: Any = None, **kwargs: Any) -> None:
        super().__init__(args, **kwargs)
        if hasattr(args, "advantage_estimator"):  # a training makes its rewards before its first step
            check_none(args.advantage_estimator, args.scale_rewards)

    def __call__(
        self,
        completions: Sequence[Any],
        stvg: Sequence[str | None] | None = None,
        ground_truths: Sequence[str] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        if ground_truths is not None:  # `swift sample --orm_model` gives requests and exact answers
            stvg = [_truth_of(*pair) for pair in zip(completions, ground_truths, strict=True)]
            completions = [request.messages[-1]["content"] for request in completions]
        found, state = compute_reward(self.reward, completions, stvg), columns.get("trainer_state")
        if found.batch is not None and found.applies.any() and has_observers(state):
            values, rows = found.rewards[found.applies], _rows(completions, stvg or [], columns)
            notify(state, type(self).__name__, values, found.batch, rows)
        return found.values


def _truth_of(request: Any, target: str) -> str:
    """The `stvg` column of a row, made from the request and the exact answer that `swift sample` gives a reward.

    Raises:
        DataError: the row is not one of swift_stvg, or has other settings than this environment.
    """
    asked = (request.chat_template_kwargs or {}).get(VIDEO_KEY)
    prompts = [message["content"] for message in request.messages if message["role"] == "user"]
    if asked is None or len(prompts) != 1:
        raise DataError("a reward of swift_stvg for `swift sample` needs a dataset of swift_stvg")
    return truth_of_target(prompts[0], VideoRequest.from_json(asked), target, Settings.from_env()).to_json()


def _rows(
    completions: Sequence[str], row_truths: Sequence[str | None], columns: dict[str, Any]
) -> list[dict[str, Any]]:
    """The rows that carry a truth, with their completions."""
    return [
        {"completion": completion} | {name: columns[name][i] for name in ("videos", "messages") if name in columns}
        for i, (completion, row_truth) in enumerate(zip(completions, row_truths, strict=True))
        if row_truth is not None
    ]


@cache
def check_none(estimator: str, scale: str) -> None:
    """Warn if advantages of this ms-swift become NaN when a reward is None, as gdpo's did (ms-swift issue 8123).

    Args:
        estimator: `--advantage_estimator`.
        scale: `--scale_rewards`.
    """
    group, none = [0.0, 1.0], [torch.nan] * 2
    try:
        from swift.rl_core.advantage import compute_advantages

        advantages, _ = compute_advantages(
            rewards_per_func=torch.tensor([group + none, none + group]).T,  # two prompts, each with its own reward
            reward_weights=torch.ones(2),
            num_generations=2,
            advantage_estimator=estimator,
            scale_rewards=scale,
        )
    except (ImportError, TypeError, ValueError) as error:  # other arguments or another result
        warn_of_lack("the check of advantages with rewards of None", error)
        return
    if not advantages.isfinite().all():
        logger.warning(
            f"with --advantage_estimator {estimator} --scale_rewards {scale} this ms-swift computes NaN advantages "
            "in a step with a reward of None, and learns nothing from that step. Rewards of swift_stvg are None for "
            "rows of other datasets; rewards for boxes are None for rows without boxes. For mixed data, choose "
            "--scale_rewards group"
        )


METRIC_NAMES = {
    "stvg_tiou": "m_tIoU",
    "stvg_viou": "m_vIoU",
    **{f"stvg_viou@{r}": f"vIoU@{r}" for r in THRESHOLDS},
}
"""Names of the metrics in the logs."""


def _reward_class(name: str) -> type[StvgReward]:
    class_name = METRIC_NAMES.get(name) or "".join(word.capitalize() for word in name.split("_"))
    facts = {"reward": name, "__doc__": REWARDS[name].__doc__, "__module__": __name__}
    return type(class_name, (StvgReward,), facts)


CLASSES = {name: _reward_class(name) for name in REWARDS}
globals().update({cls.__name__: cls for cls in CLASSES.values()})  # so that workers can unpickle them


def register() -> None:
    """Register every reward by its name; may be called again."""
    orms.update(CLASSES)
