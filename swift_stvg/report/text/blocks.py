"""The parts of every written report: lines, tables, and the choice between text, Markdown and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

REPORT_FORMATS = ("table", "markdown", "json")
_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""An underscore that Markdown could read as emphasis."""


def write_report(report: dict[str, Any], form: str, blocks: Callable[[dict[str, Any], bool], list[str]]) -> str:
    """A report as text that ends with a newline.

    Args:
        report: the report's data.
        form: one of `REPORT_FORMATS`.
        blocks: makes the text's blocks from the report. Its second argument says whether they are Markdown.
    """
    if form == "json":
        return json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    return "\n\n".join(blocks(report, form == "markdown")) + "\n"


def table_block(title: str, header: list[str], rows: list[list[str]], markdown: bool) -> str:
    """A table under its title. The first column is escaped for Markdown; callers escape foreign text elsewhere."""
    if markdown:
        lines = ["| " + " | ".join([escape_markdown(row[0]), *row[1:]]) + " |" for row in [header, *rows]]
        lines.insert(1, "|" + "---|" * len(header))
        return f"**{escape_markdown(title)}**\n\n" + "\n".join(lines)
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in [header, *rows]
    ]
    return title + "\n" + "\n".join(lines)


def lines_block(lines: list[str], markdown: bool) -> str:
    """Lines of text. In Markdown they become a list, and an indented line becomes part of the line above it."""
    if not markdown:
        return "\n".join(lines)
    return "\n".join(f"{line[: len(line) - len(line.lstrip())]}- {escape_markdown(line.lstrip())}" for line in lines)


def escape_markdown(text: str) -> str:
    """Text without Markdown's special characters. Leading spaces are kept."""
    body = "".join("\\" + c if c in "\\`*[]<>|#&~$" else c for c in text.lstrip(" "))
    return "&nbsp;" * (len(text) - len(text.lstrip(" "))) + _UNDERSCORE.sub(r"\\_", " ".join(body.splitlines()))
