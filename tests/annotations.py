"""Annotation files in the forms of HC-STVG and VidSTG, written for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

TIMES = np.arange(100) / 5.0  # 20 s at 5 frames per second


def write_json(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def v1(**changes: Any) -> dict[str, Any]:
    """An entry of HC-STVG v1: 30 boxes from frame 11, counted from 1."""
    return {
        "bbox": [[10, 8, 20, 30]] * 30,
        "st_time": 2.0,
        "ed_time": 7.9,
        "img_num": 100,
        "caption": "The man in red stands up.",
        "width": 64,
        "height": 48,
        "st_frame": 11,
    } | changes


def v2(**changes: Any) -> dict[str, Any]:
    entry = v1() | {"English": "The man in red stands up.", "img_size": [48, 64, 3], "ed_frame": 55}
    for key in ("caption", "width", "height"):
        del entry[key]
    return entry | changes


def older(**changes: Any) -> dict[str, Any]:
    """An entry with the keys of older releases."""
    names = {"st_frame": "frame_start", "img_num": "number_frames", "st_time": "time_start", "ed_time": "time_end"}
    return {names.get(key, key): value for key, value in v1().items()} | changes


def processed(**changes: Any) -> dict[str, Any]:
    """An entry as TubeDETR's preprocessing writes it, in a list."""
    return {
        "original_video_id": "a",
        "frame_count": 100,
        "width": 64,
        "height": 48,
        "tube_start_frame": 11,
        "tube_end_frame": 41,
        "tube_start_time": 2.0,
        "tube_end_time": 7.9,
        "video_path": "3/a.mp4",
        "caption": "The man in red stands up.",
        "video_id": 0,
        "trajectory": [[10, 8, 20, 30]] * 30,
    } | changes


def vidstg(**changes: Any) -> dict[str, Any]:
    return {
        "vid": "77",
        "fps": 5.0,
        "frame_count": 100,
        "width": 64,
        "height": 48,
        "used_segment": {"begin_fid": 20, "end_fid": 99},
        "temporal_gt": {"begin_fid": 40, "end_fid": 100},
        "subject/objects": [{"tid": 1, "category": "adult"}],
        "captions": [{"description": "an adult waves.", "type": "person", "target_id": 1}],
        "questions": [{"description": "who waves?", "type": "person", "target_id": 1}],
    } | changes


def vidor(missing: tuple[int, ...] = ()) -> dict[str, Any]:
    box = {"xmin": 10, "ymin": 8, "xmax": 30, "ymax": 38}
    entry = [{"tid": 1, "bbox": box, "generated": 0, "tracker": "none"}]
    return {"video_id": "77", "trajectories": [[] if f in missing else entry for f in range(100)]}


def shared(**changes: Any) -> dict[str, dict[str, Any]]:
    """The sentences of `vidstg()` in the form of STCAT, CG-STVG and TA-STVG, each with boxes of frames 40 to 99."""
    box = {"xmin": 10, "ymin": 8, "xmax": 30, "ymax": 38}
    common = {
        "vid": "77",
        "fps": 5.0,
        "used_segment": {"begin_fid": 20, "end_fid": 99},
        "width": 64,
        "height": 48,
        "ori_temp_gt": {"begin_fid": 40, "end_fid": 100},
        "frame_count": 80,  # of the segment
        "temp_gt": {"begin_fid": 20, "end_fid": 79},
        "target_category": "adult",
        "target_bboxs": [box] * 60,
    }
    said = {"description": "an adult waves.", "type": "person", "target_id": 1}
    asked = {"description": "who waves?", "type": "person", "target_id": 1}
    entries = [{"id": 0, "qtype": "declar", "sentence": said}, {"id": 1, "qtype": "inter", "sentence": asked}]
    return {str(entry["id"]): common | entry | changes for entry in entries}


def trajectories() -> dict[str, Any]:
    """The same trajectories in the form of TubeDETR's preprocessing."""
    common = {"original_video_id": "77", "frame_count": 100, "fps": 5.0, "width": 64, "height": 48}
    common |= {"start_frame": 20, "end_frame": 99, "tube_start_frame": 40, "tube_end_frame": 100}
    common |= {"video_path": "0001/77.mp4", "type": "person", "target_id": 1}
    boxes = {str(f): {"bbox": [10, 8, 20, 30], "generated": 0, "tracker": "none", "category_id": 3} for f in range(100)}
    return {
        "videos": [
            common | {"caption": "who waves?", "video_id": 0, "qtype": "interrogative"},
            common | {"caption": "an adult waves.", "video_id": 1, "qtype": "declarative"},
        ],
        "trajectories": {"77": {"1": boxes}},
    }


def line(**changes: Any) -> dict[str, Any]:
    return {
        "stvg_schema": 1,
        "id": "a/0",
        "video": "videos/a.mp4",
        "sentence": "it moves",
        "n_frames": 100,
        "fps": 5.0,
        "size_wh": [64, 48],
        "span_frames": [10, 40],
        "tube": [[f, 10, 8, 30, 38] for f in range(10, 40)],
    } | changes
