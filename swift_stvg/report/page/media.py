"""Drawings beside a page, named after what is in them, so that those of an earlier page are used again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from swift_stvg.errors import VideoError
from swift_stvg.report.drawing import Overlay, render
from swift_stvg.util.processes import process_pool
from swift_stvg.video.reader import fingerprint

FOLDER = "media"
PAGE_FORMATS = (".jpg", ".mp4")
"""What a page needs: a picture that stands there until the film is played."""
_OURS = re.compile(r"[0-9a-f]{32}\.(jpg|mp4|gif|png)|\.[0-9a-f]{32}\.part")
_FEW = 8
"""So few are not worth the start of other processes."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One clip to draw."""

    overlay: Overlay
    video: Path


def render_all(jobs: Sequence[Job], folder: Path, formats: Sequence[str], workers: int) -> list[str | VideoError]:
    """Draw what is not there yet; the name of each drawing without its ending, or why there is none.

    Work is spread over processes that are spawned, so a script that calls this needs the usual
    `if __name__ == "__main__"`.
    """
    from tqdm import tqdm

    draw = partial(_draw, folder, formats)
    with ExitStack() as stack:
        names: Iterator[str | VideoError] = map(draw, jobs)
        if workers > 1 and len(jobs) >= _FEW:
            pool = stack.enter_context(process_pool(min(workers, len(jobs))))
            names = pool.map(draw, jobs)
        return list(tqdm(names, total=len(jobs), desc="clips drawn", unit="clip", disable=not jobs))


def remove_others(folder: Path, names: set[str]) -> None:
    """Delete drawings of earlier pages that this one does not show."""
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.stem not in names:
            path.unlink(missing_ok=True)


def _draw(folder: Path, formats: Sequence[str], job: Job) -> str | VideoError:
    try:
        name = fingerprint(job.video, json.dumps(job.overlay.to_data(), sort_keys=True))
        for ending in formats:
            path = folder / f"{name}{ending}"
            if not path.is_file():
                render(job.overlay, job.video, path)
    except VideoError as error:
        return error
    return name
