"""The report of `swift-stvg recipe` as text, Markdown or JSON."""

from __future__ import annotations

from typing import Any

from swift_stvg.report.text.blocks import lines_block, table_block, write_report


def render_recipe(report: dict[str, Any], form: str) -> str:
    """The report of `swift-stvg recipe` as text that ends with a newline; `form` is one of `blocks.REPORT_FORMATS`."""
    return write_report(report, form, _blocks)


def _blocks(report: dict[str, Any], markdown: bool) -> list[str]:
    each = f" of {report['gpu_gb']:g} GB" if report["gpu_gb"] else ""
    first = f"swift_stvg {report['swift_stvg']}. {report['recipe']} for {report['processes']} GPUs{each}."
    blocks = [lines_block([first, *report["batches"]], markdown)]
    if report["memory"]:
        rows = [[part["what"], f"{part['gb']:.1f}", part["known"], part["how"]] for part in report["memory"]]
        rows += [[f"together, {phase}", f"{gb:.1f}", "estimated", ""] for phase, gb in report["peaks"].items()]
        blocks.append(table_block("Memory of a GPU", ["", "GB", "known", "how"], rows, markdown))
    if report["times"]:
        blocks.append(lines_block([f"time, {known}: {what}" for known, what in report["times"]], markdown))
    ending = [f"not known: {what}" for what in report["not_known"]]
    ending += [f"warning: {what}" for what in report["warnings"]] + [f"error: {what}" for what in report["errors"]]
    ending.append(
        "ms-swift accepts the recipe."
        if report["go_on"]
        else "ms-swift would refuse the recipe, or run it differently. Correct the errors."
    )
    blocks.append(lines_block(ending, markdown))
    return blocks
