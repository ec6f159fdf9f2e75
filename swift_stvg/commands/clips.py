"""Going through the videos of rows, several at a time."""

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
"""A video and what is asked of it."""
T = TypeVar("T")


def add_workers(parser: argparse.ArgumentParser, what: str = "threads") -> None:
    """Add the option that says how many at a time."""
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help=f"{what} (default: as cores)")


def check_workers(workers: int) -> None:
    """Refuse a number that is none.

    Raises:
        DataError: it is.
    """
    if workers < 1:
        raise DataError(f"--workers must be at least 1, got {workers}")


def clip_of(row: dict[str, Any]) -> Clip:
    """The clip that a row is about; several rows may be about the same."""
    return row["videos"][0], VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY])


def each_clip(clips: Sequence[Clip], work: Callable[[Clip], T], workers: int, title: str) -> list[T]:
    """What `work` makes of each clip, in their order, with a progress bar."""
    with ThreadPoolExecutor(workers) as pool:
        results: Iterable[T] = pool.map(work, clips)
        return list(tqdm(results, total=len(clips), desc=title, unit="clip"))
