"""The records that flow through the package: what an annotation says, and what a video file is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
        tube_xyxy: (K, 4) boxes in pixels, inside the frame, of positive area.
        boxes_left_out: annotated boxes of the event that had no area inside the frame.
        clip_frames: annotated frames [first, end) that the sentence is asked about; the whole file if None.
        query: "declarative" or "interrogative".
        category: of the object, where known.
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
    boxes_left_out: int = 0

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
        low, high = self.clip_frames or (0, self.annotated_frames)
        require(first < end, "event ends before it begins", self.span_frames)
        require(0 <= low < high, "clip ends before it begins", self.clip_frames)
        require(first < high and end > low, "event outside the clip", f"event {self.span_frames}, clip {(low, high)}")
        require(len(self.tube_frames) > 0, "no usable box", "no box of positive area inside the frame and the event")
        if self.tube_xyxy.shape != (len(self.tube_frames), 4):
            raise ValueError(
                f"`tube_xyxy` must be ({len(self.tube_frames)}, 4), got {self.tube_xyxy.shape}, row {self.id}"
            )


def usable_tube(
    frames: IntArray, boxes_xyxy: FloatArray, size_wh: tuple[int, int], span_frames: tuple[int, int]
) -> tuple[IntArray, FloatArray, int]:
    """The part of an annotated tube that can be learned from.

    Boxes are clipped to the frame; boxes that are inverted, not finite or without area then are dropped, as are boxes
    outside the event; the rest is sorted by frame.

    Args:
        frames: (K,) annotated frame numbers.
        boxes_xyxy: (K, 4) in pixels.
        size_wh: frame size in pixels.
        span_frames: the event, [first, end).

    Returns:
        Frames (M,) and boxes (M, 4), M <= K, and how many boxes of the event were dropped.
    """
    boxes = clip_boxes(boxes_xyxy, size_wh)
    in_event = (frames >= span_frames[0]) & (frames < span_frames[1])
    keep = in_event & np.isfinite(boxes_xyxy).all(axis=1) & (box_areas(boxes) > 0)
    order, first = np.unique(frames[keep], return_index=True)
    return order, boxes[keep][first], int(in_event.sum() - keep.sum())


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

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.frame_times_s)
