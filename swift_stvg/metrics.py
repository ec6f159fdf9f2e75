"""Metrics over a set of answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swift_stvg.geometry import FloatArray


def summarise(tiou: FloatArray, viou: FloatArray, thresholds: Sequence[float] = (0.3, 0.5)) -> dict[str, float]:
    """Means over samples, each in [0, 1].

    Args:
        tiou: (N,) temporal IoU of each sample, 0 where nothing was predicted.
        viou: (N,) spatio-temporal IoU likewise.
        thresholds: R of vIoU@R, the share of samples whose vIoU is greater than R.

    Returns:
        m_tIoU, m_vIoU, and vIoU@R for each threshold.

    Raises:
        ValueError: there is no sample, or the arrays differ in length.
    """
    if len(tiou) == 0 or len(tiou) != len(viou):
        raise ValueError(f"tiou and viou must have the same length, at least 1, got {len(tiou)} and {len(viou)}")
    return {
        "m_tIoU": float(np.mean(tiou)),
        "m_vIoU": float(np.mean(viou)),
        **{f"vIoU@{r:g}": float(np.mean(viou > r)) for r in thresholds},
    }
