"""The report of `swift-stvg check` as text, Markdown or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift_stvg.report.text.blocks import escape_markdown, lines_block, table_block, write_report
from swift_stvg.report.text.score import score_table
from swift_stvg.report.text.selected import selected_blocks

MOST_SIZES = 10
"""At most this many frame sizes are printed."""


def render_check(report: dict[str, Any], form: str) -> str:
    """The report of `swift-stvg check` as text that ends with a newline; `form` is one of `blocks.REPORT_FORMATS`."""
    return write_report(report, form, _blocks)


def _blocks(report: dict[str, Any], markdown: bool) -> list[str]:
    lines = [f"swift_stvg {report['swift_stvg']}. Check of {report['rows']} rows of {report['videos']} videos."]
    for part in report["parts"]:
        drawn = f", {part['drawn']} of them chosen at random" if part["drawn"] < part["kept"] else ""
        lines.append(f"{part['name']}: {part['annotations']} annotations, {part['kept']} rows{drawn}.")
        for title in ("dropped", "notes"):
            for reason, found in part[title].items():
                lines.append(f"  {title.rstrip('s')}: {found['count']} x {reason}, e.g. {found['example']}")
    lines += [f"{name}: {value}." for name, value in report["facts"].items()]
    if report["plugin_by_name"]["works"]:
        lines.append(f"--external_plugins swift_stvg works here: {report['plugin_by_name']['how']}.")
    blocks = [lines_block(lines, markdown)]
    for part in report["parts"]:
        if part["selected"]:
            blocks += selected_blocks(part["selected"], markdown)
    if report["figures"]:
        header = ["each row", "lowest", "5%", "median", "mean", "95%", "highest"]
        rows = [[name, *(f"{value:.4g}" for value in values)] for name, values in report["figures"].items()]
        blocks.append(table_block("Properties of the rows", header, rows, markdown))
        sizes = [[size, str(count)] for size, count in list(report["frame_sizes"].items())[:MOST_SIZES]]
        if len(report["frame_sizes"]) > MOST_SIZES:
            sizes.append([f"{len(report['frame_sizes']) - MOST_SIZES} more", ""])
        blocks.append(table_block("Frames as the model receives them", ["width x height", "rows"], sizes, markdown))
    if report["files"]:
        header = ["kind of file", "rows", "videos", "slow", "frames of a clip", "to decode, at most"]
        rows = [
            [
                f["kind"],
                *(str(f[name]) for name in ("rows", "videos", "slow")),
                f"{f['clip']:.0f}",
                f"{f['decoded']:.0f}",
            ]
            for f in report["files"]
        ]
        blocks.append(table_block("Video files", header, rows, markdown))
    for name, tables in report["ceiling"].items():
        for title, header, rows in map(score_table, tables):
            blocks.append(table_block(f"Scores of the exact answers on {name}, {title}", header, rows, markdown))
    if report["rewards"]:
        blocks.append(_rewards_table(report["rewards"], markdown))
    failed = (report["decoded"] or {}).get("failed", [])
    if failed:
        header = ["video that cannot be decoded", "rows", "why"]
        rows = [[f["video"], str(f["rows"]), escape_markdown(f["why"]) if markdown else f["why"]] for f in failed]
        blocks.append(table_block("Unreadable videos", header, rows, markdown))
    ending = [f"not checked: {what}" for what in report["not_checked"]]
    ending += [f"warning: {what}" for what in report["warnings"]] + [f"error: {what}" for what in report["errors"]]
    ending.append("The training can begin." if report["go_on"] else "Correct the errors before you train.")
    blocks.append(lines_block(ending, markdown))
    return blocks


def _rewards_table(rewards: dict[str, Any], markdown: bool) -> str:
    """The rewards of exact and wrong answers."""
    lines = rewards["lines"]
    columns = list(next(iter(lines.values()))["earns"])
    rows = [
        [name, str(line["rows"]), *(_range(line["earns"][column]) for column in columns)]
        for name, line in lines.items()
    ]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in rewards["weights"].items())
    title = f"Rewards of answers to {rewards['rows']} rows, total = {weights}"
    return table_block(title, ["mean [lowest, highest]", "rows", *columns], rows, markdown)


def _range(values: Sequence[float]) -> str:
    # + 0.0: no minus before a zero
    mean, low, high = (f"{round(value, 2) + 0.0:.2f}" for value in values)
    return mean if low == high else f"{mean} [{low}, {high}]"
