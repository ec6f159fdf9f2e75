"""Videos and pictures: when their frames are and how large, and exactly the frames that a timeline names.

Files are surveyed and decoded as `decoding` says. decord, which guesses where frames are, reads those of which it is
known to guess right, where it is asked for. A picture is a video of one frame, shown for a second; a set of pictures,
as `pictures` says, one of as many frames, whose rate the annotation knows, or a setting.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.errors import VideoError
from swift_stvg.geometry import IntArray
from swift_stvg.records import VideoInfo
from swift_stvg.util.json_reading import PARSE_ERRORS, json_integer, json_text
from swift_stvg.util.writing import add_checksum, strip_checksum, write_bytes_atomic
from swift_stvg.video.decoding import Frames, decode, first_line, plain, require_file, survey
from swift_stvg.video.image_folders import PICTURES, is_picture, is_set, left_aside, pictures

__all__ = [
    "PICTURES",
    "Frames",
    "Probes",
    "fingerprint",
    "frame_batches",
    "is_picture",
    "is_set",
    "probe",
    "read_frames",
    "stream_frames",
]
logger = logging.getLogger(__name__)
_PARTS, _PART = 16, 1 << 13
_AT_ONCE, _MOST_BYTES = 16, 1 << 28
_ORIENTATION = 0x0112  # the EXIF tag; from 5 on, by a quarter
_KEPT = "times 5"  # changed whenever `probe` finds other things, or they are kept otherwise


def probe(path: Path) -> VideoInfo:
    """Times and size of a video's frames, without decoding more than the first.

    Raises:
        VideoError: the file is missing or no video can be read from it.
    """
    if is_picture(path):
        height, width = _read_picture(path).shape[:2]
        return VideoInfo(path, np.zeros(1), 1.0, (width, height), kind="picture")
    if is_set(path):
        return _probe_set(path)
    file = survey(path)
    height, width = next(decode(path, file, np.zeros(1, dtype=np.int64))).shape[:2]
    kind = f"{file.codec} in {file.container}"
    size_wh = int(width), int(height)
    return VideoInfo(path, file.times_s, file.end_s, size_wh, file.start_s, kind, file.largest_group)


def read_frames(path: Path, frames: IntArray, decoder: str = "pyav") -> Frames:
    """The frames numbered `frames` (T,), increasing, as (T, H, W, 3) RGB.

    For every file that can be decoded from its first packet on, each is, pixel for pixel, the frame that this gives for
    its time, whatever others are asked for; with decord, up to its rounding of colours.

    Args:
        path: of the video.
        frames: which ones.
        decoder: one of `settings.DECODERS`.

    Raises:
        VideoError: the file is missing, cannot be decoded there, or has fewer frames.
    """
    return np.concatenate(list(frame_batches(path, frames, decoder)))


def stream_frames(path: Path, frames: IntArray) -> Iterator[Frames]:
    """The same in turn, each (H, W, 3), with few of them in memory at a time."""
    for batch in frame_batches(path, frames):
        yield from batch


def frame_batches(path: Path, frames: IntArray, decoder: str = "pyav") -> Iterator[Frames]:
    """The same in parts of at most 16."""
    if (np.diff(frames) <= 0).any():
        raise ValueError(f"`frames` must increase, got {frames.tolist()}")
    if is_picture(path):
        if frames[-1] > 0:
            raise VideoError("video shorter than expected", f"frame {frames[-1]} of 1 in {path}")
        yield _read_picture(path)[None]
        return
    if is_set(path):
        yield from _set_batches(path, frames)
        return
    file = survey(path)
    if frames[-1] >= len(file.times_s):
        raise VideoError("video shorter than expected", f"frame {frames[-1]} of {len(file.times_s)} in {path}")
    at_once = max(1, min(_AT_ONCE, _MOST_BYTES // (3 * file.pixels)))
    if decoder == "decord" and file.decord:
        for batch in _by_decord(path, len(file.times_s), frames, at_once):
            yield batch
            frames = frames[len(batch) :]
        if not len(frames):
            return
    decoded = decode(path, file, frames)
    while parts := list(islice(decoded, at_once)):
        yield np.stack(parts)


def _probe_set(path: Path) -> VideoInfo:
    """As `probe`; of all pictures but the first one, the beginning is read."""
    files = pictures(path)
    height, width = _read_picture(files[0]).shape[:2]
    for file in files[1:]:
        if (size_wh := _size_of_picture(file)) != (width, height):
            raise VideoError("video unreadable", f"{file} has {size_wh} pixels, the first picture {(width, height)}")
    info = VideoInfo(path, np.arange(len(files), dtype=np.float64), float(len(files)), (width, height))
    return replace(info, kind="set of pictures", timed=False, aside=len(left_aside(path)))


def _set_batches(path: Path, frames: IntArray) -> Iterator[Frames]:
    files = pictures(path)
    if frames[-1] >= len(files):
        raise VideoError("video shorter than expected", f"frame {frames[-1]} of {len(files)} in {path}")
    batch: list[Frames] = []
    shape: tuple[int, ...] = ()
    for number in frames.tolist():
        pixels = _read_picture(files[number])
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise VideoError("video unreadable", f"{path} has pictures of {shape} and of {pixels.shape}")
        batch.append(pixels)
        if len(batch) == max(1, min(_AT_ONCE, _MOST_BYTES // pixels.size)):
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _by_decord(path: Path, count: int, frames: IntArray, at_once: int) -> Iterator[Frames]:
    """Frames of a video of `count` in parts, until there is one that decord does not give: PyAV says what is wrong."""
    from decord import DECORDError, VideoReader, cpu

    try:
        reader = VideoReader(plain(path), ctx=cpu(0), num_threads=1)
        for i in range(0, len(frames) if len(reader) == count else 0, at_once):
            batch: Frames = reader.get_batch(frames[i : i + at_once].tolist()).asnumpy()
            if batch.shape[3] != 3:  # of a video that is turned by a quarter
                return
            yield batch
    except (DECORDError, RuntimeError):
        # a process that is forked while an error still holds the reader would end with a segmentation fault
        return


def fingerprint(path: Path, more: str = "") -> str:
    """Digest of a video's content, 32 hexadecimal digits: of its length, of parts of it, and of `more`.

    The parts are 16 of 8 KiB from its beginning to its end, at equal distances: an edited, re-encoded or completed file
    has another digest; a copy has the same. A change that lies between two of them, up to a fifteenth of the
    file, and keeps its length is not seen. Of a set of pictures, the names and lengths of all count, and the beginnings
    of 16.

    Raises:
        VideoError: the file is missing or cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    if is_set(path):
        files = pictures(path)
        try:
            lengths = [[file.name, file.stat().st_size] for file in files]
            for place in range(_PARTS):
                with files[(len(files) - 1) * place // (_PARTS - 1)].open("rb") as file:
                    digest.update(file.read(_PART))
        except OSError as error:
            raise VideoError("video unreadable", f"{error.filename} cannot be read: {error.strerror}") from None
        digest.update(f"{json.dumps(lengths)} {more}".encode())
        return digest.hexdigest()
    require_file(path)
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
            head, _, times = strip_checksum(kept.read_bytes()).partition(b"\n")
            return VideoInfo(path, np.frombuffer(times, dtype="<f8"), *_probe_fields(json.loads(head)))
        except (OSError, *PARSE_ERRORS):  # not there, or damaged
            info = probe(path)
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            head = json.dumps(
                [info.end_s, info.size_wh, info.start_s, info.kind, info.group, info.timed, info.aside]
            ).encode()
            write_bytes_atomic(kept, add_checksum(head + b"\n" + info.frame_times_s.astype("<f8").tobytes()))
        except OSError as error:
            logger.warning("%s cannot be written (%s): videos will be looked at again next time", kept, error.strerror)
            self._folder = None
        return info


def _probe_fields(head: Any) -> tuple[float, tuple[int, int], float | None, str, int, bool, int]:
    """What `Probes` keeps beside the times."""
    end_s, (width, height), start_s, kind, group, timed, aside = head
    size_wh, start_s = (json_integer(width), json_integer(height)), None if start_s is None else float(start_s)
    return float(end_s), size_wh, start_s, json_text(kind), json_integer(group), bool(timed), json_integer(aside)


def _size_of_picture(path: Path) -> tuple[int, int]:
    """Width and height as `_read_picture` gives them."""
    from PIL import Image

    require_file(path)
    try:
        with Image.open(path) as picture:
            turned = picture.getexif().get(_ORIENTATION, 1) > 4
            return (picture.height, picture.width) if turned else (picture.width, picture.height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoError("video unreadable", f"{path} cannot be decoded: {first_line(error)}") from None


def _read_picture(path: Path) -> Frames:
    """The picture (H, W, 3) RGB, turned as it asks to be."""
    from PIL import Image, ImageOps

    require_file(path)
    try:
        with Image.open(path) as picture:
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
        raise VideoError("video unreadable", f"{path} cannot be decoded: {first_line(error)}") from None
