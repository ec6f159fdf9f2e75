"""This project's own schema: each line is a JSON object with one sentence.

    {"stvg_schema": 1, "id": "clip_7/0", "video": "videos/clip_7.mp4", "sentence": "the red square moves left",
     "n_frames": 200, "fps": 25.0, "size_wh": [320, 240], "span_frames": [50, 125],
     "tube": [[50, 10, 20, 60, 90], [51, 11, 20, 61, 90]],
     "clip_frames": [0, 200], "query": "declarative", "category": "square"}

`video` is a path relative to the file's folder; it must lie below that folder or below the data root. Frame numbers
count all frames of the video from 0. `span_frames` and `clip_frames` are [first, end). A row of `tube` is frame, x1,
y1, x2, y2 in pixels of `size_wh`; frames of the event may be missing from it. The last three keys are optional. A line
without `tube` has a time and no boxes, for `STVG_BOXES=false`.

A picture is a video of one frame. A folder of pictures, a pattern such as `clip_7/%06d.jpg` or a list of files is a
video of as many frames at the rate `fps`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.errors import DataError, RowError
from swift_stvg.records import MAX_VIDEO_FRAMES, Sample, tube_in_span
from swift_stvg.sources.files import DataRoot
from swift_stvg.sources.load_report import LoadReport
from swift_stvg.util.json_reading import PARSE_ERRORS, json_integer, json_text

JSONL_SCHEMA = 1
"""Version of the schema."""
QUERY_KINDS = ("declarative", "interrogative")


def load_file(root: DataRoot, path: Path, dataset: str, split: str, report: LoadReport) -> list[Sample]:
    """Read the samples of one file.

    Raises:
        DataError: the file cannot be read, or, in strict mode, a line is bad.
    """
    if not path.is_file():
        raise DataError(f"no file {path} for {dataset}:{split}")
    samples = []
    seen: set[str] = set()
    for number, line in _lines(path):
        try:
            sample = read_sample(line, f"line {number} of {path}", root, path.parent, dataset, split)
            if sample.id in seen:
                raise RowError("repeated id", f"{sample.id!r}, line {number} of {path}")
        except RowError as error:
            report.drop(error)
            continue
        seen.add(sample.id)
        samples.append(sample)
    return samples


def load(root: DataRoot, dataset: str, split: str, report: LoadReport) -> list[Sample]:
    """Read the samples of the file `split`, a path relative to the working folder or to the data root."""
    if not split:
        raise DataError(f"{dataset} needs the path of a file: {dataset}:PATH.jsonl")
    here = Path(split).expanduser()
    return load_file(root, here if here.is_file() else root.path / here, dataset, split, report)


def load_synthetic(root: DataRoot, dataset: str, split: str, report: LoadReport) -> list[Sample]:
    """Read the samples of a split that `swift-stvg synth` wrote to ROOT/stvg_synthetic or to ROOT itself."""
    for folder in (root.path / dataset, root.path):
        if (folder / f"{split}.jsonl").is_file():
            return load_file(root, folder / f"{split}.jsonl", dataset, split, report)
    raise DataError(
        f"no {split}.jsonl in {root.path / dataset} or {root.path}: make it with "
        f"`swift-stvg synth {root.path / dataset}` and set STVG_DATA_ROOT to its parent"
    )


def read_sample(line: str, where: str, root: DataRoot, folder: Path, dataset: str, split: str) -> Sample:
    """Read one line.

    Raises:
        RowError: the line cannot be used.
    """
    try:
        data: dict[str, Any] = json.loads(line)
        if data["stvg_schema"] != JSONL_SCHEMA:
            raise RowError(
                "unknown schema", f"stvg_schema {data['stvg_schema']!r}, but this package reads {JSONL_SCHEMA}, {where}"
            )
        span = _pair(data["span_frames"])
        clip = _pair(data["clip_frames"]) if data.get("clip_frames") is not None else None
        size_wh = _pair(data["size_wh"])
        time_only = "tube" not in data
        table = np.array([] if time_only else data["tube"], dtype=np.float64).reshape(-1, 5)
        if not time_only and len(table) != len(data["tube"]):
            raise ValueError("rows of `tube` must hold five numbers")
        if not np.isfinite(table).all() or (np.abs(table[:, 0]) > MAX_VIDEO_FRAMES).any():
            raise ValueError(f"numbers in `tube` must be finite, and frames at most {MAX_VIDEO_FRAMES}")
        frames = table[:, 0].astype(np.int64)
        if not np.array_equal(frames, table[:, 0]):
            raise ValueError("frame numbers in `tube` must be whole")
        tube_frames, tube_xyxy = tube_in_span(frames, table[:, 1:], span)
        query, category = data.get("query") or "declarative", data.get("category")
        if query not in QUERY_KINDS:
            raise ValueError(f"`query` must be one of {', '.join(QUERY_KINDS)}, got {query!r}")
        return Sample(
            id=json_text(data["id"]),
            dataset=dataset,
            split=split,
            sentence=json_text(data["sentence"]),
            video=root.video(data["video"], folder, where),
            annotated_frames=json_integer(data["n_frames"]),
            annotated_fps=float(data["fps"]),
            size_wh=size_wh,
            span_frames=span,
            tube_frames=tube_frames,
            tube_xyxy=tube_xyxy,
            clip_frames=clip,
            query=query,
            category=None if category is None else json_text(category),
            time_only=time_only,
        )
    except PARSE_ERRORS as error:
        if isinstance(error, RowError):
            raise
        raise RowError("malformed annotation", f"{error!r}, {where}") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:  # some programs write a byte-order mark first
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _pair(values: Any) -> tuple[int, int]:
    first, second = (json_integer(value) for value in values)
    return first, second
