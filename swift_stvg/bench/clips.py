"""Videos for benchmarks: synthetic clips that are encoded like films and like home videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True, slots=True)
class Clip:
    """One kind of video.

    Attributes:
        name: the kind's name.
        size_wh: frame size in pixels.
        seconds: length in seconds.
        fps: frames per second.
        keyframes: number of frames from a key frame to the next one.
    """

    name: str
    size_wh: tuple[int, int]
    seconds: int
    fps: int
    keyframes: int


FILM = Clip("film, 720p", (1280, 720), 20, 24, 240)
HOME = Clip("home video, 360p", (640, 360), 120, 30, 15)


def encode(clip: Clip, folder: Path, seconds: int | None = None) -> Path:
    """Write the clip, or `seconds` of it, as H.264 with B-frames: a moving, textured picture with noise."""
    import av

    seconds = seconds or clip.seconds
    path = folder / f"{clip.name.split(',')[0].replace(' ', '_')}_{seconds}.mp4"
    width, height = clip.size_wh
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (height // 16 + 30, width // 16 + 30, 3), dtype=np.uint8))
    scene = np.asarray(small.resize((width + 480, height + 480)))  # larger than a frame: the camera pans over it
    noise = rng.integers(0, 8, (4, height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "crf": "23", "g": str(clip.keyframes), "bf": "2"}
        stream = container.add_stream("libx264", rate=clip.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(seconds * clip.fps):
            x, y = (int(abs((k * step) % 800 - 400)) for step in (1.7, 1.1))
            picture = scene[y : y + height, x : x + width] // 2 + 60 + noise[k % 4]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
