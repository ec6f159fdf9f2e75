"""Records of `grounding` in the formats of other tools: MOTChallenge, COCO-VID, and tubes for the scorer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.errors import DataError
from swift_stvg.serving.grounding import OK
from swift_stvg.video.reader import is_picture


def to_mot(record: dict[str, Any]) -> str:
    """The final boxes in MOTChallenge's format: frame, track 1, left, top, width, height, 1, -1, -1, -1.

    Frames, left and top are counted from 1. Boxes without an area are left out. Source: motchallenge.net, instructions.
    """
    lines = []
    for box in _final(record):
        x1, y1, x2, y2 = box["pred_xyxy"]
        lines.append(f"{box['frame'] + 1},1,{x1 + 1:.2f},{y1 + 1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},1,-1,-1,-1\n")
    return "".join(lines)


def to_coco(records: Sequence[dict[str, Any]]) -> str:
    """The final boxes in the COCO-VID format of mmtracking, with a category and an instance for each sentence.

    Each frame of a video is an image, from `NAME/000000.jpg` on, with `frame_id` from 0. Boxes without an area are left
    out.
    """
    videos = {record["videos"][0]: record for record in records}
    stems = Counter(Path(video).stem for video in videos)
    known: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    first_ids: dict[str, tuple[int, int]] = {}
    for number, (video, record) in enumerate(videos.items(), 1):
        path, (width, height) = Path(video), record["size_wh"]
        name = path.stem if stems[path.stem] == 1 else f"{path.stem}_{number}"
        size = {"width": width, "height": height}
        known.append({"id": number, "name": name, "file_name": video, **size})
        first_ids[video] = number, len(images) + 1
        for frame in range(record["n_frames"]):
            file = name + path.suffix if is_picture(path) else f"{name}/{frame:06d}.jpg"
            images.append({"id": len(images) + 1, "file_name": file, **size, "video_id": number, "frame_id": frame})
    annotations: list[dict[str, Any]] = []
    for track, record in enumerate(records, 1):
        number, first_id = first_ids[record["videos"][0]]
        for box in _final(record):
            x1, y1, x2, y2 = box["pred_xyxy"]
            which = {"id": len(annotations) + 1, "image_id": first_id + box["frame"], "video_id": number}
            which |= {"category_id": track, "instance_id": track, "track_id": track}
            place = {"bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)], "area": round((x2 - x1) * (y2 - y1), 2)}
            annotations.append(which | place | {"iscrowd": 0, "time_s": box["time_s"]})
    return json.dumps(
        {
            "info": {"description": f"swift-stvg {__version__}"},
            "videos": known,
            "images": images,
            "annotations": annotations,
            "categories": [{"id": track, "name": record["sentence"]} for track, record in enumerate(records, 1)],
        },
        ensure_ascii=False,
    )


def to_tubes(records: Sequence[dict[str, Any]]) -> str:
    """The final boxes of answers that are ok, as tubes that `swift-stvg score` reads; see `scoring.tubes`.

    Raises:
        DataError: two records have the same id, for example because two videos have the same name.
    """
    ids = Counter(record["id"] for record in records)
    if (name := next((name for name, count in ids.items() if count > 1), None)) is not None:
        raise DataError(f"{ids[name]} records are called {name!r:.200}: give each an `id` of its own")
    return json.dumps(
        {
            record["id"]: {"span_frames": record["span_frames"], "boxes": _tube_boxes(record["boxes"])}
            for record in records
            if record["status"] == OK
        },
        ensure_ascii=False,
    )


def _tube_boxes(boxes: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Boxes by frame. The scorer must not interpolate across an inverted box, so boxes without an area stand there.

    They stand at the inverted box, just after the box before it, and just before the box after it.
    """
    found: dict[int, list[float]] = {}
    for i, box in enumerate(boxes):
        if box["pred_xyxy"] is not None:
            found[box["frame"]] = box["pred_xyxy"]
            continue
        around = {box["frame"]}
        if i > 0:
            around.add(boxes[i - 1]["frame"] + 1)
        if i + 1 < len(boxes):
            around.add(boxes[i + 1]["frame"] - 1)
        found |= {frame: [0.0] * 4 for frame in around}
    return {str(frame): found[frame] for frame in sorted(found)}


def _final(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The final boxes with an area."""
    boxes = [box for box in record["boxes"] if box["pred_xyxy"] is not None]
    return [box for box in boxes if all(np.less(box["pred_xyxy"][:2], box["pred_xyxy"][2:]))]
