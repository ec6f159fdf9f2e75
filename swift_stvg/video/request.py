"""What the template needs to know to load the frames of a row."""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec

from swift_stvg.records import MAX_SIDE_PX
from swift_stvg.settings import COORDS
from swift_stvg.util import validation
from swift_stvg.video.timeline import Timeline

VIDEO_KEY = "stvg_video"
"""Key of `chat_template_kwargs` under which a row tells the template about its video."""


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """What the template needs of a row: which frames, at which size, at which rate, for which coordinates, and when.

    `times_s` holds, for each frame, its true time in seconds from the clip's start.

    Raises:
        RecordError: order, range or lengths are others.
    """

    frames: tuple[int, ...]
    size_wh: tuple[int, int]
    fps: float
    coords: str
    times_s: tuple[float, ...]

    def __post_init__(self) -> None:
        frames = validation.integers("frames", self.frames)
        times_s = validation.numbers("times_s", self.times_s, rising="weakly")
        if validation.same_length("frame", frames=frames, times_s=times_s) == 0:
            validation.refuse("frames", "hold at least one frame", "none")
        if self.coords not in COORDS:
            validation.refuse("coords", f"be one of {', '.join(COORDS)}", repr(self.coords))
        fps = validation.number("fps", self.fps)
        if fps <= 0:
            validation.refuse("fps", "be above 0", fps)
        size_wh = validation.integer_pair("size_wh", self.size_wh, low=1, high=MAX_SIDE_PX)
        validation.set_fields(
            self, frames=tuple(frames.tolist()), size_wh=size_wh, fps=fps, times_s=tuple(times_s.tolist())
        )

    @classmethod
    def on(cls, line: Timeline, size_wh: tuple[int, int], coords: str) -> VideoRequest:
        """The request for the samples of a timeline."""
        return cls(tuple(line.frames.tolist()), size_wh, line.fps, coords, tuple(line.times_s.tolist()))

    def to_json(self) -> str:
        """One line of JSON; `from_json` reads it back."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> VideoRequest:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        return cls(tuple(data["frames"]), data["size_wh"], data["fps"], data["coords"], tuple(data["times_s"]))
