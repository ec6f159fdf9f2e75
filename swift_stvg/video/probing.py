"""Probing many videos, with a cache on disk, because probing reads a whole file."""

from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.errors import VideoError
from swift_stvg.records import VideoInfo
from swift_stvg.settings import Settings
from swift_stvg.util.json_reading import PARSE_ERRORS, json_integer, json_text
from swift_stvg.util.writing import add_checksum, strip_checksum, write_bytes_atomic
from swift_stvg.video.reader import fingerprint, probe

logger = logging.getLogger(__name__)
_CACHE_VERSION = "times 5"  # changes whenever `probe` gives other results or the files of the cache change


class ProbeCache:
    """Results of `probe` on disk, by the content of the video.

    Args:
        folder: the folder of the cache; None for no cache.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, path: Path) -> VideoInfo:
        """The result of `probe`, from the cache if it is there; see `probe` for errors."""
        if self._folder is None:
            return probe(path)
        name = fingerprint(path, _CACHE_VERSION)
        kept = self._folder / "probes" / name[:2] / f"{name}.times"
        try:
            head, _, times = strip_checksum(kept.read_bytes()).partition(b"\n")
            return VideoInfo(path, np.frombuffer(times, dtype="<f8"), *_read_head(json.loads(head)))
        except (OSError, *PARSE_ERRORS):  # the file is missing or damaged
            info = probe(path)
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            head = json.dumps(
                [info.end_s, info.size_wh, info.start_s, info.kind, info.group, info.timed, info.aside]
            ).encode()
            write_bytes_atomic(kept, add_checksum(head + b"\n" + info.frame_times_s.astype("<f8").tobytes()))
        except OSError as error:
            logger.warning("%s cannot be written (%s): the videos will be probed again", kept, error.strerror)
            self._folder = None
        return info


def probe_all(paths: set[Path], name: str, settings: Settings) -> dict[Path, VideoInfo | VideoError]:
    """Probe videos in threads; the value is an error for a video that cannot be read.

    Args:
        paths: the videos.
        name: title of the progress bar, which is shown for many videos.
        settings: give the folder of the cache, and the frame rate of folders of pictures.
    """
    from tqdm import tqdm

    cache = ProbeCache(_cache_folder(settings))

    def try_probe(path: Path) -> VideoInfo | VideoError:
        try:
            return cache.get(path).at_rate(settings.folder_fps)
        except VideoError as error:
            return error

    ordered = sorted(paths)
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        found = pool.map(try_probe, ordered)
        progress = tqdm(found, total=len(ordered), desc=f"{name}: videos", unit="video", disable=len(ordered) < 200)
        return dict(zip(ordered, progress, strict=True))


def _cache_folder(settings: Settings) -> Path | None:
    try:
        return Path(settings.cache_dir).expanduser() if settings.cache_dir else None
    except RuntimeError:  # the user of a container may have no home
        return None


def _read_head(head: Any) -> tuple[float, tuple[int, int], float | None, str, int, bool, int]:
    """The fields of a VideoInfo after the times."""
    end_s, (width, height), start_s, kind, group, timed, aside = head
    size_wh, start_s = (json_integer(width), json_integer(height)), None if start_s is None else float(start_s)
    return float(end_s), size_wh, start_s, json_text(kind), json_integer(group), bool(timed), json_integer(aside)
