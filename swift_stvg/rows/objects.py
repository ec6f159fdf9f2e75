"""Objects of a clip that an answer names by number: the tracks of a detector and tracker, on the sampled frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swift_stvg.answers.format import BoxList
from swift_stvg.geometry import FloatArray, IntArray, clip_boxes, interpolate, paired_iou
from swift_stvg.records import Tube
from swift_stvg.util import validation
from swift_stvg.video.marks import Mark
from swift_stvg.video.timeline import nearest

MAX_OBJECTS = 30
"""Upper bound of objects with a number in a clip. Objects on many sampled frames come before objects on few."""
MAX_GAP_S = 1.0
"""Longest gap in a track, in seconds, in which boxes are interpolated. In a longer gap the track has no boxes."""


@dataclass(frozen=True, slots=True, eq=False)
class VideoTracks:
    """The tracks of one video.

    Attributes:
        tracks: by the tracker's own numbers. Frames are numbers of decoded frames.
        size_wh: size of the picture that the boxes refer to; None means the size of the decoded video.
    """

    tracks: Mapping[int, Tube]
    size_wh: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClipObjects:
    """The objects of one clip, in the order of their numbers 1, 2, ...

    Attributes:
        tubes: the track of each object.
        size_wh: size of the picture that the boxes refer to.
        times_s: (F,) time of each decoded frame of the video.

    Raises:
        RecordError: the times are not increasing numbers, or a track is not a `Tube`.
    """

    tubes: tuple[Tube, ...]
    size_wh: tuple[int, int]
    times_s: FloatArray

    def __post_init__(self) -> None:
        validation.all_instances("tubes", self.tubes, Tube)
        validation.set_fields(self, times_s=validation.numbers("times_s", self.times_s, rising="weakly"))

    @classmethod
    def of(cls, found: VideoTracks, frames: IntArray, times_s: FloatArray, size_wh: tuple[int, int]) -> ClipObjects:
        """Number the objects on a clip's sampled frames: by the first frame of each, then from left to right.

        Args:
            found: the tracks of the video.
            frames: (T,) the sampled frames.
            times_s: (F,) time of each decoded frame.
            size_wh: size of the decoded picture.
        """
        everything = cls(tuple(found.tracks.values()), found.size_wh or size_wh, times_s)
        shown = [(everything._on(tube, frames), tube) for tube in everything.tubes]
        seen = [(np.flatnonzero(~np.isnan(boxes[:, 0])), boxes, tube) for boxes, tube in shown]
        seen = sorted((s for s in seen if len(s[0])), key=lambda s: -len(s[0]))[:MAX_OBJECTS]
        ordered = sorted(seen, key=lambda s: (s[0][0], s[1][s[0][0], 0]))
        return cls(tuple(tube for *_, tube in ordered), everything.size_wh, times_s)

    def lists(self, frames: IntArray, scale_wh: tuple[int, int]) -> tuple[BoxList, ...]:
        """The boxes of each object on the frames of a grid, in text coordinates, rounded to a hundredth."""
        lists = []
        for tube in self.tubes:
            shares = self._on(tube, frames)
            at = np.flatnonzero(~np.isnan(shares[:, 0]))
            lists.append(BoxList(at, (shares[at] * np.array(scale_wh * 2, dtype=np.float64)).round(2)))
        return tuple(lists)

    def marks(self, frames: IntArray, size_wh: tuple[int, int]) -> tuple[Mark, ...]:
        """The marks for sampled frames of the size that the model receives."""
        marks: list[Mark] = []
        for number, boxes in enumerate(self.lists(frames, size_wh), 1):
            whole = boxes.boxes_xyxy.round().astype(int).tolist()
            marks += [(t, number, *box) for t, box in zip(boxes.index.tolist(), whole, strict=True)]
        return tuple(marks)

    def _on(self, tube: Tube, frames: IntArray) -> FloatArray:
        """Boxes (T, 4) in shares of the picture; NaN where the object has none."""
        last = len(self.times_s) - 1
        known = tube.frames <= last
        at, boxes_xyxy = tube.frames[known], clip_boxes(tube.boxes_xyxy[known], self.size_wh)
        result = np.full((len(frames), 4), np.nan)
        if len(at) == 0:
            return result
        after = np.searchsorted(at, frames)
        inside = (frames >= at[0]) & (frames <= at[-1])
        after = np.minimum(after, len(at) - 1)
        before = np.where(at[after] == frames, after, np.maximum(after - 1, 0))
        inside &= self.times_s[at[after]] - self.times_s[at[before]] <= MAX_GAP_S + 1e-6
        between = interpolate(at, boxes_xyxy, before[inside], after[inside], frames[inside])
        result[inside] = between / np.array(self.size_wh * 2, dtype=np.float64)
        return result


def object_boxes(objects: Sequence[BoxList], number: int, wanted: IntArray) -> BoxList | None:
    """The boxes of an object at some indices; None if there is no object of this number.

    An index at which the object has no box gets the box of the nearest index that has one, as in STVG-R1's evaluation.
    """
    if not 1 <= number <= len(objects):
        return None
    boxes = objects[number - 1]
    return BoxList(wanted, boxes.boxes_xyxy[nearest(boxes.index, wanted)])


def best_object(objects: Sequence[BoxList], index: IntArray, boxes_xyxy: FloatArray) -> tuple[int, float]:
    """The number of the object that covers the truth best, and its mean IoU over the truth's boxes; (0, 0.0) for none.

    With the true span, this mean IoU is the vIoU of the answer: the upper bound for an answer that names this object.
    """
    lists = (object_boxes(objects, number, index) for number in range(1, len(objects) + 1))
    scores = [0.0 if boxes is None else mean_iou(boxes, boxes_xyxy) for boxes in lists]
    if not scores:
        return 0, 0.0
    best = int(np.argmax(scores))
    return best + 1, scores[best]


def mean_iou(boxes: BoxList, boxes_xyxy: FloatArray) -> float:
    """Mean IoU of the boxes of a list with as many others (K, 4), K >= 1."""
    return float(paired_iou(boxes.boxes_xyxy, boxes_xyxy).mean())
