"""The timeline of a clip: the sampled native frames, their times, and the meaning of an index in an answer.

The decoder, the ground truth, the rewards, the scorer and the drawings all use this module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from swift_stvg.geometry import TIE_S, FloatArray, IntArray
from swift_stvg.settings import UNITS
from swift_stvg.util import validation

TIME_DECIMALS = 4
"""Times of a timeline are rounded to this many decimals of a second, so that a row stores them exactly."""
SAME_RATE = 5e-4
"""Frame rates that differ by less than this share count as equal; 29.97 and 30 differ by twice as much."""


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """Sampled frames of a clip, and the grid of indices.

    Clip time is in seconds from the clip's first frame. File time is the presentation time in the file.

    Attributes:
        frames: (T,) native frame numbers in the file, strictly increasing, from 0.
        times_s: (T,) clip time of each sample.
        clip_start_s: file time of the clip's first frame.
        interval_s: nominal seconds between samples, which the model's position encoding receives.
        unit: unit of an index: "frame" (a sample) or "second" (of clip time).
        index_frames: (size,) native frame of each index: the sample itself, or the frame nearest to the second, which
            need not be a sample.
        end_s: clip time at which the clip ends.

    Raises:
        RecordError: a shape, an order, a range or a length is wrong.
    """

    frames: IntArray
    times_s: FloatArray
    clip_start_s: float
    interval_s: float
    unit: str
    index_frames: IntArray
    end_s: float

    def __post_init__(self) -> None:
        frames = validation.integers("frames", self.frames)
        times_s = validation.numbers("times_s", self.times_s, rising="weakly")
        if validation.same_length("sample", frames=frames, times_s=times_s) == 0:
            validation.refuse("frames", "hold at least one sample", "none")
        index_frames = frames
        if self.index_frames is not self.frames:
            index_frames = validation.integers("index_frames", self.index_frames, rising="weakly")
        if self.unit not in UNITS:
            validation.refuse("unit", f"be one of {', '.join(UNITS)}", repr(self.unit))
        if len(index_frames) == 0 or (self.unit == "frame" and not np.array_equal(index_frames, frames)):
            validation.refuse("index_frames", "be the samples, or hold a frame for each second", index_frames.tolist())
        interval_s = validation.number("interval_s", self.interval_s)
        if interval_s <= 0:
            validation.refuse("interval_s", "be above 0", interval_s)
        validation.set_fields(
            self,
            frames=frames,
            times_s=times_s,
            clip_start_s=validation.number("clip_start_s", self.clip_start_s),
            interval_s=interval_s,
            index_frames=index_frames,
            end_s=validation.number("end_s", self.end_s, low=float(times_s[-1])),
        )

    @classmethod
    def sample(
        cls,
        frame_times_s: FloatArray,
        end_s: float,
        *,
        fps: float,
        max_frames: int,
        clip: tuple[int, int] | None = None,
        unit: str = "frame",
    ) -> Timeline:
        """Choose the frames nearest to 0, 1/fps, 2/fps, ... seconds after the clip's first frame.

        Args:
            frame_times_s: (N,) file times of all frames of the file, increasing.
            end_s: file time at which the last frame ends.
            fps: samples per second.
            max_frames: upper bound of samples; a clip that needs more is sampled at a longer interval.
            clip: native frames [first, end) to sample from; the whole file by default.
            unit: see the class.

        Times are rounded to `TIME_DECIMALS`. Two targets that are nearest to the same frame give one sample. The number
        of samples may be odd: processors of vision towers that take frames in pairs repeat the last one.

        Raises:
            ValueError: the clip holds no frame.
        """
        first, end = (0, len(frame_times_s)) if clip is None else clip
        if not 0 <= first < end <= len(frame_times_s):
            raise ValueError(f"clip [{first}, {end}) holds no frame of a video with {len(frame_times_s)} frames")
        times_s = frame_times_s[first:end]
        start_s = float(times_s[0])
        duration_s = (float(frame_times_s[end]) if end < len(frame_times_s) else end_s) - start_s
        interval_s = max(1.0 / fps, duration_s / max_frames)
        count = max(1, math.ceil(duration_s / interval_s - 1e-6))
        chosen = np.unique(nearest(times_s, start_s + interval_s * np.arange(count, dtype=np.float64)))
        pointed_at = frames = chosen + first
        if unit == "second":
            n_seconds = math.floor(times_s[-1] - start_s + TIE_S) + 1
            pointed_at = nearest(times_s, start_s + np.arange(n_seconds, dtype=np.float64)) + first
        sampled_s = np.round(times_s[chosen] - start_s, TIME_DECIMALS)
        return cls(
            frames,
            sampled_s,
            round(start_s, TIME_DECIMALS),
            interval_s,
            unit,
            pointed_at,
            max(round(duration_s, TIME_DECIMALS), float(sampled_s[-1])),
        )

    @property
    def fps(self) -> float:
        """Nominal samples per second."""
        return 1.0 / self.interval_s

    @property
    def step_s(self) -> float:
        """Nominal seconds from one index to the next."""
        return self.interval_s if self.unit == "frame" else 1.0

    @property
    def size(self) -> int:
        """Number of indices an answer can use: 0 to size - 1."""
        return len(self.index_frames)

    def clip_span_s(self, span: tuple[int, int]) -> tuple[float, float]:
        """Start and end, in clip time, of a closed span of indices on the grid.

        The span reaches half-way to the neighbours of its first and last index. At the first and the last index of the
        grid it reaches to the start and the end of the clip.
        """
        (first, last), times_s = span, self.seconds(np.arange(self.size, dtype=np.int64))
        begin = 0.0 if first == 0 else (times_s[first - 1] + times_s[first]) / 2
        end = self.end_s if last == self.size - 1 else (times_s[last] + times_s[last + 1]) / 2
        return float(begin), float(end)

    def seconds(self, index: IntArray) -> FloatArray:
        """Clip time of indices (K,): the true time of the sample, or the second itself.

        An index outside the grid counts as the nearest one on it.
        """
        on_grid = np.clip(index, 0, self.size - 1)
        return self.times_s[on_grid] if self.unit == "frame" else on_grid.astype(np.float64)

    def index(self, seconds: FloatArray) -> IntArray:
        """The nearest index (K,) of clip times (K,); the inverse of `seconds`."""
        return nearest(self.seconds(np.arange(self.size, dtype=np.int64)), seconds)


def nearest(sorted_values: FloatArray | IntArray, wanted: FloatArray | IntArray) -> IntArray:
    """Positions (K,) of the values of `sorted_values` (N,) nearest to `wanted` (K,); the earlier one of a tie."""
    right = np.clip(np.searchsorted(sorted_values, wanted), 1, max(len(sorted_values) - 1, 1))
    if len(sorted_values) == 1:
        return np.zeros(len(wanted), dtype=np.int64)
    nearer_left = wanted - sorted_values[right - 1] <= sorted_values[right] - wanted + TIE_S
    return (right - nearer_left).astype(np.int64)


def off_by_s(duration_s: float, annotated: int, annotated_fps: float, at_least: bool = False) -> float:
    """Difference in seconds between the duration of a video and that of its annotation.

    Args:
        duration_s: duration of the video.
        annotated: annotated number of frames.
        annotated_fps: annotated frames per second.
        at_least: whether the annotated number is only a lower bound.
    """
    lacking_s = annotated / annotated_fps - duration_s
    return max(lacking_s, 0.0) if at_least else abs(lacking_s)


def slack_s(annotated: int, annotated_fps: float) -> float:
    """The allowed difference in seconds between the durations of video and annotation: two frames, or 2%."""
    return max(2 / annotated_fps, 0.02 * annotated / annotated_fps)


def frames_before(
    duration_s: float, lead_s: float, annotated: int, annotated_fps: float, at_least: bool = False
) -> int:
    """Number of annotated frames before the first decoded one.

    STCAT, CG-STVG and TA-STVG let FFmpeg write all frames and take the k-th. FFmpeg counts from the start of the file.
    If the sound starts before the picture, FFmpeg repeats the first picture until the picture's own time. So this
    function counts the time before the first picture if the video has the annotated length with this time, and fits
    worse, by half a frame or more, without it.

    Args:
        duration_s: seconds from the first decoded frame to the end of the last.
        lead_s: seconds from the start of the file to the first decoded frame.
        annotated, annotated_fps, at_least: as in `off_by_s`.
    """
    with_it_s, without_s = (
        off_by_s(seconds, annotated, annotated_fps, at_least) for seconds in (duration_s + lead_s, duration_s)
    )
    if with_it_s > slack_s(annotated, annotated_fps) or without_s - with_it_s < 0.5 / annotated_fps:
        return 0
    return round(lead_s * annotated_fps)


def annotated_frames(
    frame_times_s: FloatArray, annotated: int, annotated_fps: float, *, before: int = 0, at_least: bool = False
) -> IntArray:
    """(N,) annotated frame number of each decoded frame.

    Numbers continue from `before` if the frame counts or the frame rates agree. If both differ, the annotation uses a
    nominal rate (30 for 29.97) or another version of the file. Then numbers are rescaled by the ratio of the counts, or
    by the rate if the annotated count is not known.

    Args:
        frame_times_s: (N,) presentation times of the decoded frames.
        annotated, annotated_fps, at_least: as in `off_by_s`.
        before: number of annotated frames before the first decoded frame.
    """
    decoded = len(frame_times_s)
    numbers = np.arange(decoded, dtype=np.int64)
    if before + decoded == annotated or is_same_rate(frame_times_s, annotated_fps):
        return before + numbers
    if at_least:
        since_first = np.rint((frame_times_s - frame_times_s[0]) * annotated_fps)
        return np.array(before + since_first, dtype=np.int64)
    return before + ((2 * numbers + 1) * (annotated - before)) // (2 * decoded)


def is_same_rate(frame_times_s: FloatArray, fps: float) -> bool:
    """Whether frames (N,) have a rate on average; one frame alone fits any rate."""
    length_s = float(frame_times_s[-1] - frame_times_s[0])
    return length_s <= 0 or abs((len(frame_times_s) - 1) / length_s / fps - 1) < SAME_RATE


def annotated_clip(numbers: IntArray, clip: tuple[int, int]) -> tuple[int, int]:
    """The decoded frames [first, end) whose annotated `numbers` (N,) lie in the annotated clip [first, end)."""
    first, end = np.searchsorted(numbers, clip)
    return int(first), int(end)
