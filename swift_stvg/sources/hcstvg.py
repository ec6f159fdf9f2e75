"""HC-STVG v1 and v2: one sentence and one tube for each clip of 20 s.

Entries may have the keys of v1, of v2, of older releases (`frame_start`, `number_frames`), of v2 in the form of CG-STVG
and TA-STVG (the keys of v1), or of the files that TubeDETR's preprocessing writes (`*_proc.json`, a list).

Source: Tang et al., "Human-centric Spatio-Temporal Video Grounding With Visual Transformers", TCSVT 2021.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.errors import DataError, RowError
from swift_stvg.records import Sample
from swift_stvg.sources.files import VIDEO_SUFFIXES, DataRoot, FileIndex, existing_folders, find_annotations
from swift_stvg.sources.load_report import LoadReport
from swift_stvg.util.json_reading import PARSE_ERRORS, RepeatedKeys, json_integer, json_text, read_json

CLIP_S = 20.0
"""Length of every clip in seconds; the nominal frame rate is the frame count divided by it."""

_FOLDERS = {
    "hcstvg_v1": ("hc-stvg", "hcstvg_v1", "hcstvg1", "hc-stvg1", "hcstvg", "HC-STVG"),
    "hcstvg_v2": ("hc-stvg2", "hcstvg_v2", "hcstvg2", "HC-STVG2", "hcstvg", "hc-stvg", "HC-STVG"),
}
_VERSION = re.compile(r"v([12])|stvg[-_]?([12])")
_SENTENCE = ("English", "caption")
_FIRST = ("st_frame", "frame_start", "tube_start_frame")
_COUNT = ("img_num", "number_frames", "frame_count")
_BOXES = ("bbox", "trajectory")
_NAME = ("video", "video_path", "original_video_id")


def load(root: DataRoot, dataset: str, split: str, report: LoadReport) -> list[Sample]:
    """Read the samples of one split; `dataset` is "hcstvg_v1" or "hcstvg_v2".

    Raises:
        DataError: the files are missing or unreadable, or, in strict mode, an entry is bad.
    """
    version = dataset[-2:]
    folders = existing_folders(root.path, _FOLDERS[dataset], dataset)
    folder, annotations, repeated = _read_version(
        find_annotations(folders, _annotation_names(dataset, split), f"{dataset}:{split}"),
        version,
        f"{dataset}:{split}",
    )
    videos = FileIndex(root, [folder], VIDEO_SUFFIXES, prefer=[f"{version}_video"])
    for name in repeated:
        report.drop(RowError("repeated video", f"{name!r} has several entries; the last one is kept"))
    namesakes = Counter(map(_last_part, annotations))
    samples = []
    for name, annotation in annotations.items():
        try:
            video = videos.video(name, folders=namesakes[_last_part(name)] > 1)
            samples.append(read_sample(name, annotation, dataset, split, video))
        except RowError as error:
            report.drop(error)
    return samples


def _read_version(found: list[tuple[Path, Path]], version: str, name: str) -> tuple[Path, dict[str, Any], list[str]]:
    """Dataset folder, entries by video name, and repeated names, from the first file of this version."""
    for folder, path in found:
        annotations = read_json(path, keep_repeated=True, each_has=_FIRST[0])
        if isinstance(annotations, list):
            annotations = _by_name(annotations)
        if not isinstance(annotations, dict):
            raise DataError(f"{path} must hold an object of video names, got {type(annotations).__name__}")
        repeated = annotations.repeated if isinstance(annotations, RepeatedKeys) else []
        if not annotations or _version(annotations.values(), path.relative_to(folder.parent)) == version:
            return folder, annotations, repeated
    paths = ", ".join(str(path) for _, path in found)
    raise DataError(f"no annotation file of {name}: {paths} hold annotations of the other version")


def _version(entries: Iterable[Any], path: Path) -> str:
    """The version of a file: by keys that only v2 has; else by the name of the file or the nearest folder; else v1.

    The names of v1 and v2 files are alike, and both may lie in one folder. Some v2 files have the keys of v1.
    """
    if any(isinstance(entry, dict) and ("English" in entry or "img_size" in entry) for entry in entries):
        return "v2"
    named = [first or second for first, second in _VERSION.findall(path.as_posix().lower())]
    return f"v{named[-1]}" if named else "v1"


def _by_name(entries: list[Any]) -> RepeatedKeys:
    """The entries of a list by video name. An entry without a name gets a text that says so and matches no video."""
    names = []
    for number, entry in enumerate(entries):
        name = _one_of(entry, _NAME, "") if isinstance(entry, dict) else None
        names.append(_last_part(name) if isinstance(name, str) and name else f"entry {number} that names no video")
    found = RepeatedKeys(zip(names, entries, strict=True))
    found.repeated = list((Counter(names) - Counter(found.keys())).elements())
    return found


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def _one_of(entry: dict[str, Any], keys: tuple[str, ...], default: Any = None) -> Any:
    """The first value that is not null under one of the keys; None if all are null.

    Raises:
        KeyError: the entry has none of the keys, and there is no default.
    """
    found = [entry[key] for key in keys if key in entry]
    if not found and default is None:
        raise KeyError(" or ".join(keys))
    return next((value for value in found if value is not None), None if found else default)


def read_sample(name: str, annotation: Any, dataset: str, split: str, video: Path) -> Sample:
    """Read one entry of an annotation file.

    Frames count from 1. The event ends with the last box, because `ed_time` and `ed_frame` differ from the boxes in
    some entries. A box is x, y, w, h in pixels.

    Raises:
        RowError: the entry cannot be used.
    """
    try:
        if "img_size" in annotation:
            height, width = annotation["img_size"][:2]
        else:
            height, width = annotation["height"], annotation["width"]
        sentence = json_text(_one_of(annotation, _SENTENCE) or "")
        boxes = _one_of(annotation, _BOXES)
        if set(map(len, boxes)) - {4}:
            raise ValueError(f"a box must hold four numbers, got {max(boxes, key=len)}")
        # twice as fast as np.array on a list of lists
        boxes_xywh = np.fromiter(chain.from_iterable(boxes), dtype=np.float64, count=4 * len(boxes)).reshape(-1, 4)
        first = json_integer(_one_of(annotation, _FIRST)) - 1
        if first < 0:
            raise ValueError(f"the first frame counts from 1, got {first + 1}")
        n_frames = json_integer(_one_of(annotation, _COUNT))
        size_wh = (json_integer(width), json_integer(height))
        frames = np.arange(first, first + len(boxes_xywh), dtype=np.int64)
    except PARSE_ERRORS as error:
        raise RowError("malformed annotation", f"{error!r} in the entry of {name}") from None
    boxes_xyxy = np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)
    return Sample(
        id=name,
        dataset=dataset,
        split=split,
        sentence=sentence,
        video=video,
        annotated_frames=n_frames,
        annotated_fps=n_frames / CLIP_S,
        size_wh=size_wh,
        span_frames=(first, first + len(boxes_xyxy)),
        tube_frames=frames,
        tube_xyxy=boxes_xyxy,
        category="person",
        one_based=True,
    )


def _annotation_names(dataset: str, split: str) -> list[str]:
    version = dataset[-2:]
    # CG-STVG and TA-STVG call the validation split "test"; v2 has no public test split
    splits = ["val", "test"] if split == "val" else [split]
    names = [f"{s}{mark}.json" for s in splits for mark in (f"_{version}", version, "")]
    names += [f"HCVG_{split}.json", f"{split}{version}_proc.json", f"{split}_proc.json"]
    if dataset == "hcstvg_v2":  # a folder shared with v1 holds v1's files under the bare names
        names.sort(key=lambda name: version not in name)
    prefixes = [f"annos/{dataset}", f"anno_{version}", "annos", f"anno{version}", "annotations", "anno", ""]
    return [str(Path(prefix, name)) for prefix in prefixes for name in names]
