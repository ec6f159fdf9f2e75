"""Charts as SVG inside a page. Text remains text, lines have the colour of the page's text, and no script can run."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import numpy as np

from swift_stvg.geometry import FloatArray
from swift_stvg.report.drawing import PENS
from swift_stvg.report.page.training import Curves

INK = "#010203"
"""A placeholder for the colour of the page's text."""
TRUTH, THINK, PRED, FIRST, SECOND = ("#{:02x}{:02x}{:02x}".format(*pen.colour) for pen in PENS.values())
_NOT_SHOWN = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
MOST_LINKS = 5000
COUNT = "samples"


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        title: the title. It may hold names from files, so a page must show it as text.
        svg: the drawing, without text from files that could be markup.
        section: the page's section.
    """

    title: str
    svg: str
    section: str = "charts"


def chart(title: str, draw: Callable[[Any], None], x: str = "", y: str = "", section: str = "charts") -> Chart:
    """A chart that `draw` draws onto matplotlib's axes, with labels `x` and `y`."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    colours = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    style = {"svg.fonttype": "none", "svg.hashsalt": "swift_stvg", "font.family": "sans-serif", "font.size": 9}
    with rc_context(
        colours
        | style
        | {"axes.spines.top": False, "figure.facecolor": "none", "axes.facecolor": "none", "axes.spines.right": False}
    ):
        figure = Figure(figsize=(4.4, 2.9), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        axes.grid(alpha=0.15, color=INK)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        draw(axes)
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_label_text() == COUNT:
                axis.set_major_locator(MaxNLocator(integer=True))
        text = io.StringIO()
        canvas.print_svg(text, metadata={"Date": None, "Creator": None})
    svg = _NOT_SHOWN.sub("", text.getvalue()).replace(INK, "currentColor").strip()
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*" ?', r'\1aria-hidden="true" focusable="false" ', svg, count=1)
    svg = re.sub(r'(<svg [^>]*?)height="[^"]*" ?', r"\1", svg, count=1)
    return Chart(
        title, svg.replace("<a xlink:href=", '<a tabindex="-1" xlink:href=').replace(' target="_blank"', ""), section
    )


def of_results(
    tiou: FloatArray, viou: FloatArray, think: FloatArray | None, areas: Sequence[tuple[str, float, float]]
) -> Iterator[Chart]:
    """Charts of (N,) scores in [0, 1]; points lead to `#s0`, `#s1`, ...

    Args:
        tiou, viou: scores of the answers; vIoU is NaN for samples without boxes.
        think: vIoU of the think boxes, NaN for answers without them; None if no answer has think boxes.
        areas: for each bin of box area with samples: label, mean vIoU of think boxes, mean vIoU of final boxes.
    """
    bins = np.linspace(0, 1, 21)
    yield chart("Temporal IoU", lambda a: a.hist(tiou, bins, color=PRED), "tIoU", COUNT)
    with_boxes = viou[~np.isnan(viou)]
    if len(with_boxes):
        yield chart("Spatio-temporal IoU", lambda a: a.hist(with_boxes, bins, color=PRED), "vIoU", COUNT)
    if think is None:
        return
    known = np.flatnonzero(~np.isnan(think))

    def scatter(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=INK, alpha=0.5, linewidth=1)
        points = axes.scatter(think[known], viou[known], s=24, color=PRED, alpha=0.6, linewidths=0)
        if len(known) <= MOST_LINKS:
            points.set_urls([f"#s{i}" for i in known.tolist()])
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)

    yield chart("Effect of refining: samples above the line became better", scatter, "vIoU, think", "vIoU, final")

    def by_area(axes: Any) -> None:
        places = np.arange(len(areas))
        axes.bar(
            places - 0.2, [a[1] for a in areas], 0.38, color=THINK, hatch="...", edgecolor="#ffffff55", label="think"
        )
        axes.bar(places + 0.2, [a[2] for a in areas], 0.38, color=PRED, label="final")
        for place, (_, before, after) in enumerate(areas):
            axes.text(place, max(before, after) + 0.01, f"{100 * (after - before):+.1f}", ha="center", fontsize=7)
        axes.set_xticks(places, [label.replace(" to ", "\n") for label, _, _ in areas], fontsize=7)
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))

    if areas:
        yield chart("vIoU by share of the frame that the box covers", by_area, "box area / frame area", "mean vIoU")


def of_two(scores: FloatArray, name: str) -> Iterator[Chart]:
    """Charts of the (2, N) scores of systems A and B; points lead to `#s0`, `#s1`, ..."""
    first, second = scores

    def scatter(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=INK, alpha=0.5, linewidth=1)
        points = axes.scatter(first, second, s=24, color=SECOND, alpha=0.6, linewidths=0)
        if len(first) <= MOST_LINKS:
            points.set_urls([f"#s{i}" for i in range(len(first))])
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)

    def differences(axes: Any) -> None:
        _, _, bars = axes.hist(second - first, np.linspace(-1, 1, 41), color=SECOND)
        for bar in list(bars)[:20]:
            bar.set(color=FIRST, hatch="///", edgecolor="#ffffff55")
        axes.axvline(0, color=INK, alpha=0.5, linewidth=1)

    yield chart("Samples: B is better above the line, A below it", scatter, f"{name}, A", f"{name}, B")
    yield chart("Differences: A is better on the left, B on the right", differences, f"{name}, B - A", COUNT)


def of_dataset(
    event_s: FloatArray, clip_s: FloatArray, begin: FloatArray, area: FloatArray, categories: Sequence[tuple[str, int]]
) -> Iterator[Chart]:
    """Charts of N annotations.

    Args:
        event_s, clip_s: (N,) lengths of events and clips in seconds.
        begin: (N,) start of the event as a share of the clip.
        area: (N,) mean box area divided by the frame's area.
        categories: categories of objects with their counts.
    """
    yield chart("Length of the events", lambda a: a.hist(event_s, 24, color=TRUTH), "seconds", COUNT)
    yield chart("Length of the clips", lambda a: a.hist(clip_s, 24, color=TRUTH), "seconds", COUNT)
    yield chart(
        "Where events begin", lambda a: a.hist(begin, np.linspace(0, 1, 21), color=TRUTH), "share of the clip", COUNT
    )
    side = np.sqrt(np.clip(area, 0, 1))  # as the bins of the paper's Fig. 4
    yield chart(
        "Size of the boxes", lambda a: a.hist(side, np.linspace(0, 1, 21), color=TRUTH), "√ (box area / frame)", COUNT
    )
    if len(categories) > 1:
        shown = list(reversed(categories[:15]))

        def bars(axis: Any) -> None:
            axis.barh(range(len(shown)), [count for _, count in shown], color=TRUTH)
            axis.set_yticks(range(len(shown)), [_plain(name) for name, _ in shown])  # shortened names may be equal

        yield chart("Objects", bars, COUNT)


def of_training(curves: Curves) -> Iterator[Chart]:
    """A chart for each logged figure. Training and evaluation share a chart."""
    for title, draw in _plots_of_training(curves):
        yield chart(title, draw, "step", section="training")


def picture_of_training(curves: Curves) -> bytes:
    """The first nine of these charts in one PNG, for a model card."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plots = list(islice(_plots_of_training(curves), 9))
    columns = min(3, len(plots))
    rows = -(-len(plots) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained", dpi=100)
    canvas = FigureCanvasAgg(figure)
    for place, (title, draw) in enumerate(plots, 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(title, fontsize=9, parse_math=False)
        axes.grid(alpha=0.15)
        draw(axes)
    data = io.BytesIO()
    canvas.print_png(data, metadata={"Software": None})
    return data.getvalue()


def _plots_of_training(curves: Curves) -> Iterator[tuple[str, Callable[[Any], None]]]:
    """The title of each chart, and a function that draws it onto axes."""

    def name_of(name: str) -> str:
        return name.removeprefix("eval_")

    order = ["loss", "token_acc", "reward"]
    names = sorted(curves.of, key=lambda n: (order.index(b) if (b := name_of(n)) in order else len(order), b, n))
    for title, members in groupby(names, name_of):
        lines = [(name, curves.of[name]) for name in members]

        def draw(axes: Any, lines: list[tuple[str, dict[int, float]]] = lines) -> None:
            for name, values in lines:
                evaluated = name.startswith("eval_")
                steps, numbers = zip(*sorted(values.items()), strict=True)
                axes.plot(steps, numbers, "o--" if evaluated else "-", color=PRED if evaluated else THINK, markersize=3)
                if len(lines) > 1:
                    axes.lines[-1].set_label("evaluation" if evaluated else "training")
            if len(lines) > 1:
                axes.legend(frameon=False, fontsize=8)

        yield title, draw


def _plain(text: str) -> str:
    """Text from a file for an axis, without characters that matplotlib reads as mathematics."""
    return "".join(c if c.isprintable() else "?" for c in text[:24].encode("utf-8", "replace").decode()).replace(
        "$", "S"
    )
