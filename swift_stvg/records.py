"""The records that flow through the package: an annotation, and the properties of a video file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from swift_stvg.errors import RecordError, RowError, VideoError
from swift_stvg.geometry import TIE_S, FloatArray, IntArray, box_areas, clip_boxes
from swift_stvg.util import validation

__all__ = [
    "MAX_COORDINATE",
    "MAX_FRAME_NUMBER",
    "MAX_SIDE_PX",
    "MAX_VIDEO_FRAMES",
    "MAX_VIDEO_S",
    "RESERVED_WORDS",
    "Sample",
    "Truth",
    "Tube",
    "VideoInfo",
    "sentence_fault",
    "tube_in_span",
]


RESERVED_WORDS = ("<|", "<video>", "<image>", "<audio>", "<bbox>", "<ref-object>", "<img>", "<start-image>")
"""Words with a special meaning for ms-swift or for a tokenizer."""
MAX_VIDEO_FRAMES = 10_000_000
"""Upper bound of frame counts, four days of video. A larger count means a damaged annotation."""
MAX_FRAME_NUMBER = 10**9
"""Upper bound of frame numbers. An event or clip may begin before its video or end after it, within this bound."""
MAX_VIDEO_S = 1_000_000
"""Upper bound of a video's length in seconds, eleven days. A longer one means a damaged annotation."""
MAX_SIDE_PX = 1 << 20
"""Upper bound of the longer side of a picture, in pixels."""
MAX_COORDINATE = 1e7
"""Upper bound of coordinates in pixels. A larger one means a damaged annotation."""


@dataclass(frozen=True, slots=True, eq=False)
class Tube:
    """A predicted span, with a box in every frame or in some frames.

    Attributes:
        span_frames: first and last native frame, from 0, both included; a span that runs backwards scores 0.
        frames: (K,) native frames that have a box, increasing.
        boxes_xyxy: (K, 4) in pixels of the annotation; NaN for a box that could not be read.

    Raises:
        RecordError: a shape, an order, a range or a length is wrong.
    """

    span_frames: tuple[int, int]
    frames: IntArray
    boxes_xyxy: FloatArray

    def __post_init__(self) -> None:
        span_frames = validation.integer_pair("span_frames", self.span_frames, low=0, high=MAX_FRAME_NUMBER)
        frames = validation.integers("frames", self.frames, most=MAX_FRAME_NUMBER)
        boxes_xyxy = validation.boxes("boxes_xyxy", self.boxes_xyxy, frames, largest=MAX_COORDINATE, unread=True)
        validation.set_fields(self, span_frames=span_frames, frames=frames, boxes_xyxy=boxes_xyxy)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Truth:
    """One annotated tube, in the annotation's own frame numbers and pixels.

    Attributes:
        annotated_frames: number of frames of the whole file, as annotated.
        annotated_fps: nominal frames per second.
        size_wh: annotated frame size in pixels.
        span_frames: annotated frames [first, end) of the event, counted from the file's first frame, 0.
        tube_frames: (K,) annotated frames that have a box, increasing; frames of the span may be missing.
        tube_xyxy: (K, 4) boxes in pixels, as annotated: they may leave the frame or run backwards.
        clip_frames: annotated frames [first, end) that the model is shown; the whole file if None.
        one_based: whether the annotation file counts frames from 1 and ends the event with its last frame, as HC-STVG
            does. The numbers here are converted, but public evaluators treat such files differently.
        time_only: whether the annotation has no boxes, as for temporal grounding; then K is 0.
        at_least: whether `annotated_frames` is only a lower bound, because the annotation does not give the number.

    Raises:
        RecordError: a shape, an order or a length is wrong.
        RowError: the annotation cannot be scored.
    """

    annotated_frames: int
    annotated_fps: float
    size_wh: tuple[int, int]
    span_frames: tuple[int, int]
    tube_frames: IntArray
    tube_xyxy: FloatArray
    clip_frames: tuple[int, int] | None = None
    one_based: bool = False
    time_only: bool = False
    at_least: bool = False

    def __post_init__(self) -> None:
        where = self._where()
        fault = self._fault(where)
        if fault is not None:
            raise RowError(fault[0], f"{fault[1]}{where}")

    def _where(self) -> str:
        return ""

    def _fault(self, where: str) -> tuple[str, object] | None:
        """Find the first broken rule of annotations: its name and the value; a field of a wrong type raises."""
        validation.set_fields(
            self,
            annotated_frames=validation.integer("annotated_frames", self.annotated_frames, where),
            size_wh=validation.integer_pair("size_wh", self.size_wh, where),
            span_frames=validation.integer_pair(
                "span_frames", self.span_frames, where, low=-MAX_FRAME_NUMBER, high=MAX_FRAME_NUMBER
            ),
            clip_frames=None
            if self.clip_frames is None
            else validation.integer_pair(
                "clip_frames", self.clip_frames, where, low=-MAX_FRAME_NUMBER, high=MAX_FRAME_NUMBER
            ),
            one_based=validation.boolean("one_based", self.one_based, where),
            time_only=validation.boolean("time_only", self.time_only, where),
            at_least=validation.boolean("at_least", self.at_least, where),
        )
        if not isinstance(self.annotated_fps, int | float | np.number):
            validation.refuse("annotated_fps", "be a number", repr(self.annotated_fps), where)
        if not (
            0 < self.annotated_frames <= MAX_VIDEO_FRAMES
            and 0.01 <= self.annotated_fps <= 1000
            and self.annotated_frames <= MAX_VIDEO_S * self.annotated_fps
        ):
            return "invalid frame count or frame rate", (self.annotated_frames, self.annotated_fps)
        if not 0 < min(self.size_wh) <= max(self.size_wh) <= MAX_SIDE_PX:
            return "invalid frame size", self.size_wh
        (first, end), (low, high) = self.span_frames, self.clip
        if first >= end:
            return "event ends before it begins", self.span_frames
        if not 0 <= low < high:
            return "clip ends before it begins", self.clip_frames
        if first >= high or end <= low:
            return "event outside the clip", f"event {self.span_frames}, clip {self.clip}"
        if len(self.tube_frames) == 0 and not self.time_only:
            return "no usable box", "none annotated in the event"
        if len(self.tube_frames) > 0 and self.time_only:
            return "boxes in an annotation without boxes", f"{len(self.tube_frames)} boxes, but `time_only` is True"
        frames = validation.integers("tube_frames", self.tube_frames, where, least=first, most=end - 1)
        boxes_xyxy = validation.boxes("tube_xyxy", self.tube_xyxy, frames, where, largest=None)
        if not (np.abs(boxes_xyxy) <= MAX_COORDINATE).all():  # false for NaN too
            return "invalid box coordinates", f"NaN, or more than {MAX_COORDINATE:g} pixels"
        validation.set_fields(self, tube_frames=frames, tube_xyxy=boxes_xyxy)
        return None

    @property
    def clip(self) -> tuple[int, int]:
        """`clip_frames`, or the whole file if that is None."""
        return (0, self.annotated_frames) if self.clip_frames is None else self.clip_frames

    def usable_tube(self) -> tuple[IntArray, FloatArray]:
        """The boxes that a model can learn from: frames (M,) and boxes (M, 4), M <= K.

        The boxes are clipped to the frame; a box without area in the frame is left out.
        """
        return _usable_tube(self)


@lru_cache(maxsize=1)  # callers ask for the same tube several times in succession
def _usable_tube(truth: Truth) -> tuple[IntArray, FloatArray]:
    clipped = clip_boxes(truth.tube_xyxy, truth.size_wh)
    usable = box_areas(clipped) > 0
    return truth.tube_frames[usable], clipped[usable]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample(Truth):
    """One sentence about one clip, with its tube.

    Attributes:
        id: unique within its dataset.
        dataset, split: their registered names.
        sentence: the query.
        video: the file's path.
        query: "declarative" or "interrogative".
        category: the object's category, if known.

    Raises:
        RecordError: a field has a wrong type or shape.
        RowError: the annotation breaks a rule.
    """

    id: str
    dataset: str
    split: str
    sentence: str
    video: Path
    query: str = "declarative"
    category: str | None = None

    def _where(self) -> str:
        return f", row {self.id}"

    def _fault(self, where: str) -> tuple[str, object] | None:
        for name in ("id", "dataset", "split", "sentence", "query"):
            validation.text(name, getattr(self, name), where)
        if self.category is not None:
            validation.text("category", self.category, where)
        if not isinstance(self.video, Path):
            validation.refuse("video", "be a Path", repr(self.video), where)
        if (fault := sentence_fault(self.sentence)) is not None:
            return fault
        if not _is_encodable(self.id):
            return "invalid Unicode text", repr(self.id)
        return Truth._fault(self, where)  # `super()` does not work in classes with slots


def tube_in_span(frames: IntArray, boxes_xyxy: FloatArray, span_frames: tuple[int, int]) -> tuple[IntArray, FloatArray]:
    """The boxes of an event [first, end), sorted by frame. If a frame has several boxes, the first one counts.

    Args:
        frames: (K,) frame numbers.
        boxes_xyxy: (K, 4) their boxes.
        span_frames: the event.

    Returns:
        Frames (M,) and boxes (M, 4), M <= K.
    """
    inside = (frames >= span_frames[0]) & (frames < span_frames[1])
    unique, first = np.unique(frames[inside], return_index=True)
    return unique, boxes_xyxy[inside][first]


def sentence_fault(sentence: str) -> tuple[str, str] | None:
    """Why a sentence cannot be used in a prompt: the broken rule and the value; None if it can."""
    if not isinstance(sentence, str) or not sentence.strip():
        return "no sentence", repr(sentence)
    if any(word in sentence for word in RESERVED_WORDS):
        return "reserved words in the sentence", f"{sentence!r:.80}"
    if not _is_encodable(sentence):
        return "invalid Unicode text", repr(sentence)
    return None


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True, eq=False)
class VideoInfo:
    """The properties of a video file, as decoded.

    Attributes:
        path: the file.
        frame_times_s: (N,) presentation time of each frame, increasing.
        end_s: end of the last frame.
        size_wh: frame size in pixels, after the rotation that the file asks for.
        start_s: start of the file: the start of its picture or of its sound, the earlier one. None: the first frame.
        kind: kind of the file, in a few words.
        group: upper bound of the frames that must be decoded to reach one frame.
        timed: whether the file gives the times of its frames; otherwise `frame_times_s` follow an assumed rate.
        aside: number of other files in a folder of pictures.

    Raises:
        VideoError: the file has no frame, a side of zero, or times that do not increase. Damaged files have them.
    """

    path: Path
    frame_times_s: FloatArray
    end_s: float
    size_wh: tuple[int, int]
    start_s: float | None = None
    kind: str = ""
    group: int = 1
    timed: bool = True
    aside: int = 0

    def __post_init__(self) -> None:
        where = f", {self.path}"
        try:
            times_s = validation.numbers("frame_times_s", self.frame_times_s, where, rising="strictly")
            if len(times_s) == 0:
                validation.refuse("frame_times_s", "hold at least one frame", "none", where)
            end_s = validation.number("end_s", self.end_s, where, low=float(times_s[-1]))
            size_wh = validation.integer_pair("size_wh", self.size_wh, where, low=1, high=MAX_SIDE_PX)
            if self.start_s is not None:
                validation.set_fields(
                    self, start_s=validation.number("start_s", self.start_s, where, high=float(times_s[0]))
                )
        except RecordError as error:
            raise VideoError("video unreadable", str(error)) from None
        validation.set_fields(self, frame_times_s=times_s, end_s=end_s, size_wh=size_wh)

    @classmethod
    def nominal(cls, sample: Sample) -> VideoInfo:
        """The video as the annotation describes it: its frame count at its frame rate."""
        times_s = np.arange(sample.annotated_frames, dtype=np.float64) / sample.annotated_fps
        return cls(sample.video, times_s, sample.annotated_frames / sample.annotated_fps, sample.size_wh)

    def at_rate(self, fps: float) -> VideoInfo:
        """The same video at `fps` frames per second, unless the file gives the times of its frames."""
        if self.timed:
            return self
        count = len(self.frame_times_s)
        return replace(self, frame_times_s=np.arange(count, dtype=np.float64) / fps, end_s=count / fps)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.frame_times_s)

    @property
    def lead_s(self) -> float:
        """Seconds from the start of the file to its first frame."""
        return 0.0 if self.start_s is None else float(self.frame_times_s[0]) - self.start_s

    def end_frame(self, clip_end_s: float) -> int:
        """Convert the end of a clip in file time, rounded as rows store it, to a frame number [.., end).

        It is the first frame at that time or later, or `n_frames` at the end of the file.
        """
        if clip_end_s > self.end_s - 2 * TIE_S:
            return self.n_frames
        return int(np.searchsorted(self.frame_times_s, clip_end_s - 2 * TIE_S))
