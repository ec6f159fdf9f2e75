"""Chooses the frames of a video that a model sees, as in its training. For answer.py, beside this file."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
NUMBER = re.compile(r"\d+(?=\D*$)")  # the last of a name


@dataclass
class Clip:
    """The frames that the model sees.

    Attributes:
        frames: (T, 3, H, W) uint8.
        times_s: (T,) when they are shown, since the first.
        step_s: nominal seconds between two.
        index_s: seconds in the video of each index that an answer may hold.
        end_s: when the last frame of the clip ends.
        size_wh: pixels of the video.
    """

    frames: torch.Tensor
    times_s: Any
    step_s: float
    index_s: Any
    end_s: float
    size_wh: tuple[int, int]

    def span_s(self, begin: int, end: int) -> list[float]:
        """The seconds of an event from index `begin` to `end`, both included.

        It lasts half an interval beyond them, and to the ends of the clip from its ends.
        """
        middle = (self.index_s[1:] + self.index_s[:-1]) / 2
        first = self.index_s[0] if begin == 0 else middle[begin - 1]
        last = self.end_s if end == len(self.index_s) - 1 else middle[end]
        return [round(float(first), 3), round(float(last), 3)]


def open_clip(video: str, asked: dict[str, str], part_s: list[float] | None = None, folder_fps: float = 25.0) -> Clip:
    """The frames of a video, or of some seconds of it, by the settings of the training."""
    try:
        all_s, end_s, names = picture_times(video, folder_fps) if Path(video).is_dir() else frame_times(video)
        first, last = np.searchsorted(all_s, np.array(part_s) - 5.01e-4) if part_s else (0, len(all_s))
        if first >= last:
            sys.exit(f"no frame of {video} is in the clip: it lasts from {all_s[0]:.2f} to {end_s:.2f} s")
        times_s, end_s = all_s[first:last], float(np.append(all_s, end_s)[last])
        chosen, step_s = sample(times_s, end_s, asked)
        frames, size_wh = read_frames(video, [names[i] for i in (first + chosen).tolist()], asked)
    except (OSError, av.error.FFmpegError) as error:
        sys.exit(f"{video} cannot be read: {error}")
    index = chosen
    if asked["index_unit"] == "second":
        index = nearest(times_s, times_s[0] + np.arange(math.floor(times_s[-1] - times_s[0] + 1e-4) + 1))
    return Clip(frames, np.round(times_s[chosen] - times_s[0], 4), step_s, times_s[index], end_s, size_wh)


def sample(times_s: Any, end_s: float, asked: dict[str, str]) -> tuple[Any, float]:
    """Which frames the model sees, and the nominal seconds between two of them."""
    length_s = end_s - times_s[0]
    step_s = max(1 / float(asked["fps"]), length_s / int(asked["max_frames"]))
    count = max(1, math.ceil(length_s / step_s - 1e-6))
    return np.unique(nearest(times_s, times_s[0] + step_s * np.arange(count))), step_s


def nearest(times_s: Any, wanted_s: Any) -> Any:
    """Which of the increasing times is nearest to each of the wanted ones; the earlier of two."""
    right = np.clip(np.searchsorted(times_s, wanted_s), min(1, len(times_s) - 1), len(times_s) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(wanted_s - times_s[left] <= times_s[right] - wanted_s + 1e-4, left, right)


def frame_times(video: str) -> tuple[Any, float, list[Any]]:
    """When each frame is shown, when the last one ends, and the name of each: (kind of number, number)."""
    with av.open(video, metadata_errors="replace") as file:
        stream: Any = file.streams.best("video")
        if stream is None:
            sys.exit(f"{video} holds no picture")
        packets: Any = [p for p in file.demux(stream) if p.size and not p.is_discard and not p.is_corrupt]
        tick_s, rate = float(stream.time_base), float(stream.average_rate or 25)
    lasts = [packet.duration for packet in packets if packet.duration] or [0]
    for kind in ("pts", "dts"):  # some AVI files have the second only: their pictures are shown in order
        stamps = sorted({getattr(packet, kind) for packet in packets} - {None})
        if len(stamps) == len(packets):
            break
    else:
        stamps, tick_s, lasts = list(range(len(packets))), 1 / rate, [1]
    if not stamps:
        sys.exit(f"{video} holds no frame")
    times_s = np.array(stamps) * tick_s
    end_s = times_s[-1] + (lasts[-1] * tick_s or (times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1))
    names = [(kind, stamp if kind == "pts" else number) for number, stamp in enumerate(stamps)]
    return times_s, float(end_s), names


def picture_times(folder: str, fps: float) -> tuple[Any, float, list[Any]]:
    """As `frame_times`, of pictures whose names differ in their last number. Their names are their files."""
    files = [file for file in Path(folder).iterdir() if file.suffix.lower() in PICTURES and file.name[0] != "."]
    by_number = {int((NUMBER.search(file.stem) or "0")[0]): file for file in files}
    numbers = sorted(by_number)
    kinds = {NUMBER.sub("", file.stem) + file.suffix.lower() for file in files}
    if len(kinds) != 1 or len(numbers) < len(files) or len(set(np.diff(numbers))) > 1:
        sys.exit(f"{folder} must hold pictures of one numbering without gaps")
    return np.arange(len(files)) / fps, len(files) / fps, [by_number[number] for number in numbers]


def read_frames(video: str, names: list[Any], asked: dict[str, str]) -> tuple[torch.Tensor, tuple[int, int]]:
    """The named frames (T, 3, H, W) in the size of the training, and the video's own size."""
    found, sizes = list[torch.Tensor](), set[tuple[int, int]]()
    for pixels in map(picture, names) if isinstance(names[0], Path) else decoded(video, set(names)):
        size_wh = pixels.shape[1], pixels.shape[0]
        if len(sizes | {size_wh}) > 1:
            sys.exit(f"{video} holds pictures of different sizes")
        sizes.add(size_wh)
        found.append(resized(pixels, int(asked["max_side"]), int(asked["side_multiple"])))
        if len(found) == len(names):
            return torch.cat(found), size_wh
    sys.exit(f"{video}: {len(found)} of {len(names)} frames could be decoded")


def picture(file: Path) -> Any:
    """A picture (H, W, 3)."""
    with Image.open(file) as found:
        return np.array(ImageOps.exif_transpose(found).convert("RGB"))


def decoded(video: str, names: set[Any]) -> Iterator[Any]:
    """The named frames of a file, each (H, W, 3)."""
    with av.open(video, metadata_errors="replace") as file:
        for count, frame in enumerate(file.decode(file.streams.best("video"))):
            if names & {("pts", frame.pts), ("dts", count)}:
                yield np.rot90(frame.to_ndarray(format="rgb24"), k=frame.rotation // 90)


def resized(pixels: Any, max_side: int, multiple: int) -> torch.Tensor:
    """A picture (1, 3, H, W) whose sides are multiples of `multiple`, not enlarged."""
    sides = pixels.shape[:2]
    scale, most = min(1.0, max_side / max(sides)), max_side // multiple * multiple
    height_width = [min(most, max(multiple, round(side * scale / multiple) * multiple)) for side in sides]
    picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].contiguous()
    return resize(picture, height_width, InterpolationMode.BICUBIC, antialias=True)
