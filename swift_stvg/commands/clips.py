"""Work on the clips of rows, in parallel."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from tqdm import tqdm

from swift_stvg.errors import DataError
from swift_stvg.video.request import VIDEO_KEY, VideoRequest

Clip: TypeAlias = tuple[str, VideoRequest]
"""The path of a video, and the frames to read from it."""
T = TypeVar("T")


def add_workers(parser: argparse.ArgumentParser, what: str = "threads") -> None:
    """Add --workers."""
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help=f"number of parallel {what} (default: number of CPU cores)",
    )


def check_workers(workers: int) -> None:
    """Check --workers.

    Raises:
        DataError: the number is less than 1.
    """
    if workers < 1:
        raise DataError(f"--workers must be at least 1, got {workers}")


def clip_of(row: dict[str, Any]) -> Clip:
    """The clip of a row. Several rows may have the same clip."""
    return row["videos"][0], VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY])


def each_clip(clips: Sequence[Clip], work: Callable[[Clip], T], workers: int, title: str) -> list[T]:
    """The results of `work` for all clips, in order, with a progress bar."""
    with ThreadPoolExecutor(workers) as pool:
        results: Iterable[T] = pool.map(work, clips)
        return list(tqdm(results, total=len(clips), desc=title, unit="clip"))
