"""The report of `scoring.headroom` as text, Markdown or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift_stvg.report.text.blocks import lines_block, table_block, write_report


def render_headroom(report: dict[str, Any], form: str) -> str:
    """The report of `scoring.headroom` as text that ends with a newline; `form` is one of `blocks.REPORT_FORMATS`."""
    return write_report(report, form, _blocks)


def _blocks(report: dict[str, Any], markdown: bool) -> list[str]:
    weights = ", ".join(f"{name} {weight:g}" for name, weight in report["weights"].items())
    blocks = [
        lines_block(
            [
                f"swift_stvg {report['swift_stvg']}. Headroom of {report['from']}: {report['rows']} rows of "
                f"{report['videos']} videos, {report['samples']} samples each.",
                f"reward: {weights}; a sample is better or worse than the greedy answer if its reward differs by more "
                f"than {report['margin']:g}.",
                "95% percentile bootstrap intervals over videos.",
            ],
            markdown,
        )
    ]
    for section, lines in report["figures"].items():
        columns = list(dict.fromkeys(column for line in lines.values() for column in line))
        rows = [[name, *(_plain(line.get(column)) for column in columns)] for name, line in lines.items()]
        blocks.append(table_block(section, ["mean [95% interval]", *columns], rows, markdown))
    return blocks


def _plain(values: Sequence[float | None] | None) -> str:
    if values is None or values[0] is None:
        return "-"
    mean, low, high = values
    return f"{mean:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")
