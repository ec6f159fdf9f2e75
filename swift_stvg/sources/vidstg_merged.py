"""VidSTG in the forms that other projects share: one file with all sentences and boxes.

- STCAT, CG-STVG and TA-STVG (`vstg_annos/train.json`, `annos/train.json`): one entry for each sentence. `target_bboxs`
  holds a box for each frame from `ori_temp_gt.begin_fid` on; it is empty for a frame without a box. `frame_count`
  counts the frames of the segment, so the frame count of the video is not known.
- TubeDETR (`train.json`): `videos` holds one entry for each sentence, and `trajectories` holds boxes x, y, w, h by
  video, object and frame.

TubeDETR's preprocessing also joins VidOR's files into one file (`vidor_training.json`, `vidor_validation.json`). It
holds `trajectories` for each video, in the form above.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from swift_stvg.errors import DataError, RowError
from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.util.json_reading import PARSE_ERRORS, json_integer, no_garbage_collection, read_bytes

FrameBoxes = tuple[IntArray, FloatArray]
"""Frames (K,) in order, and boxes (K, 4) x1, y1, x2, y2 in pixels."""
QUERY_OF_QTYPE = {
    "declar": "declarative",
    "declarative": "declarative",
    "inter": "interrogative",
    "interrogative": "interrogative",
}
"""Kinds of sentences by the value of `qtype`."""
_Segment = dict[str, Any]


class _Box(msgspec.Struct, gc=False):
    """A box. All values are None for a frame without a box."""

    xmin: float | None = None
    ymin: float | None = None
    xmax: float | None = None
    ymax: float | None = None


class _Pair(msgspec.Struct):
    """An entry in STCAT's form."""

    vid: str
    fps: float
    width: int
    height: int
    used_segment: _Segment
    ori_temp_gt: _Segment
    qtype: str
    sentence: dict[str, Any]
    target_bboxs: msgspec.Raw
    target_category: str | None = None

    def annotation(self) -> dict[str, Any]:
        """The entry under the keys of VidSTG's own files."""
        return {
            "vid": self.vid,
            "fps": self.fps,
            "frame_count": None,
            "width": self.width,
            "height": self.height,
            "used_segment": self.used_segment,
            "temporal_gt": self.ori_temp_gt,
            "subject/objects": [{"tid": self.sentence.get("target_id"), "category": self.target_category}]
            if self.target_category
            else [],
            "qtype": self.qtype,
            "sentence": self.sentence,
        }


class _Video(msgspec.Struct):
    """An entry in TubeDETR's form."""

    original_video_id: str
    fps: float
    frame_count: int
    width: int
    height: int
    start_frame: int
    end_frame: int
    tube_start_frame: int
    tube_end_frame: int
    caption: str
    target_id: int
    qtype: str

    def annotation(self) -> dict[str, Any]:
        """The entry under the keys of VidSTG's own files."""
        return {
            "vid": self.original_video_id,
            "fps": self.fps,
            "frame_count": self.frame_count,
            "width": self.width,
            "height": self.height,
            "used_segment": {"begin_fid": self.start_frame, "end_fid": self.end_frame},
            "temporal_gt": {"begin_fid": self.tube_start_frame, "end_fid": self.tube_end_frame},
            "qtype": self.qtype,
            "sentence": {"description": self.caption, "target_id": self.target_id},
        }


class _Framed(msgspec.Struct, gc=False):
    bbox: tuple[float, float, float, float]


class _VidorVideo(msgspec.Struct):
    """An entry of TubeDETR's form of VidOR."""

    trajectories: dict[int, dict[int, _Framed]]


_PAIR = msgspec.json.Decoder(_Pair)
_VIDEO = msgspec.json.Decoder(_Video)
_BOXES = msgspec.json.Decoder(list[_Box])
_VIDOR = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VIDOR_VIDEO = msgspec.json.Decoder(_VidorVideo)
_OBJECTS = msgspec.json.Decoder(dict[int, dict[int, _Framed]])


class VidorFile:
    """VidOR's boxes in one file. It is read when its content is first needed.

    Args:
        path: the file's path; None if there is no file.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def tubes(self, video: str) -> dict[int, FrameBoxes]:
        """Annotated frames (K,) and boxes (K, 4) in pixels of each object of a video; empty where there is none.

        Raises:
            DataError: the file cannot be read.
            RowError: the boxes of the video are malformed.
        """
        if video not in self._videos:
            return {}
        try:
            found = _VIDOR_VIDEO.decode(self._videos[video]).trajectories
        except PARSE_ERRORS as error:
            raise RowError("malformed trajectory file", f"{self.path}, video {video}: {error!r:.200}") from None
        return {tid: _tube_of(by_frame) for tid, by_frame in found.items() if by_frame}

    @cached_property
    def _videos(self) -> dict[str, msgspec.Raw]:
        if self.path is None:
            return {}
        try:
            return _VIDOR.decode(read_bytes(self.path))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(
                f"{self.path} cannot be read as VidOR's boxes by video, as TubeDETR writes them: {error}"
            ) from None


class Merged:
    """One file of these forms. It is read when its content is first needed.

    Args:
        path: the file's path; None if there is no file.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def annotations(self) -> list[dict[str, Any] | RowError]:
        """The sentences under the keys of VidSTG's own files; a RowError for a sentence that cannot be read.

        `frame_count` is None if it is not known. `qtype` and `sentence` replace `captions` and `questions`.

        Raises:
            DataError: the file cannot be read.
        """
        return [entry if isinstance(entry, RowError) else entry.annotation() for entry in self._content[0]]

    def tubes(self, video: str) -> dict[int, FrameBoxes]:
        """Annotated frames (K,) and boxes (K, 4) in pixels of each object of a video; empty if the file has none.

        Raises:
            DataError: the file cannot be read.
            RowError: all boxes of the video are malformed.
        """
        if self.path is None:
            return {}
        _, by_video, trajectories = self._content
        found: dict[int, list[FrameBoxes]] = {}
        fault: Exception | None = None
        try:
            if video in trajectories:
                found = {tid: [_tube_of(f)] for tid, f in _OBJECTS.decode(trajectories[video]).items() if f}
        except PARSE_ERRORS as error:
            fault = error
        for pair in by_video.get(video, []):
            try:
                tid, tube = json_integer(pair.sentence["target_id"]), _tube_from(pair)
                found.setdefault(tid, []).append(tube)
            except PARSE_ERRORS as error:
                fault = error
        if fault is not None and not found:
            raise RowError("malformed trajectory file", f"{self.path}, video {video}: {fault!r:.200}")
        return {tid: _joined(tubes) for tid, tubes in found.items()}

    @cached_property
    def _content(self) -> tuple[list[_Pair | _Video | RowError], dict[str, list[_Pair]], dict[str, msgspec.Raw]]:
        """All entries; the entries in STCAT's form by video; the trajectories in TubeDETR's form by video."""
        path = self.path or Path()
        try:
            data = read_bytes(path)
            content = msgspec.json.decode(data, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
            trajectories: dict[str, msgspec.Raw] = {}
            if isinstance(content, dict) and {"videos", "trajectories"} <= set(content):
                trajectories = msgspec.json.decode(content["trajectories"], type=dict[str, msgspec.Raw])
                content = msgspec.json.decode(content["videos"], type=list[msgspec.Raw])
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(
                f"{path} cannot be read as sentences with boxes, as STCAT or TubeDETR write them: {error}"
            ) from None
        raws = list(content.values() if isinstance(content, dict) else content)
        decoder = _VIDEO if trajectories else _PAIR
        with no_garbage_collection():
            entries = [_entry(decoder, raw, number, path) for number, raw in enumerate(raws)]
        by_video: dict[str, list[_Pair]] = {}
        for entry in entries:
            if isinstance(entry, _Pair):
                by_video.setdefault(entry.vid, []).append(entry)
        return entries, by_video, trajectories


def _entry(decoder: Any, raw: msgspec.Raw, number: int, path: Path) -> Any:
    try:
        return decoder.decode(raw)
    except (ValueError, RecursionError) as error:
        return RowError("malformed annotation", f"{error}, entry {number} of {path}")


def _tube_from(pair: _Pair) -> FrameBoxes:
    """The boxes of an entry in STCAT's form."""
    boxes = _BOXES.decode(pair.target_bboxs)
    sides = [[b.xmin for b in boxes], [b.ymin for b in boxes], [b.xmax for b in boxes], [b.ymax for b in boxes]]
    boxes_xyxy = np.array(sides, dtype=np.float64).T  # (N, 4), None as NaN
    given = np.flatnonzero(~np.isnan(boxes_xyxy).any(axis=1))
    return json_integer(pair.ori_temp_gt["begin_fid"]) + given, boxes_xyxy[given]


def _joined(tubes: list[FrameBoxes]) -> FrameBoxes:
    """The boxes of one object in all its events. If a frame has several boxes, the first one counts."""
    frames, first = np.unique(np.concatenate([frames for frames, _ in tubes]), return_index=True)
    return frames, np.concatenate([boxes_xyxy for _, boxes_xyxy in tubes])[first]


def _tube_of(by_frame: dict[int, _Framed]) -> FrameBoxes:
    """The boxes of an object in TubeDETR's form."""
    frames = np.array(sorted(by_frame), dtype=np.int64)
    boxes_xywh = np.array([by_frame[frame].bbox for frame in frames.tolist()], dtype=np.float64)
    return frames, np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)
