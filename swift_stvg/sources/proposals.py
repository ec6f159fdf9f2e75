"""Tracks of objects that a detector and a tracker found in a dataset's videos, for answers that name an object.

Three forms are read. Frames count the decoded frames of a video, and boxes are in pixels.

- A JSON file by video. Frames count from 0, boxes are x1, y1, x2, y2, and `size_wh` may be left out:

      {"clip_7.mp4": {"size_wh": [320, 240],
                      "tracks": {"1": {"0": [10, 20, 60, 90], "1": [11, 20, 61, 90]}, "2": {"0": [90, 80, 120, 110]}}}}

- COCO-VID: a JSON file with `videos`, `images` (`video_id`, `frame_id` from 0) and `annotations` (`image_id`, `bbox` as
  left, top, width, height, and `instance_id` or `track_id`), as MMTracking and COCO's tools write it.
- MOTChallenge: a folder of text files, one for each video and with its name: `clip_7.txt`. A line holds frame (from 1),
  track, left, top, width, height, and perhaps further columns. The third further column (class) is not read. Lines with
  a confidence of 0 (the first further column) are left out, as in MOTChallenge's ground truth.

A video is found by its path, with or without leading folders and the suffix: `videos/clip_7.mp4`, `clip_7`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from swift_stvg.errors import DataError
from swift_stvg.records import MAX_COORDINATE, MAX_VIDEO_FRAMES, Tube
from swift_stvg.rows.objects import VideoTracks
from swift_stvg.settings import Settings
from swift_stvg.sources.files import VIDEO_SUFFIXES
from swift_stvg.util.json_reading import PARSE_ERRORS, RepeatedKeys, json_integer, read_bytes, read_json

BROKEN = "broken track"
SHORT = "track without a box"


@dataclass(slots=True)
class Proposals:
    """The tracks of all videos of a file or folder.

    Attributes:
        path: the file or the folder.
        videos: tracks by the video's name, without suffix.
        faults: (reason, detail) of each track that could not be read.
    """

    path: Path
    videos: dict[str, VideoTracks] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)

    def of(self, video: Path) -> VideoTracks | None:
        """The tracks of a video; None if the file does not name it."""
        parts = PurePosixPath(_key(video.as_posix())).parts
        for begin in range(len(parts)):
            found = self.videos.get("/".join(parts[begin:]))
            if found is not None:
                return found
        return None


def load_proposals(settings: Settings) -> Proposals:
    """The tracks for answers that name an object; no tracks for other answers.

    Raises:
        DataError: STVG_PROPOSALS is not set, or its file cannot be read.
    """
    if settings.style != "ids":
        return Proposals(Path())
    if settings.proposals is None:
        raise DataError("STVG_STYLE=ids needs tracks of objects: set STVG_PROPOSALS to their file or folder")
    path = Path(settings.proposals).expanduser()
    return _read(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=4)
def _read(path: Path, changed_ns: int) -> Proposals:
    """`read_proposals`, once for each version of a file."""
    return read_proposals(path)


def read_proposals(path: Path) -> Proposals:
    """Read the tracks of a file or folder.

    Raises:
        DataError: the path does not exist, cannot be read, or has another form.
    """
    proposals = Proposals(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.txt") if file.is_file())
        if not files:
            raise DataError(
                f"STVG_PROPOSALS={path}: the folder has no .txt file; MOTChallenge files have the video's name"
            )
        for file in files:
            _add(proposals, file.relative_to(path).as_posix(), _mot_tracks(file), None)
        return proposals
    if not path.is_file():
        raise DataError(f"STVG_PROPOSALS={path}: no such file or folder")
    content = read_json(path, keep_repeated=True)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path} must hold an object: videos by name, or COCO-VID")
    _refuse_repeated(content, str(path))
    try:
        if {"videos", "images", "annotations"} <= content.keys():
            _read_coco(proposals, content)
        else:
            for name, entry in content.items():
                _refuse_repeated(entry["tracks"], f"{path}, tracks of {name!s:.200}")
                size_wh = _size(entry["size_wh"]) if entry.get("size_wh") is not None else None
                tracks = {number: _pairs(boxes) for number, boxes in entry["tracks"].items()}
                _add(proposals, name, tracks, size_wh)
    except PARSE_ERRORS as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is neither a file of tracks by video nor COCO-VID: {error!r}") from None
    return proposals


def _refuse_repeated(content: Any, what: str) -> None:
    """Refuse an object with a repeated key, because one of the two values is lost. `what` names the object.

    Raises:
        DataError: a key is repeated.
    """
    if isinstance(content, RepeatedKeys):
        raise DataError(f"{what}: the key {content.repeated[0]!r} is repeated; remove one of its two values")


def _pairs(boxes: Any) -> list[tuple[Any, Any]]:
    """(frame, box) of each entry. A frame with a repeated key is listed again, so that `_tube` refuses it."""
    again = boxes.repeated if isinstance(boxes, RepeatedKeys) else []
    return [*boxes.items(), *((frame, boxes[frame]) for frame in again)]


def _key(name: str) -> str:
    """The name of a video without the suffix of a video or of a MOTChallenge file."""
    path = PurePosixPath(name)
    return (path.with_suffix("") if path.suffix.lower() in VIDEO_SUFFIXES | {".txt"} else path).as_posix().lstrip("/")


def _add(
    proposals: Proposals, name: str, tracks: Mapping[Any, list[tuple[Any, Any]]], size_wh: tuple[int, int] | None
) -> None:
    """Add a video. A track that cannot be used is left out, with a fault."""
    key = _key(name)
    if key in proposals.videos:
        raise DataError(f"{proposals.path}: two videos are called {key!r}; give them different names")
    usable: dict[int, Tube] = {}
    for number, boxes in tracks.items():
        where = f"track {number!s:.20} of {name!s:.200}"
        try:
            whole = int(number) if isinstance(number, str) else json_integer(number)
            if whole in usable:
                raise ValueError("the number is repeated")
            tube = _tube(boxes)
        except PARSE_ERRORS as error:
            proposals.faults.append((BROKEN, f"{where}: {error}"))
            continue
        if tube is None:
            proposals.faults.append((SHORT, where))
        else:
            usable[whole] = tube
    proposals.videos[key] = VideoTracks(dict(sorted(usable.items())), size_wh)


def _tube(boxes: list[tuple[Any, Any]]) -> Tube | None:
    """The boxes that have an area, by frame; None if there is none.

    Raises:
        ValueError: a frame is repeated, or a frame or a box is not valid.
    """
    frames = np.array([json_integer(int(f) if isinstance(f, str) else f) for f, _ in boxes], dtype=np.int64)
    boxes_xyxy = np.array([box for _, box in boxes], dtype=np.float64).reshape(-1, 4)
    if len(frames) != len(boxes_xyxy):
        raise ValueError("a box must hold four numbers")
    if len(frames) and not 0 <= frames.min() <= frames.max() <= MAX_VIDEO_FRAMES:
        raise ValueError(f"frames must be numbers from 0 to {MAX_VIDEO_FRAMES}")
    if not (np.abs(boxes_xyxy) <= MAX_COORDINATE).all():  # false for NaN
        raise ValueError("a box is not in pixels")
    order = np.argsort(frames, kind="stable")
    frames, boxes_xyxy = frames[order], boxes_xyxy[order]
    if (np.diff(frames) == 0).any():
        raise ValueError(f"frame {frames[:-1][np.diff(frames) == 0][0]} has two boxes")
    has_area = (boxes_xyxy[:, :2] < boxes_xyxy[:, 2:]).all(axis=1)
    frames, boxes_xyxy = frames[has_area], boxes_xyxy[has_area]
    return Tube((int(frames[0]), int(frames[-1])), frames, boxes_xyxy) if len(frames) else None


def _size(pair: Any) -> tuple[int, int]:
    width, height = (json_integer(side) for side in pair)
    if min(width, height) < 1:
        raise ValueError(f"a size must be above 0, got {width} x {height}")
    return width, height


def _read_coco(proposals: Proposals, content: Mapping[str, Any]) -> None:
    names = {video["id"]: video for video in content["videos"]}
    frames = {image["id"]: (image["video_id"], json_integer(image["frame_id"])) for image in content["images"]}
    tracks: dict[Any, dict[Any, list[tuple[Any, Any]]]] = {video: defaultdict(list) for video in names}
    for annotation in content["annotations"]:
        number = annotation.get("instance_id", annotation.get("track_id"))
        if number is None:
            raise ValueError("an annotation has no instance_id and no track_id")
        video, frame = frames[annotation["image_id"]]
        left, top, width, height = annotation["bbox"]
        tracks[video][number].append((frame, (left, top, left + width, top + height)))
    for identity, video in names.items():
        size = (video.get("width"), video.get("height"))
        _add(
            proposals,
            video.get("name") or video["file_name"],
            tracks[identity],
            None if None in size else _size(size),
        )


def _mot_tracks(file: Path) -> dict[int, list[tuple[Any, Any]]]:
    tracks: dict[int, list[tuple[Any, Any]]] = defaultdict(list)
    for place, columns in _mot_lines(file):
        try:
            frame, number, left, top, width, height, *more = map(float, columns)
            if more and more[0] == 0:
                continue
            boxes = tracks[json_integer(number)]
            boxes.append((json_integer(frame) - 1, (left, top, left + width, top + height)))
        except (ValueError, OverflowError) as error:
            raise DataError(f"line {place} of {file} is not frame, track, left, top, width, height: {error}") from None
    return tracks


def _mot_lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = read_bytes(file).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from None
    for place, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield place, line.replace(",", " ").split()
