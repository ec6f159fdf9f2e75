"""The report as one picture."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

INK, FAINT, SEED = "#1f3a5f", "#c8ccd2", "#d1495b"


def draw(found: dict[str, Any], path: Path) -> None:
    """Differences of every question, headroom against gain, and refinement by box area."""
    pairs = [values["m_vIoU"] for question in found["questions"] for values in question["pairs"].values()]
    seeds = max(len(values["seeds"]) for values in pairs)
    lines: list[tuple[str, dict[str, Any] | None]] = []
    for question in found["questions"]:
        if question["pairs"]:
            lines.append((fill(question["ask"], 40), None))
        for name, values in question["pairs"].items():
            n = len(values["m_vIoU"]["seeds"])
            lines.append((name if n == seeds else f"{name} ({n} of {seeds} seeds)", values))
    figure = plt.figure(figsize=(13, 0.3 * len(lines) + 1.5), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(1.0, 1.0, 1.3))
    first = figure.add_subplot(grid[:, 0])
    second = figure.add_subplot(grid[:, 1], sharey=first)
    for axis, metric in ((first, "m_tIoU"), (second, "m_vIoU")):
        _forest(axis, lines, metric)
        axis.set_xlabel(f"difference of {metric}, points")
    first.set_yticks(range(len(lines)), [name for name, _ in lines])
    for label, (_, values) in zip(first.get_yticklabels(), lines, strict=True):
        label.set_fontweight("normal" if values else "bold")
    second.tick_params(labelleft=False)
    first.invert_yaxis()
    figure.suptitle(
        f"dots: mean over {seeds} seeds; thick bars: 95% over clips; thin: Student's 95% over seeds, "
        "cut at the frame; red: each seed",
        fontsize=9,
    )
    _headroom(figure.add_subplot(grid[0, 2]), found["headroom"])
    _areas(figure.add_subplot(grid[1, 2]), found["areas"])
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _forest(axis: Any, lines: list[tuple[str, dict[str, Any] | None]], metric: str) -> None:
    axis.axvline(0, color=FAINT)
    reach = [0.0]
    for place, (_, values) in enumerate(lines):
        if values is None:
            continue
        difference = values[metric]
        low, high = (100 * end for end in difference["clips"])
        axis.plot([low, high], [place, place], color=INK, linewidth=2, zorder=2)
        axis.plot(100 * difference["mean"], place, "o", color=INK, zorder=3)
        each = [100 * value for value in difference["seeds"].values()]
        axis.plot(each, [place] * len(each), "|", color=SEED, markersize=9, zorder=4)
        if "student" in difference:
            axis.plot([100 * end for end in difference["student"]], [place] * 2, color=INK, linewidth=0.6, zorder=1)
        reach += [*each, low, high]
    pad = 0.3 * (max(reach) - min(reach))
    axis.set_xlim(min(reach) - pad, max(reach) + pad)  # Student's interval of few seeds may reach far beyond
    axis.spines[["top", "right"]].set_visible(False)


def _headroom(axis: Any, points: list[dict[str, Any]]) -> None:
    for name, marker in zip(dict.fromkeys(point["start"] for point in points), cycle("osD^vP*X")):
        mine = [point for point in points if point["start"] == name]
        shares = [100 * point["better"][0] for point in mine]
        axis.plot(shares, [100 * point["gain"][0] for point in mine], marker, label=f"from {name}", markersize=5)
    axis.axhline(0, color=FAINT)
    axis.set_xlabel("samples better than greedy, percent", fontsize=9)
    axis.set_ylabel("gain of m_vIoU, points")
    axis.set_xlim(left=0)
    axis.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    axis.spines[["top", "right"]].set_visible(False)


def _areas(axis: Any, areas: dict[str, dict[str, list[float]]]) -> None:
    names = [name for name in ("start", "grpo", "no_think_reward", "jitter_grpo") if areas.get(name)]
    labels = sorted({label for name in names for label in areas[name]}, key=lambda label: float(label.split()[0]))
    for k, name in enumerate(names):
        means = np.array(list(areas[name].values())) * 100  # (B, 3)
        x = np.array([labels.index(label) for label in areas[name]]) + 0.15 * (k - len(names) / 2)
        axis.errorbar(x, means[:, 0], (means[:, 0] - means[:, 1], means[:, 2] - means[:, 0]), fmt="o", label=name, ms=4)
    axis.axhline(0, color=FAINT)
    axis.set_xticks(range(len(labels)), [label.replace(" to ", "\n") for label in labels], fontsize=8)
    axis.set_xlabel("box area over frame area")
    axis.set_ylabel("vIoU, final - think, points")
    axis.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    axis.spines[["top", "right"]].set_visible(False)
