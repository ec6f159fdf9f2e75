"""Sampled, resized frames on disk: one file of JPEG pictures for each clip, named after what is in it.

A file's name is a digest of the video's content (as far as `fingerprint` sees it), the numbers of the frames and their
size, so a file made from another video or with other settings is not found, wherever the videos are moved. It is there
whole or not at all, and several processes may write the same one.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from swift_stvg.errors import DataError, SettingsError
from swift_stvg.util.json_reading import PARSE_ERRORS, json_integer
from swift_stvg.util.writing import add_checksum, strip_checksum, write_bytes_atomic
from swift_stvg.video.reader import Frames, fingerprint

FRAME_CACHE_VERSION = 3
"""Raised whenever the same frames would be kept otherwise, or others were kept for some files."""
JPEG_QUALITY = 95
"""Of the pictures, with colour at full resolution: see `swift-stvg bench video` for others."""
_MARK = "version"
"""File that says which version the folder's frames are of."""


class FrameCache:
    """A folder of cached clips.

    Args:
        folder: where they are.

    Raises:
        SettingsError: they were written by another version of this package.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            found = (folder / _MARK).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:  # not begun
            return
        if found != str(FRAME_CACHE_VERSION):
            raise SettingsError(
                f"{folder} holds cached frames of version {found!r:.20}, this package reads and writes version "
                f"{FRAME_CACHE_VERSION}: run `swift-stvg cache` again, into another folder"
            )

    def path(self, video: Path, frames: Sequence[int], size_wh: tuple[int, int]) -> Path:
        """The file that holds these frames of this video at this size, whether it is there or not.

        Raises:
            VideoError: the video cannot be read.
        """
        name = fingerprint(video, json.dumps([FRAME_CACHE_VERSION, list(map(int, frames)), list(size_wh)]))
        return self.folder / name[:2] / f"{name}.frames"

    def read(self, path: Path, count: int, size_wh: tuple[int, int]) -> Frames | None:
        """The `count` frames (T, H, W, 3) RGB in a file; None if it is not there.

        Raises:
            DataError: it is there and cannot be read.
        """
        try:
            try:
                data = _read(path, count, size_wh)
            except FileNotFoundError:
                return None
            pictures = [Image.open(io.BytesIO(picture), formats=["JPEG"]) for picture in _pictures(data)]
            found = {(picture.size, picture.mode) for picture in pictures}  # before any of them takes memory
            if len(pictures) != count or found != {(tuple(size_wh), "RGB")}:
                raise ValueError(f"{len(pictures)} pictures of {found}, not {count} of {size_wh}")
            return np.stack([np.asarray(picture) for picture in pictures])
        except (*PARSE_ERRORS, OSError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DataError(f"{path} is no whole file of cached frames ({error!r:.200}): delete it") from None

    def holds(self, path: Path, count: int, size_wh: tuple[int, int]) -> bool:
        """Whether a file is there and whole."""
        try:
            return len(_pictures(_read(path, count, size_wh))) == count
        except (*PARSE_ERRORS, OSError):
            return False

    def write(self, path: Path, frames: Frames) -> int:
        """Keep frames (T, H, W, 3) RGB under a name that `path` gave; returns the file's size in bytes."""
        pictures = [to_jpeg(frame) for frame in frames]
        data = add_checksum(json.dumps([len(p) for p in pictures]).encode() + b"\n" + b"".join(pictures))
        mark = self.folder / _MARK
        path.parent.mkdir(parents=True, exist_ok=True)
        if not mark.is_file():
            write_bytes_atomic(mark, f"{FRAME_CACHE_VERSION}\n".encode())
        write_bytes_atomic(path, data)
        return len(data)


def to_jpeg(frame: Frames) -> bytes:
    """A frame (H, W, 3) RGB as a picture."""
    picture = io.BytesIO()
    Image.fromarray(frame).save(picture, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return picture.getvalue()


def _read(path: Path, count: int, size_wh: tuple[int, int]) -> bytes:
    """A file that is not larger than its frames can make it."""
    most = count * (3 * size_wh[0] * size_wh[1] + (1 << 16)) + (1 << 16)
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            raise ValueError(f"more than {most} bytes")
        return file.read()


def _pictures(data: bytes) -> list[bytes]:
    """The pictures in a file.

    Raises:
        ValueError: it is no such file, or not whole.
    """
    head, _, body = strip_checksum(data).partition(b"\n")
    ends = [0, *accumulate(map(json_integer, json.loads(head)))]
    return [body[a:b] for a, b in pairwise(ends)]
