"""The request of a row for its frames, which the template reads."""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec

from swift_stvg.records import MAX_SIDE_PX
from swift_stvg.settings import COORDS
from swift_stvg.util import validation
from swift_stvg.video.marks import Mark
from swift_stvg.video.timeline import Timeline

VIDEO_KEY = "stvg_video"
"""Key of `chat_template_kwargs` under which a row stores its request."""
LABELS = ("numbers", "seconds")


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """The frames that the template must load for a row.

    Attributes:
        frames: (T,) native frame numbers, increasing.
        size_wh: size of the frames in pixels, as the model receives them.
        fps: nominal samples per second.
        coords: coordinate convention of the row, one of `settings.COORDS`.
        times_s: (T,) true time of each frame, in seconds from the start of the clip.
        labels: form of the text before each frame if frames are sent as pictures, one of `LABELS`: "numbers" for
            `frame 2, 1.00 s:`, "seconds" for `<1.0 seconds>`, which the Qwen3 family knows.
        marks: numbers of objects to draw onto the frames.
        outlines: whether the boxes of these objects are drawn too.

    Raises:
        RecordError: an order, a range or a length is wrong.
    """

    frames: tuple[int, ...]
    size_wh: tuple[int, int]
    fps: float
    coords: str
    times_s: tuple[float, ...]
    labels: str = "numbers"
    marks: tuple[Mark, ...] = ()
    outlines: bool = False

    def __post_init__(self) -> None:
        frames = validation.integers("frames", self.frames)
        times_s = validation.numbers("times_s", self.times_s, rising="weakly")
        if validation.same_length("frame", frames=frames, times_s=times_s) == 0:
            validation.refuse("frames", "hold at least one frame", "none")
        if self.coords not in COORDS:
            validation.refuse("coords", f"be one of {', '.join(COORDS)}", repr(self.coords))
        if self.labels not in LABELS:
            validation.refuse("labels", f"be one of {', '.join(LABELS)}", repr(self.labels))
        fps = validation.number("fps", self.fps)
        if fps <= 0:
            validation.refuse("fps", "be above 0", fps)
        size_wh = validation.integer_pair("size_wh", self.size_wh, low=1, high=MAX_SIDE_PX)
        marks = tuple(tuple(mark) for mark in self.marks)
        for mark in marks:
            if len(mark) != 6 or not all(type(value) is int for value in mark) or not 0 <= mark[0] < len(frames):
                validation.refuse("marks", "be a frame's position, a number and a box, in whole numbers", list(mark))
        validation.set_fields(
            self,
            frames=tuple(frames.tolist()),
            size_wh=size_wh,
            fps=fps,
            times_s=tuple(times_s.tolist()),
            marks=marks,
            outlines=validation.boolean("outlines", self.outlines),
        )

    @classmethod
    def on(
        cls,
        line: Timeline,
        size_wh: tuple[int, int],
        coords: str,
        labels: str = "numbers",
        marks: tuple[Mark, ...] = (),
        outlines: bool = False,
    ) -> VideoRequest:
        """The request for the samples of a timeline."""
        frames, times_s = tuple(line.frames.tolist()), tuple(line.times_s.tolist())
        return cls(frames, size_wh, line.fps, coords, times_s, labels, marks, outlines)

    def label(self, i: int) -> str:
        """The text before frame `i` of the request."""
        time_s = self.times_s[i]
        return f"<{time_s:.1f} seconds>" if self.labels == "seconds" else f"frame {i}, {time_s:.2f} s:"

    def to_json(self) -> str:
        """One line of JSON, for `from_json`."""
        content = msgspec.to_builtins(self)
        if self.labels == "numbers":  # as in rows of earlier versions
            del content["labels"]
        if not self.marks:
            del content["marks"], content["outlines"]
        return msgspec.json.encode(content).decode()

    @classmethod
    def from_json(cls, text: str) -> VideoRequest:
        """Read the JSON of `to_json`."""
        data = json.loads(text)
        frames, times_s = tuple(data["frames"]), tuple(data["times_s"])
        optional = {name: data[name] for name in ("labels", "marks", "outlines") if name in data}
        return cls(frames, data["size_wh"], data["fps"], data["coords"], times_s, **optional)
