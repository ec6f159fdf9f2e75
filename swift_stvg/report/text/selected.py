"""The report of `swift-stvg select` as text, Markdown or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swift_stvg.report.text.blocks import lines_block, table_block, write_report


def render_selected(report: dict[str, Any], form: str) -> str:
    """The report of `swift-stvg select` as text that ends with a newline; `form` is one of `blocks.REPORT_FORMATS`."""
    return write_report(report, form, _blocks)


def _blocks(report: dict[str, Any], markdown: bool) -> list[str]:
    lines = [
        f"swift_stvg {report['swift_stvg']}. {report['out']}: {report['rows']} rows for {report['for']}, from "
        f"{report['prompts']} of {report['answered']} rows with {report['answers']} answers."
    ]
    for reason, found in report["skipped"].items():
        lines.append(f"  nothing chosen: {found['count']} x {reason}, e.g. {found['example']}")
    return [lines_block(lines, markdown), *selected_blocks(report, markdown)]


def selected_blocks(described: Mapping[str, Any], markdown: bool) -> list[str]:
    """The figures of `scoring.selected.describe`."""
    weights = ", ".join(f"{name} {weight:g}" for name, weight in described["weights"].items())
    lines = [f"{name}: {100 * share:.0f}%" for name, share in described["shares"].items()]
    header = [f"rows for {described['for']}", "lowest", "5%", "median", "mean", "95%", "highest"]
    rows = [[name, *(f"{value:.4g}" for value in values)] for name, values in described["figures"].items()]
    return [table_block(f"Chosen answers, reward = {weights}", header, rows, markdown), lines_block(lines, markdown)]
