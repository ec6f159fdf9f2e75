"""Rows of tables: metrics of systems, of groups of samples and of differences, as means with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.scoring.metrics import BoolArray, means_with_intervals

REPORT_SCHEMA = 1
Metrics: TypeAlias = Mapping[str, FloatArray]
"""Metrics by name, (N,) each; NaN for a sample for which the metric is not defined."""
Facet: TypeAlias = tuple[str, list[tuple[str, BoolArray]]]
"""A property of samples: its name, and the label and members (N,) of each group."""
Row: TypeAlias = tuple[dict[str, str], Metrics, BoolArray]
"""The labels, the metrics and the members (N,) of a row of a table."""


def rows_of(metrics: Metrics, members: BoolArray, facets: Sequence[Facet], **labels: str) -> list[Row]:
    """A row for all members, and one for the members in each group of the facets that have several groups."""
    rows: list[Row] = [(labels, metrics, members)]
    for name, parts in facets:
        for label, in_group in parts if len(parts) > 1 else ():
            if (members & in_group).any():
                rows.append((labels | {"by": name, "group": label}, metrics, members & in_group))
    return rows


def system_rows(systems: Sequence[tuple[str, Metrics]], facets: Sequence[Facet]) -> list[Row]:
    """The rows of each system's final boxes."""
    everything = np.ones(len(next(iter(systems[0][1].values()))), dtype=bool)
    return [
        row for name, metrics in systems for row in rows_of(metrics, everything, facets, system=name, part="pred")
    ] + difference_rows(systems, facets)


def difference_rows(systems: Sequence[tuple[str, Metrics]], facets: Sequence[Facet]) -> list[Row]:
    """The rows of the differences between the later systems and the first one."""
    (first, base), *others = systems
    everything = np.ones(len(next(iter(base.values()))), dtype=bool)
    return [
        row
        for name, metrics in others
        for row in rows_of(minus(metrics, base), everything, facets, system=name, part="pred", minus=first)
    ]


def minus(metrics: Metrics, others: Metrics) -> Metrics:
    """Differences of metrics."""
    return {name: metrics[name] - others[name] for name in metrics}


def with_intervals(rows: Sequence[Row], groups: IntArray) -> list[dict[str, Any]]:
    """Rows as JSON data, each metric as [mean, low, high]; None where there is none.

    Args:
        rows: the rows of one table.
        groups: (N,) number of each sample's video, the unit of resampling.
    """
    values = np.stack([column for _, metrics, _ in rows for column in metrics.values()], axis=1)  # (N, M)
    members = np.stack([mask for _, metrics, mask in rows for _ in metrics], axis=1) & ~np.isnan(values)
    figures = iter(means_with_intervals(np.nan_to_num(values), members, groups))
    return [
        labels | {"samples": int(mask.sum()), "metrics": {name: next(figures) for name in metrics}}
        for labels, metrics, mask in rows
    ]
