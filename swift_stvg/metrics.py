"""Metrics over a set of answers: means of one number per sample, and bootstrap intervals for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from swift_stvg.geometry import FloatArray, IntArray

THRESHOLDS = (0.3, 0.5)
RESAMPLES = 1000


def per_sample(
    tiou: FloatArray, viou: FloatArray, siou: FloatArray | None = None, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, FloatArray]:
    """The metrics of each sample, (N,) each, whose means are those of a table.

    Args:
        tiou: (N,) temporal IoU of each sample, 0 where nothing was predicted.
        viou: (N,) spatio-temporal IoU likewise.
        siou: (N,) mean spatial IoU over the annotated event likewise; left out if None.
        thresholds: R of tIoU@R and vIoU@R, 1 for a sample whose value is greater than R.

    Returns:
        m_tIoU, m_vIoU, m_sIoU, tIoU@R and vIoU@R for each threshold.

    Raises:
        ValueError: there is no sample, or the arrays differ in length.
    """
    if len(tiou) == 0 or len({len(values) for values in (tiou, viou, siou) if values is not None}) > 1:
        raise ValueError(f"tiou and viou must have the same length, at least 1, got {len(tiou)} and {len(viou)}")
    return {
        "m_tIoU": tiou,
        "m_vIoU": viou,
        **({} if siou is None else {"m_sIoU": siou}),
        **{f"tIoU@{r}": (tiou > r).astype(np.float64) for r in thresholds},
        **{f"vIoU@{r}": (viou > r).astype(np.float64) for r in thresholds},
    }


def summarise(
    tiou: FloatArray, viou: FloatArray, siou: FloatArray | None = None, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, float]:
    """Means over samples, each in [0, 1]; arguments and errors as `per_sample`."""
    return {name: float(values.mean()) for name, values in per_sample(tiou, viou, siou, thresholds).items()}


def bootstrap_intervals(
    values: FloatArray,
    weights: npt.NDArray[np.bool_] | FloatArray,
    groups: IntArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[FloatArray, FloatArray]:
    """Percentile bootstrap intervals of column means, resampling groups of rows.

    Sentences about one video rise and fall together, so the videos are what is drawn with replacement, not the
    sentences. The draws are the same for all columns, so a column of differences gets a paired interval.

    Args:
        values: (N, M).
        weights: (N, M) of each row in a column's mean, at least 0: which rows it is over, or how much each counts.
        groups: (N,) number of each row's group, from 0 without gaps.
        resamples: number of draws.
        seed: of the draws.
        level: of the intervals.

    Returns:
        Lower and upper ends, (M,) each; NaN for a column with rows of fewer than two groups, which says nothing about
        others.

    Raises:
        ValueError: a value is not finite.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13.
    """
    if not np.isfinite(values).all():
        raise ValueError("a metric is not finite")
    n_groups = int(groups.max()) + 1
    sums = np.zeros((n_groups, 2 * values.shape[1]))  # per group: the sums of all columns, then their counts
    np.add.at(sums, groups, np.concatenate([values * weights, weights], axis=1))
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    chunk = max(1, 2_000_000 // n_groups)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = generator.integers(0, n_groups, (rows, n_groups)) + n_groups * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n_groups).reshape(rows, n_groups)
        total, count = np.split(times.astype(np.float64) @ sums, 2, axis=1)  # (rows, M) each
        means[start : start + rows] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    low, high = np.full((2, values.shape[1]), np.nan)
    several = np.count_nonzero(sums[:, values.shape[1] :], axis=0) > 1
    if several.any():
        low[several], high[several] = np.nanquantile(means[:, several], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def means_with_intervals(
    values: FloatArray, weights: npt.NDArray[np.bool_] | FloatArray, groups: IntArray
) -> list[list[float | None]]:
    """[mean, low, high] of each column, for a report.

    Args:
        values, weights, groups: as `bootstrap_intervals` takes them.

    Returns:
        M lists; the ends are None where rows of one group are all there is, all three where no row has a weight.

    Raises:
        ValueError: as `bootstrap_intervals`.
    """
    sums = weights.sum(axis=0)
    means = np.divide((values * weights).sum(axis=0), sums, out=np.full(len(sums), np.nan), where=sums > 0)
    table = np.stack([means, *bootstrap_intervals(values, weights, groups)], axis=1)  # (M, 3)
    return [[None if np.isnan(value) else value for value in row] for row in table.tolist()]
