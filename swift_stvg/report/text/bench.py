"""The report of `swift-stvg bench` as text, Markdown or JSON."""

from __future__ import annotations

from typing import Any

from swift_stvg.report.text.blocks import lines_block, table_block, write_report


def render_bench(report: dict[str, Any], form: str) -> str:
    """The report of `swift-stvg bench` as text that ends with a newline; `form` is one of `blocks.REPORT_FORMATS`."""
    return write_report(report, form, _blocks)


def _blocks(report: dict[str, Any], markdown: bool) -> list[str]:
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    preamble = [f"swift_stvg {report['swift_stvg']} on {machine['cpu']}, {machine['cores']} cores; {versions}"]
    rounds = ", ".join(f"{name} {count}" for name, count in report["rounds"].items())
    preamble.append(f"medians over rounds, ours and baseline in turns: {rounds}" + "; small sizes" * report["quick"])
    header = ["what", "ours", "baseline", "takes", "ratio", "peak MB"]
    rows = [
        [
            result["what"],
            f"{result['ours']:.3g} {result['unit']}",
            result["baseline"] or "-",
            "-" if result["theirs"] is None else f"{result['theirs']:.3g} {result['unit']}",
            "-" if result["ratio"] is None else f"{result['ratio']:.2g}",
            "-" if result["peak_mb"] is None else f"{result['peak_mb']:.0f}",
        ]
        for result in report["results"]
    ]
    return [lines_block(preamble, markdown), table_block("Time and memory", header, rows, markdown)]
