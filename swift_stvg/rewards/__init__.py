"""The rewards of STVG-o1 (arXiv 2511.21375) and STVG-R1 (arXiv 2602.11730), and two metrics in the same form.

`REWARDS` holds functions of a `Batch`. `stvg_format` and the other callables take completions and columns of the data,
as GRPO trainers call them: `stvg_spatial(completions, stvg=column)` returns a list of floats. Its value is None for a
row to which the reward does not apply.
"""

from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.callables import CALLABLES
from swift_stvg.rewards.functions import OBJECT_WEIGHTS, REWARDS, WEIGHTS, total

stvg_consistency = CALLABLES["stvg_consistency"]
stvg_format = CALLABLES["stvg_format"]
stvg_object = CALLABLES["stvg_object"]
stvg_object_viou = CALLABLES["stvg_object_viou"]
stvg_spatial = CALLABLES["stvg_spatial"]
stvg_spatial_giou = CALLABLES["stvg_spatial_giou"]
stvg_spatial_l1 = CALLABLES["stvg_spatial_l1"]
stvg_temporal = CALLABLES["stvg_temporal"]
stvg_think = CALLABLES["stvg_think"]
stvg_tiou = CALLABLES["stvg_tiou"]
stvg_viou = CALLABLES["stvg_viou"]

__all__ = [
    "CALLABLES",
    "OBJECT_WEIGHTS",
    "REWARDS",
    "WEIGHTS",
    "Batch",
    "stvg_consistency",
    "stvg_format",
    "stvg_object",
    "stvg_object_viou",
    "stvg_spatial",
    "stvg_spatial_giou",
    "stvg_spatial_l1",
    "stvg_temporal",
    "stvg_think",
    "stvg_tiou",
    "stvg_viou",
    "total",
]
