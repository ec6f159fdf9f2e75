"""The records that flow through the package: what an annotation says, and what a video file is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from swift_stvg.errors import RowError
from swift_stvg.geometry import FloatArray, IntArray, box_areas, clip_boxes

RESERVED = ("<|", "<video>", "<image>", "<audio>", "<bbox>", "<ref-object>", "<img>", "<start-image>")
"""What ms-swift or a tokenizer takes for something else than text."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One sentence about one clip, with its tube, in the annotation's own frame numbers and pixels.

    Attributes:
        id: unique within its dataset.
        dataset, split: names as registered.
        sentence: the query.
        video: path of the file.
        annotated_frames: number of frames of the whole file, as annotated.
        annotated_fps: nominal frames per second.
        size_wh: annotated frame size in pixels.
        span_frames: annotated frames [first, end) of the event, counted from the file's first frame, 0.
        tube_frames: (K,) annotated frames that have a box, increasing; frames of the span may be missing.
        tube_xyxy: (K, 4) boxes in pixels, as annotated: they may leave the frame or run backwards.
        clip_frames: annotated frames [first, end) that the sentence is asked about; the whole file if None.
        query: "declarative" or "interrogative".
        category: of the object, where known.
        one_based: whether the file counts frames from 1 and ends the event with its last frame, as HC-STVG does; here
            all numbers are as above, but public evaluators differ over it.
        usable: (K,) which boxes can be learned from: those with an area inside the frame.
    """

    id: str
    dataset: str
    split: str
    sentence: str
    video: Path
    annotated_frames: int
    annotated_fps: float
    size_wh: tuple[int, int]
    span_frames: tuple[int, int]
    tube_frames: IntArray
    tube_xyxy: FloatArray
    clip_frames: tuple[int, int] | None = None
    query: str = "declarative"
    category: str | None = None
    one_based: bool = False
    usable: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        def require(rule: bool, reason: str, seen: object) -> None:
            if not rule:
                raise RowError(reason, f"{seen}, row {self.id}")

        require(bool(self.sentence.strip()), "no sentence", repr(self.sentence))
        reserved = [word for word in RESERVED if word in self.sentence]
        require(not reserved, "reserved words in the sentence", f"{reserved} in {self.sentence!r:.80}")
        require(_is_encodable(self.sentence + self.id), "text that is no Unicode", repr(self.sentence))
        require(
            self.annotated_frames > 0 and self.annotated_fps > 0,
            "no frame count or frame rate",
            (self.annotated_frames, self.annotated_fps),
        )
        require(min(self.size_wh) > 0, "no frame size", self.size_wh)
        first, end = self.span_frames
        low, high = self.clip
        require(first < end, "event ends before it begins", self.span_frames)
        require(0 <= low < high, "clip ends before it begins", self.clip_frames)
        require(first < high and end > low, "event outside the clip", f"event {self.span_frames}, clip {(low, high)}")
        require(len(self.tube_frames) > 0, "no usable box", "none annotated in the event")
        if self.tube_xyxy.shape != (len(self.tube_frames), 4):
            raise ValueError(
                f"`tube_xyxy` must be ({len(self.tube_frames)}, 4), got {self.tube_xyxy.shape}, row {self.id}"
            )
        has_area = box_areas(clip_boxes(self.tube_xyxy, self.size_wh)) > 0
        object.__setattr__(self, "usable", has_area & np.isfinite(self.tube_xyxy).all(axis=1))

    @property
    def clip(self) -> tuple[int, int]:
        """`clip_frames`, with the whole file for None."""
        return self.clip_frames or (0, self.annotated_frames)

    @property
    def usable_tube(self) -> tuple[IntArray, FloatArray]:
        """The part of the tube that can be learned from: frames (M,) and boxes (M, 4) clipped to the frame."""
        return self.tube_frames[self.usable], clip_boxes(self.tube_xyxy[self.usable], self.size_wh)


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
    """

    path: Path
    frame_times_s: FloatArray
    end_s: float
    size_wh: tuple[int, int]

    @classmethod
    def nominal(cls, sample: Sample) -> VideoInfo:
        """The video that the annotation speaks of: its count of frames at its frame rate."""
        times_s = np.arange(sample.annotated_frames, dtype=np.float64) / sample.annotated_fps
        return cls(sample.video, times_s, sample.annotated_frames / sample.annotated_fps, sample.size_wh)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.frame_times_s)
