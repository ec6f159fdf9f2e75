"""A cache on disk of sampled, resized frames: one file of JPEG pictures for each clip.

The name of a file is a digest of the video's content (see `fingerprint`), the frame numbers and the frame size. So
frames of another video or of other settings are never read, and videos may be moved. Files are written atomically, and
several processes may write the same file.
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
"""Version of the files; raised when their form or the decoded frames change."""
JPEG_QUALITY = 95
"""JPEG quality, with full colour resolution; `swift-stvg bench video` measures others."""
_MARK = "version"
"""File with the version of the folder's files."""


class FrameCache:
    """A folder of cached clips.

    Args:
        folder: the folder's path.

    Raises:
        SettingsError: the folder has another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            found = (folder / _MARK).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:  # a new folder
            return
        if found != str(FRAME_CACHE_VERSION):
            raise SettingsError(
                f"{folder} holds cached frames of version {found!r:.20}, but this package reads and writes version "
                f"{FRAME_CACHE_VERSION}: run `swift-stvg cache` again, with another folder"
            )

    def path(self, video: Path, frames: Sequence[int], size_wh: tuple[int, int]) -> Path:
        """The path of the file for these frames of a video at a size. The file need not exist.

        Raises:
            VideoError: the video cannot be read.
        """
        name = fingerprint(video, json.dumps([FRAME_CACHE_VERSION, list(map(int, frames)), list(size_wh)]))
        return self.folder / name[:2] / f"{name}.frames"

    def read(self, path: Path, count: int, size_wh: tuple[int, int]) -> Frames | None:
        """Read the `count` frames (T, H, W, 3) RGB of a file; None if the file does not exist.

        Raises:
            DataError: the file is damaged.
        """
        try:
            try:
                data = _read(path, count, size_wh)
            except FileNotFoundError:
                return None
            pictures = [Image.open(io.BytesIO(picture), formats=["JPEG"]) for picture in _pictures(data)]
            found = {(picture.size, picture.mode) for picture in pictures}  # checked before memory is allocated
            if len(pictures) != count or found != {(tuple(size_wh), "RGB")}:
                raise ValueError(f"{len(pictures)} pictures of {found}, not {count} of {size_wh}")
            return np.stack([np.asarray(picture) for picture in pictures])
        except (*PARSE_ERRORS, OSError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DataError(f"{path} is a damaged file of cached frames ({error!r:.200}): delete it") from None

    def holds(self, path: Path, count: int, size_wh: tuple[int, int]) -> bool:
        """Whether a file exists and is not damaged."""
        try:
            return len(_pictures(_read(path, count, size_wh))) == count
        except (*PARSE_ERRORS, OSError):
            return False

    def write(self, path: Path, frames: Frames) -> int:
        """Write frames (T, H, W, 3) RGB to a path that `path` returned; return the file's size in bytes."""
        pictures = [to_jpeg(frame) for frame in frames]
        data = add_checksum(json.dumps([len(p) for p in pictures]).encode() + b"\n" + b"".join(pictures))
        mark = self.folder / _MARK
        path.parent.mkdir(parents=True, exist_ok=True)
        if not mark.is_file():
            write_bytes_atomic(mark, f"{FRAME_CACHE_VERSION}\n".encode())
        write_bytes_atomic(path, data)
        return len(data)


def to_jpeg(frame: Frames) -> bytes:
    """Encode a frame (H, W, 3) RGB as JPEG."""
    picture = io.BytesIO()
    Image.fromarray(frame).save(picture, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return picture.getvalue()


def _read(path: Path, count: int, size_wh: tuple[int, int]) -> bytes:
    """Read a file, unless it is larger than its frames can be."""
    most = count * (3 * size_wh[0] * size_wh[1] + (1 << 16)) + (1 << 16)
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            raise ValueError(f"more than {most} bytes")
        return file.read()


def _pictures(data: bytes) -> list[bytes]:
    """The JPEG pictures in the content of a file.

    Raises:
        ValueError: the content is damaged.
    """
    head, _, body = strip_checksum(data).partition(b"\n")
    ends = [0, *accumulate(map(json_integer, json.loads(head)))]
    return [body[a:b] for a, b in pairwise(ends)]
