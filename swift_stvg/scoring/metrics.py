"""Metrics over a set of answers: means of one number for each sample, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from swift_stvg.geometry import THRESHOLDS, FloatArray, IntArray
from swift_stvg.util import validation

RESAMPLES = 1000


BoolArray: TypeAlias = npt.NDArray[np.bool_]


def per_sample(
    tiou: FloatArray,
    viou: FloatArray | None = None,
    siou: FloatArray | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    at_least: bool = False,
) -> dict[str, FloatArray]:
    """The metrics of each sample, (N,) each, whose means stand in a table.

    Args:
        tiou: (N,) temporal IoU of each sample, 0 where nothing was predicted.
        viou: (N,) spatio-temporal IoU of each sample; None for data without boxes.
        siou: (N,) mean spatial IoU over the annotated event; None for data without boxes.
        thresholds: R of tIoU@R and vIoU@R, 1 for a sample whose value is greater than R.
        at_least: whether a value equal to R counts too.

    Returns:
        m_tIoU, m_vIoU, m_sIoU, tIoU@R and vIoU@R for each threshold.

    Raises:
        RecordError: there is no sample, the arrays differ in length, or a number is not in [0, 1].
    """
    columns = {"tiou": tiou} | {name: c for name, c in (("viou", viou), ("siou", siou)) if c is not None}
    known = {name: validation.numbers(name, column, low=0, high=1) for name, column in columns.items()}
    if validation.same_length("sample", "", **known) == 0:
        validation.refuse("tiou", "hold at least one sample", "none")
    above = {
        f"{'t' if name == 'tiou' else 'v'}IoU@{r}": (column >= r if at_least else column > r).astype(np.float64)
        for name, column in known.items()
        if name != "siou"
        for r in thresholds
    }
    return {f"m_{name[0]}IoU": column for name, column in known.items()} | above


def about_boxes(name: str) -> bool:
    """Whether a metric of `per_sample` needs samples with boxes."""
    return "tIoU" not in name


def summarise(
    tiou: FloatArray,
    viou: FloatArray | None = None,
    siou: FloatArray | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    boxes: BoolArray | None = None,
) -> dict[str, float]:
    """Means over samples, each in [0, 1].

    Args:
        tiou, viou, siou, thresholds: as `per_sample` takes them.
        boxes: (N,) which samples have boxes; None for all. Metrics of boxes are means over these samples; they are left
            out if there are none.

    Raises:
        RecordError: as `per_sample`.
    """
    counted = np.ones(len(tiou), dtype=bool) if boxes is None else boxes
    validation.same_length("sample", tiou=tiou, boxes=counted)
    return {
        name: float((values[counted] if about_boxes(name) else values).mean())
        for name, values in per_sample(tiou, viou, siou, thresholds).items()
        if counted.any() or not about_boxes(name)
    }


def bootstrap_intervals(
    values: FloatArray,
    weights: BoolArray | FloatArray,
    groups: IntArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[FloatArray, FloatArray]:
    """Percentile bootstrap intervals of column means, resampling groups of rows.

    The scores of sentences about one video are correlated, so videos, not sentences, are drawn with replacement. All
    columns use the same draws, so a column of differences gets a paired interval.

    Args:
        values: (N, M).
        weights: (N, M) weight of each row in the mean of a column, at least 0.
        groups: (N,) number of each row's group, from 0 without gaps.
        resamples: number of draws.
        seed: seed of the draws.
        level: level of the intervals.

    Returns:
        Lower and upper ends, (M,) each; NaN for a column with rows of fewer than two groups.

    Raises:
        RecordError: a shape or a length is wrong, a value is not finite, or a weight or a group is invalid.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13.
    """
    _check_columns(values, weights, groups)
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


def _check_columns(values: FloatArray, weights: BoolArray | FloatArray, groups: IntArray) -> None:
    if values.ndim != 2 or weights.shape != values.shape:
        validation.refuse("weights", "be (N, M), as `values`", f"{weights.shape} for {values.shape}")
    if not np.isfinite(values).all():
        validation.refuse("values", "be finite", values[~np.isfinite(values)][0])
    if not (np.isfinite(weights) & (weights >= 0)).all():
        validation.refuse("weights", "be finite and at least 0", f"{weights.min()} to {weights.max()}")
    validation.same_length("row", values=values, groups=validation.integers("groups", groups, rising=None))
    if len(groups) == 0 or (np.bincount(groups) == 0).any():
        validation.refuse("groups", "count from 0 without gaps", np.unique(groups).tolist())


def means_with_intervals(
    values: FloatArray, weights: BoolArray | FloatArray, groups: IntArray
) -> list[list[float | None]]:
    """[mean, low, high] of each column, for a report.

    Args:
        values, weights, groups: as `bootstrap_intervals` takes them.

    Returns:
        M lists. The ends are None if all rows belong to one group; all three values are None if no row has a weight.

    Raises:
        RecordError: as `bootstrap_intervals`.
    """
    sums = weights.sum(axis=0)
    means = np.divide((values * weights).sum(axis=0), sums, out=np.full(len(sums), np.nan), where=sums > 0)
    table = np.stack([means, *bootstrap_intervals(values, weights, groups)], axis=1)  # (M, 3)
    return [[None if np.isnan(value) else value for value in row] for row in table.tolist()]
