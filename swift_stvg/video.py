"""Reading video files: frame times and sizes, and exactly the frames that a timeline names.

Decoding is decord's; files whose metadata asks for a quarter turn go through PyAV, because decord 0.6.0 returns four
interleaved channels for them. A picture is a video of one frame, shown for a second.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swift_stvg.errors import VideoError
from swift_stvg.geometry import IntArray
from swift_stvg.jsonfile import put_whole, seal, unseal
from swift_stvg.records import VideoInfo

Frames = npt.NDArray[np.uint8]
logger = logging.getLogger(__name__)
_PARTS, _PART = 16, 1 << 13
_AT_ONCE = 16
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Endings of files that are read as pictures."""
_KEPT = "times 2"  # changed whenever `probe` finds other things, or they are kept otherwise


def probe(path: Path) -> VideoInfo:
    """Times and size of a video's frames, without decoding more than the first.

    Raises:
        VideoError: the file is missing or no video can be read from it.
    """
    if is_picture(path):
        height, width = _read_picture(path).shape[:2]
        return VideoInfo(path, np.zeros(1), 1.0, (width, height))
    reader = _open(path)
    times = np.asarray(reader.get_frame_timestamp(range(len(reader))), dtype=np.float64)  # (N, 2) start, end
    height, width = _decode(path, lambda: reader[0].shape[:2])
    return VideoInfo(path, np.maximum.accumulate(times[:, 0]), float(times[-1, 1]), (int(width), int(height)))


def read_frames(path: Path, frames: IntArray) -> Frames:
    """The frames numbered `frames` (T,), as (T, H, W, 3) RGB.

    Raises:
        VideoError: the file is missing, cannot be decoded there, or has fewer frames.
    """
    return np.concatenate(list(frame_batches(path, frames)))


def stream_frames(path: Path, frames: IntArray) -> Iterator[Frames]:
    """The same in turn, each (H, W, 3), with few of them in memory at a time."""
    for batch in frame_batches(path, frames):
        yield from batch


def frame_batches(path: Path, frames: IntArray) -> Iterator[Frames]:
    """The same in parts of at most 16."""
    from decord import DECORDError

    if is_picture(path):
        if frames[-1] > 0:
            raise VideoError("video shorter than expected", f"frame {frames[-1]} of 1 in {path}")
        yield _read_picture(path)[None]
        return
    reader = _open(path)
    if frames[-1] >= len(reader):
        raise VideoError("video shorter than expected", f"frame {frames[-1]} of {len(reader)} in {path}")
    for i in range(0, len(frames), _AT_ONCE):
        try:
            yield reader.get_batch(frames[i : i + _AT_ONCE].tolist()).asnumpy()
        except DECORDError as error:
            if i == 0 and _decode(path, lambda: reader[0].shape[2]) != 3:
                yield from (frame[None] for frame in _read_rotated(path, frames))
                return
            raise _undecodable(path, error) from None


def is_picture(path: Path) -> bool:
    """Whether a file is read as a picture, by its name."""
    return path.suffix.lower() in PICTURES


def fingerprint(path: Path, more: str = "") -> str:
    """Digest of a video's content, 32 hexadecimal digits: of its length, of parts of it, and of `more`.

    The parts are 16 of 8 KiB from its beginning to its end, at equal distances: an edited, re-encoded or completed file
    has another digest; a copy has the same. A change that lies between two of them, up to a fifteenth of the
    file, and keeps its length is not seen.

    Raises:
        VideoError: the file is missing or cannot be read.
    """
    _require_file(path)
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            for place in range(_PARTS):
                file.seek(max(length - _PART, 0) * place // (_PARTS - 1))
                digest.update(file.read(_PART))
    except OSError as error:
        raise VideoError("video unreadable", f"{str(path)!r:.300} cannot be read: {error.strerror}") from None
    digest.update(f"{length} {more}".encode())
    return digest.hexdigest()


class Probes:
    """What files were found to be, kept on disk by their content: finding out reads a whole file.

    Args:
        folder: where it is kept; None for nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, path: Path) -> VideoInfo:
        """As `probe`."""
        if self._folder is None:
            return probe(path)
        name = fingerprint(path, _KEPT)
        kept = self._folder / "probes" / name[:2] / f"{name}.times"
        try:
            numbers = np.frombuffer(unseal(kept.read_bytes()), dtype="<f8")
            return VideoInfo(path, numbers[:-3], float(numbers[-3]), (int(numbers[-2]), int(numbers[-1])))
        except (OSError, ValueError):  # not there, or damaged
            info = probe(path)
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            numbers = np.array([*info.frame_times_s, info.end_s, *info.size_wh], dtype="<f8")
            put_whole(kept, seal(numbers.tobytes()))
        except OSError as error:
            logger.warning("%s cannot be written (%s): videos will be looked at again next time", kept, error.strerror)
            self._folder = None
        return info


def _open(path: Path) -> Any:
    from decord import DECORDError, VideoReader, cpu

    _require_file(path)
    try:
        reader = VideoReader(str(path), ctx=cpu(0), num_threads=1)
    except (DECORDError, RuntimeError) as error:  # decord raises RuntimeError where no stream is found
        raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes): {_last_line(error)}") from None
    if len(reader) == 0:
        raise VideoError("video unreadable", f"{path} holds no frame")
    return reader


def _read_picture(path: Path) -> Frames:
    """The picture (H, W, 3) RGB, turned as it asks to be."""
    from PIL import Image, ImageOps

    _require_file(path)
    try:
        with Image.open(path) as picture:
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
        raise _undecodable(path, error) from None


def _require_file(path: Path) -> None:
    if not os.path.isfile(path):  # a pipe would be waited for
        raise VideoError("video missing", f"no file {str(path)!r:.300}")


def _decode(path: Path, decode: Callable[[], Any]) -> Any:
    from decord import DECORDError

    try:
        return decode()
    except DECORDError as error:
        raise _undecodable(path, error) from None


def _undecodable(path: Path, error: Exception) -> VideoError:
    return VideoError("video unreadable", f"{path} cannot be decoded: {_last_line(error)}")


def _read_rotated(path: Path, frames: IntArray) -> Iterator[Frames]:
    import av

    wanted = set(frames.tolist())
    found = 0
    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number in wanted:
                    found += 1
                    yield np.rot90(frame.to_ndarray(format="rgb24"), k=frame.rotation // 90)
                if number == frames[-1]:
                    break
    except av.error.FFmpegError as error:
        raise _undecodable(path, error) from None
    if found != len(frames):
        raise VideoError("video shorter than expected", f"{found} of {len(frames)} wanted frames in {path}")


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
