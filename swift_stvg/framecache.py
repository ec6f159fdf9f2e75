"""Sampled, resized frames on disk: one file of JPEG pictures for each clip, named after what is in it.

A file's name is a digest of the video's content (as far as `fingerprint` sees it), the numbers of the frames and their
size, so a file made from another video or with other settings is not found, wherever the videos are moved. It is there
whole or not at all, and several processes may write the same one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from swift_stvg.errors import DataError
from swift_stvg.jsonfile import put_whole, seal, unseal
from swift_stvg.video import Frames, fingerprint

VERSION = 2
"""Raised whenever the same frames would be kept otherwise."""
QUALITY = 95
"""Of the pictures, with colour at full resolution: see `swift-stvg bench video` for others."""


class FrameCache:
    """A folder of cached clips.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, video: Path, frames: Sequence[int], size_wh: tuple[int, int]) -> Path:
        """The file that holds these frames of this video at this size, whether it is there or not.

        Raises:
            VideoError: the video cannot be read.
        """
        name = fingerprint(video, json.dumps([VERSION, list(map(int, frames)), list(size_wh)]))
        return self.folder / name[:2] / f"{name}.frames"

    def read(self, path: Path) -> Frames | None:
        """The frames (T, H, W, 3) RGB in a file; None if it is not there.

        Raises:
            DataError: it is there and cannot be read.
        """
        try:
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
            pictures = [Image.open(io.BytesIO(picture), formats=["JPEG"]) for picture in _pictures(data)]
            return np.stack([np.asarray(picture) for picture in pictures])
        except (ValueError, OSError) as error:
            raise DataError(f"{path} is no whole file of cached frames ({error}): delete it") from None

    def holds(self, path: Path) -> bool:
        """Whether a file is there and whole."""
        try:
            return bool(_pictures(path.read_bytes()))
        except (ValueError, OSError):
            return False

    def write(self, path: Path, frames: Frames) -> int:
        """Keep frames (T, H, W, 3) RGB under a name that `path` gave; returns the file's size in bytes."""
        pictures = [to_jpeg(frame) for frame in frames]
        data = seal(json.dumps([len(p) for p in pictures]).encode() + b"\n" + b"".join(pictures))
        path.parent.mkdir(parents=True, exist_ok=True)
        put_whole(path, data)
        return len(data)


def to_jpeg(frame: Frames) -> bytes:
    """A frame (H, W, 3) RGB as a picture."""
    picture = io.BytesIO()
    Image.fromarray(frame).save(picture, "JPEG", quality=QUALITY, subsampling=0)
    return picture.getvalue()


def _pictures(data: bytes) -> list[bytes]:
    """The pictures in a file.

    Raises:
        ValueError: it is no such file, or not whole.
    """
    head, _, body = unseal(data).partition(b"\n")
    ends = np.cumsum([0, *json.loads(head)]).tolist()
    return [body[a:b] for a, b in pairwise(ends)]
