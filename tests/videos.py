"""Small H.264 files with known content: frame k has a white left part of 2 k pixels and a red top-left corner."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

TURNS = {  # display matrices of MP4's track header, as cameras write them
    90: (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
    180: (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30),
    270: (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30),
}


@contextmanager
def writing(path: Path, **how: Any) -> Iterator[Any]:
    """Open a file for PyAV to write, and restore the scheduling of this process at the end.

    As root, the AV1 encoder gives the thread that starts it real-time priority. Later child processes of this process
    inherit it. Two such processes would stop all other work on two cores.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        with av.open(str(path), "w", **how) as out:
            yield out
    finally:
        os.sched_setscheduler(0, *before)


def picture(number: int, size_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Frame `number`, (H, W, 3)."""
    width, height = size_wh
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : 2 * number % width] = 255
    pixels[:12, :12] = (255, 0, 0)
    return pixels


def write_as(
    path: Path,
    count: int,
    size_wh: tuple[int, int] = (64, 48),
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """Write a video of 25 frames per second in another form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path, options=container or {}) as out:
        stream = out.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = size_wh
        stream.pix_fmt = pix_fmt
        for number in range(count):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number, size_wh), format="rgb24")))
        out.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """Write a file with sound and no picture."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        stream.layout = "mono"
        for number in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, 1024 * number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def write_late(path: Path, first: int, count: int, *, fps: int = 25, sound: bool = False) -> Path:
    """Write frames `first` to `count` - 1 of a video, each at its time; `sound` begins at 0. Frame k is white in its
    first k columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"crf": "1", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 32 * (count // 32 + 1), 32, "yuv444p"
        stream.codec_context.time_base = Fraction(1, fps)
        packets = []
        if sound:
            track = out.add_stream("aac", rate=8000)
            track.layout = "mono"
            for number in range(count * 8000 // (fps * 1024)):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 8000, 1024 * number
                packets += track.encode(frame)
            packets += track.encode(None)
        for number in range(first, count):
            pixels = np.zeros((stream.height, stream.width, 3), np.uint8)
            pixels[:, :number] = 255
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, fps)
            packets += stream.encode(picture)
        packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
    return path


def numbers_seen(frames: np.ndarray) -> list[int]:
    """The numbers of frames (T, H, W, 3) of `write_late`, read from their pixels."""
    return [round(float((frame[:, :, 1] > 128).sum()) / len(frame)) for frame in frames]


def patched(path: Path, source: Path, box: bytes, offset: int, *numbers: int) -> Path:
    """A copy of an MP4 file with other 32-bit numbers in one of its boxes."""
    data = bytearray(source.read_bytes())
    at = data.index(box) + 4 + offset
    data[at : at + 4 * len(numbers)] = struct.pack(f">{len(numbers)}I", *numbers)
    path.write_bytes(data)
    return path


def write_video(path: Path, times_s: Sequence[float], size_wh: tuple[int, int] = (64, 48), turned: int = 0) -> Path:
    """Write a video whose frame k is shown at `times_s[k]`; `turned` asks players to turn it by so many degrees."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(picture(number, size_wh), format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if turned:
        content = bytearray(path.read_bytes())
        matrix = content.index(b"tkhd") + 4 + 40
        content[matrix : matrix + 36] = struct.pack(">9i", *TURNS[turned])
        path.write_bytes(content)
    return path
