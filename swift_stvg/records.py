"""The records that flow through the package: what an annotation says, and what a video file is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from swift_stvg.errors import RecordError, RowError, VideoError
from swift_stvg.geometry import TIE_S, FloatArray, IntArray, box_areas, clip_boxes
from swift_stvg.util import validation

RESERVED_WORDS = ("<|", "<video>", "<image>", "<audio>", "<bbox>", "<ref-object>", "<img>", "<start-image>")
"""What ms-swift or a tokenizer takes for something else than text."""
MAX_VIDEO_FRAMES = 10_000_000
"""Frame numbers beyond this, four days of video, are taken for damage."""
MAX_FRAME_NUMBER = 10**9
"""Events and clips may be said to begin before a video and end after it, but no frame number is beyond this."""
MAX_VIDEO_S = 1_000_000
"""Videos said to be longer than this many seconds, eleven days, likewise."""
MAX_SIDE_PX = 1 << 20
"""Pictures with a longer side in pixels likewise."""
MAX_COORDINATE = 1e7
"""Coordinates in pixels beyond this are taken for damage."""


@dataclass(frozen=True, slots=True, eq=False)
class Tube:
    """A predicted span with boxes, given in every frame or in some.

    Attributes:
        span_frames: first and last native frame, from 0, both included; a span that runs backwards scores 0.
        frames: (K,) native frames that have a box, increasing.
        boxes_xyxy: (K, 4) in pixels of the annotation; a box that could not be read is NaN.

    Raises:
        RecordError: shapes, order, range or lengths are others.
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
        clip_frames: annotated frames [first, end) that the question is about; the whole file if None.
        one_based: whether the file counts frames from 1 and ends the event with its last frame, as HC-STVG does; here
            all numbers are as above, but public evaluators differ over it.
        time_only: whether nobody drew boxes, as for temporal grounding; then K is 0.
        at_least: whether `annotated_frames` is no count but the least that the file must have, because the annotation
            does not say how many it has.

    Raises:
        RecordError: shapes, order or lengths are others.
        RowError: what the annotation says cannot be scored.
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
        """The rule of annotations that is broken, and what was seen; fields of another kind are an error."""
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
            return "no frame count or frame rate", (self.annotated_frames, self.annotated_fps)
        if not 0 < min(self.size_wh) <= max(self.size_wh) <= MAX_SIDE_PX:
            return "no frame size", self.size_wh
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
            return "boxes of an event that has none", f"{len(self.tube_frames)} boxes with `time_only`"
        frames = validation.integers("tube_frames", self.tube_frames, where, least=first, most=end - 1)
        boxes_xyxy = validation.boxes("tube_xyxy", self.tube_xyxy, frames, where, largest=None)
        if not (np.abs(boxes_xyxy) <= MAX_COORDINATE).all():  # NaN is not
            return "coordinates that are no pixels", f"a box of NaN or beyond {MAX_COORDINATE:g}"
        validation.set_fields(self, tube_frames=frames, tube_xyxy=boxes_xyxy)
        return None

    @property
    def clip(self) -> tuple[int, int]:
        """`clip_frames`, with the whole file for None."""
        return (0, self.annotated_frames) if self.clip_frames is None else self.clip_frames

    def usable_tube(self) -> tuple[IntArray, FloatArray]:
        """The part of the tube that can be learned from: frames (M,) and boxes (M, 4), those with an area in the frame.

        The boxes are clipped to it; M <= K.
        """
        return _usable_tube(self)


@lru_cache(maxsize=1)  # asked for several times in a row
def _usable_tube(truth: Truth) -> tuple[IntArray, FloatArray]:
    clipped = clip_boxes(truth.tube_xyxy, truth.size_wh)
    usable = box_areas(clipped) > 0
    return truth.tube_frames[usable], clipped[usable]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample(Truth):
    """One sentence about one clip, with its tube.

    Attributes:
        id: unique within its dataset.
        dataset, split: names as registered.
        sentence: the query.
        video: path of the file.
        query: "declarative" or "interrogative".
        category: of the object, where known.

    Raises:
        RowError: a rule is broken that every annotation must keep.
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
            return "text that is no Unicode", repr(self.id)
        return Truth._fault(self, where)  # classes with slots have no `super()`


def tube_in_span(frames: IntArray, boxes_xyxy: FloatArray, span_frames: tuple[int, int]) -> tuple[IntArray, FloatArray]:
    """The boxes of an event [first, end), sorted by frame; of several boxes for a frame the first counts.

    Args:
        frames: (K,) frame numbers.
        boxes_xyxy: (K, 4).
        span_frames: the event.

    Returns:
        Frames (M,) and boxes (M, 4), M <= K.
    """
    inside = (frames >= span_frames[0]) & (frames < span_frames[1])
    unique, first = np.unique(frames[inside], return_index=True)
    return unique, boxes_xyxy[inside][first]


def sentence_fault(sentence: str) -> tuple[str, str] | None:
    """Why a sentence cannot be asked about: the rule, and what was seen."""
    if not isinstance(sentence, str) or not sentence.strip():
        return "no sentence", repr(sentence)
    if any(word in sentence for word in RESERVED_WORDS):
        return "reserved words in the sentence", f"{sentence!r:.80}"
    if not _is_encodable(sentence):
        return "text that is no Unicode", repr(sentence)
    return None


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True, eq=False)
class VideoInfo:
    """What a video file is, as decoded.

    Attributes:
        path: the file.
        frame_times_s: (N,) presentation time of each frame, increasing.
        end_s: when the last frame ends.
        size_wh: frame size in pixels, after the rotation that the file asks for.
        start_s: when the file begins: its picture or its sound, whichever is first; of one without sound, and for
            None, its first frame.
        kind: of file, in a few words.
        group: most frames that may have to be decoded to reach one.
        timed: whether the file says when its frames are; else `frame_times_s` are those of some rate.
        aside: files of a folder of pictures that are none.

    Raises:
        VideoError: there is no frame, times do not increase or are not finite, or a side is none, as odd files say.
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
        """The video that the annotation speaks of: its count of frames at its frame rate."""
        times_s = np.arange(sample.annotated_frames, dtype=np.float64) / sample.annotated_fps
        return cls(sample.video, times_s, sample.annotated_frames / sample.annotated_fps, sample.size_wh)

    def at_rate(self, fps: float) -> VideoInfo:
        """The same video at so many frames per second, if it does not say itself when its frames are."""
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
        """Seconds of the file before its first frame."""
        return 0.0 if self.start_s is None else float(self.frame_times_s[0]) - self.start_s

    def end_frame(self, clip_end_s: float) -> int:
        """The frame before which a clip ends that a row says to end at a presentation time, which is rounded.

        That is the first frame at that time or later, and `n_frames` at the end of the file.
        """
        if clip_end_s > self.end_s - 2 * TIE_S:
            return self.n_frames
        return int(np.searchsorted(self.frame_times_s, clip_end_s - 2 * TIE_S))
