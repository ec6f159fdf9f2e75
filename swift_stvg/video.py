"""Reading video files: frame times and sizes, and exactly the frames that a timeline names.

Decoding is decord's; files whose metadata asks for a quarter turn go through PyAV, because decord 0.6.0 returns four
interleaved channels for them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swift_stvg.errors import VideoError
from swift_stvg.geometry import IntArray
from swift_stvg.records import VideoInfo

Frames = npt.NDArray[np.uint8]


def probe(path: Path) -> VideoInfo:
    """Times and size of a video's frames, without decoding more than the first.

    Raises:
        VideoError: the file is missing or no video can be read from it.
    """
    reader = _open(path)
    times = np.asarray(reader.get_frame_timestamp(range(len(reader))), dtype=np.float64)  # (N, 2) start, end
    height, width = _decode(reader, path, lambda: reader[0].shape[:2])
    return VideoInfo(path, np.maximum.accumulate(times[:, 0]), float(times[-1, 1]), (int(width), int(height)))


def read_frames(path: Path, frames: IntArray) -> Frames:
    """The frames numbered `frames` (T,), as (T, H, W, 3) RGB.

    Raises:
        VideoError: the file is missing, cannot be decoded there, or has fewer frames.
    """
    reader = _open(path)
    if frames[-1] >= len(reader):
        raise VideoError("video shorter than expected", f"frame {frames[-1]} of {len(reader)} in {path}")
    pixels: Frames = _decode(reader, path, lambda: _get_batch(reader, path, frames))
    return pixels


def _get_batch(reader: Any, path: Path, frames: IntArray) -> Frames:
    from decord import DECORDError

    try:
        batch: Frames = reader.get_batch(frames.tolist()).asnumpy()
    except DECORDError:
        if reader[0].shape[2] == 3:
            raise
        return _read_rotated(path, frames)
    return batch


def _open(path: Path) -> Any:
    from decord import DECORDError, VideoReader, cpu

    if not os.path.isfile(path):
        raise VideoError("video missing", f"no file {str(path)!r:.300}")
    try:
        reader = VideoReader(str(path), ctx=cpu(0), num_threads=1)
    except (DECORDError, RuntimeError) as error:  # decord raises RuntimeError where no stream is found
        raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes): {_last_line(error)}") from None
    if len(reader) == 0:
        raise VideoError("video unreadable", f"{path} holds no frame")
    return reader


def _decode(reader: Any, path: Path, decode: Any) -> Any:
    from decord import DECORDError

    try:
        return decode()
    except DECORDError as error:
        raise VideoError("video unreadable", f"{path} cannot be decoded: {_last_line(error)}") from None


def _read_rotated(path: Path, frames: IntArray) -> Frames:
    import av

    wanted = set(frames.tolist())
    turned = []
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                turned.append(np.rot90(frame.to_ndarray(format="rgb24"), k=frame.rotation // 90))
            if number == frames[-1]:
                break
    if len(turned) != len(frames):
        raise VideoError("video shorter than expected", f"{len(turned)} of {len(frames)} wanted frames in {path}")
    return np.stack(turned)


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
