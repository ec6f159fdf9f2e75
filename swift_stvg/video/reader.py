"""Videos and pictures: the times and the size of their frames, and exactly the frames that a timeline names.

`decoding` surveys and decodes files. If the settings ask for decord, decord reads only the files on which it is known
to be exact, because it guesses where frames are. A picture is a video of one frame, shown for a second. A set of
pictures (see `image_folders`) is a video of as many frames; its rate comes from the annotation or from a setting.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from swift_stvg.errors import VideoError
from swift_stvg.geometry import IntArray
from swift_stvg.records import VideoInfo
from swift_stvg.video.decoding import Frames, decode, first_line, plain, require_file, survey
from swift_stvg.video.image_folders import PICTURES, is_picture, is_set, left_aside, pictures

__all__ = [
    "PICTURES",
    "Frames",
    "fingerprint",
    "frame_batches",
    "is_picture",
    "is_set",
    "probe",
    "read_frames",
    "stream_frames",
]
_PARTS, _PART = 16, 1 << 13
_AT_ONCE, _MOST_BYTES = 16, 1 << 28
_ORIENTATION = 0x0112  # the EXIF tag; values of 5 and more mean a quarter turn


def probe(path: Path) -> VideoInfo:
    """The times and the size of a video's frames. Only the first frame is decoded.

    Raises:
        VideoError: the file is missing or is not a readable video.
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
    """Decode the frames with the numbers `frames` (T,), increasing, as (T, H, W, 3) RGB.

    Each frame equals, pixel for pixel, the frame that decoding the file from its first packet gives at this time. It
    does not depend on the other frames of the call. decord may round colours differently.

    Args:
        path: the video's path.
        frames: the frame numbers.
        decoder: one of `settings.DECODERS`.

    Raises:
        VideoError: the file is missing, is damaged at a frame, or has fewer frames.
    """
    return np.concatenate(list(frame_batches(path, frames, decoder)))


def stream_frames(path: Path, frames: IntArray) -> Iterator[Frames]:
    """The frames of `read_frames` one by one, each (H, W, 3), with few of them in memory at a time."""
    for batch in frame_batches(path, frames):
        yield from batch


def frame_batches(path: Path, frames: IntArray, decoder: str = "pyav") -> Iterator[Frames]:
    """The frames of `read_frames` in batches of at most 16."""
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
    if decoder == "decord" and file.decord_is_exact:
        for batch in _by_decord(path, len(file.times_s), frames, at_once):
            yield batch
            frames = frames[len(batch) :]
        if not len(frames):
            return
    decoded = decode(path, file, frames)
    while parts := list(islice(decoded, at_once)):
        yield np.stack(parts)


def _probe_set(path: Path) -> VideoInfo:
    """`probe` for a set of pictures. Only the first picture is decoded; of the others only the head is read."""
    files = pictures(path)
    height, width = _read_picture(files[0]).shape[:2]
    for file in files[1:]:
        if (size_wh := _size_of_picture(file)) != (width, height):
            raise VideoError(
                "pictures of different sizes", f"{file} has {size_wh} pixels, the first picture {(width, height)}"
            )
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
            raise VideoError("pictures of different sizes", f"{path} has pictures of {shape} and of {pixels.shape}")
        batch.append(pixels)
        if len(batch) == max(1, min(_AT_ONCE, _MOST_BYTES // pixels.size)):
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _by_decord(path: Path, count: int, frames: IntArray, at_once: int) -> Iterator[Frames]:
    """Yield batches from decord until it fails. Then the caller decodes the rest with PyAV, which reports the error.

    `count` is the number of frames of the video.
    """
    from decord import DECORDError, VideoReader, cpu

    try:
        reader = VideoReader(plain(path), ctx=cpu(0), num_threads=1)
        for i in range(0, len(frames) if len(reader) == count else 0, at_once):
            batch: Frames = reader.get_batch(frames[i : i + at_once].tolist()).asnumpy()
            if batch.shape[3] != 3:  # a video with a quarter turn
                return
            yield batch
    except (DECORDError, RuntimeError):
        # do not keep the error: it holds the reader, and a process that is forked then ends with a segmentation fault
        return


def fingerprint(path: Path, more: str = "") -> str:
    """A digest, 32 hexadecimal digits, of a video's length, of 16 parts of its content, and of `more`.

    The parts have 8 KiB each and lie at equal distances from the start to the end of the file. An edited, re-encoded or
    completed file has another digest; a copy has the same digest. A change is not detected if it keeps the length and
    lies between two parts (a fifteenth of the file at most). For a set of pictures, the digest covers the names and
    lengths of all pictures and the first 8 KiB of 16 pictures.

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


def _size_of_picture(path: Path) -> tuple[int, int]:
    """Width and height of the picture that `_read_picture` returns."""
    from PIL import Image

    require_file(path)
    try:
        with Image.open(path) as picture:
            turned = picture.getexif().get(_ORIENTATION, 1) > 4
            return (picture.height, picture.width) if turned else (picture.width, picture.height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoError("picture unreadable", f"{path} cannot be decoded: {first_line(error)}") from None


def _read_picture(path: Path) -> Frames:
    """The picture (H, W, 3) RGB, with its EXIF rotation applied."""
    from PIL import Image, ImageOps

    require_file(path)
    try:
        with Image.open(path) as picture:
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
        raise VideoError("picture unreadable", f"{path} cannot be decoded: {first_line(error)}") from None
