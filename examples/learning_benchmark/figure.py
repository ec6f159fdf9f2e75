"""The report as one picture: metrics over the number of clips."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from report import METRICS
from scipy import stats

NUMBERED = re.compile(r"(.+)_([0-9]+)")
"""A training's name: how it was trained, and on how many clips."""


def draw(found: dict[str, Any], path: Path) -> None:
    """Means over seeds, with Student's 95% interval, on the clips of each world; dashed: no number of clips."""
    cells: dict[str, dict[str, Any]] = found["cells"]
    others = sorted({world for seeds in cells.values() for cell in seeds.values() for world in cell["elsewhere"]})
    worlds = [None, *others]
    figure, grid = plt.subplots(2, len(worlds), figsize=(4.5 * len(worlds), 6.5), layout="constrained", squeeze=False)
    for column, world in zip(grid.T, worlds, strict=True):
        for axis, metric in zip(column, METRICS[:2], strict=True):
            _panel(axis, {name: _values(seeds, metric, world) for name, seeds in cells.items()})
            axis.set_ylabel(f"{metric}, percent")
        column[0].set_title("clips as those trained on" if world is None else f"clips of {world}")
        column[1].set_xlabel("clips with exact boxes")
    grid[0, 0].legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _values(seeds: dict[str, Any], metric: str, world: str | None) -> list[float]:
    found = [cell if world is None else cell["elsewhere"].get(world) for cell in seeds.values()]
    return [100 * cell[metric] for cell in found if cell is not None]


def _panel(axis: Any, values: dict[str, list[float]]) -> None:
    lines: dict[str, list[tuple[int, float, float]]] = {}
    for name, each in values.items():
        if not each:
            continue
        if (match := NUMBERED.fullmatch(name)) is None:
            axis.axhline(np.mean(each), linestyle="--", color="#888888", linewidth=1, label=name)
            continue
        reach = 0.0
        if len(each) > 1:
            reach = stats.t.ppf(0.975, len(each) - 1) * np.std(each, ddof=1) / np.sqrt(len(each))
        lines.setdefault(match[1], []).append((int(match[2]), float(np.mean(each)), float(reach)))
    for name, points in lines.items():
        numbers, means, reaches = zip(*sorted(points), strict=True)
        axis.errorbar(numbers, means, reaches, marker="o", markersize=4, capsize=3, label=name)
    axis.set_xscale("log")
    axis.spines[["top", "right"]].set_visible(False)
