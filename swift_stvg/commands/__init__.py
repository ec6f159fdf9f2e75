"""The larger subcommands of `swift-stvg`, one a module."""

from __future__ import annotations

from pathlib import Path

from swift_stvg.jsonfile import write_whole


def deliver(text: str, out: Path | None) -> None:
    """Write a report to the file that was asked for, or print it.

    Raises:
        DataError: the file cannot be written.
    """
    if out:
        write_whole(out, text)
    else:
        print(text, end="")
