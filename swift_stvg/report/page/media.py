"""The drawings of a page. A name is a digest of the content, so that drawings of an earlier page are used again."""

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
"""Formats that a page needs: a picture, and the film that replaces it when it is played."""
_OURS = re.compile(r"[0-9a-f]{32}\.(jpg|mp4|gif|png)|\.[0-9a-f]{32}\.part")
_FEW = 8
"""Fewer jobs are done in one process, since starting processes takes time."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A clip to draw."""

    overlay: Overlay
    video: Path


def render_all(jobs: Sequence[Job], folder: Path, formats: Sequence[str], workers: int) -> list[str | VideoError]:
    """Draw what is not drawn yet. Returns the name of each drawing without its suffix, or the error.

    The work is done in spawned processes, so a script that calls this needs `if __name__ == "__main__"`.
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
    """Delete drawings of earlier pages that this page does not show."""
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
