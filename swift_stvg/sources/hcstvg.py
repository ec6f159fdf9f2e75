"""HC-STVG v1 and v2: one sentence and one tube for each 20 s clip (Tang et al., "Human-centric Spatio-Temporal Video
Grounding With Visual Transformers", TCSVT 2021)."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.errors import DataError, RowError
from swift_stvg.jsonfile import MALFORMED, RepeatedKeys, read_json, text, whole
from swift_stvg.records import Sample
from swift_stvg.sources.files import VIDEO_SUFFIXES, DataRoot, FileIndex, existing_folders, find_annotations
from swift_stvg.sources.report import LoadReport

CLIP_S = 20.0
"""Length of every clip; the nominal frame rate is the frame count over it."""

_FOLDERS = {
    "hcstvg_v1": ("hc-stvg", "hcstvg_v1", "hcstvg1", "hc-stvg1", "hcstvg", "HC-STVG"),
    "hcstvg_v2": ("hc-stvg2", "hcstvg_v2", "hcstvg2", "HC-STVG2", "hcstvg", "hc-stvg", "HC-STVG"),
}


def load(root: DataRoot, dataset: str, split: str, report: LoadReport) -> list[Sample]:
    """Samples of one split; `dataset` is "hcstvg_v1" or "hcstvg_v2"."""
    version = dataset[-2:]
    folders = existing_folders(root.path, _FOLDERS[dataset], dataset)
    folder, annotations, repeated = _read_version(
        find_annotations(folders, _annotation_names(dataset, split), f"{dataset}:{split}"),
        version,
        f"{dataset}:{split}",
    )
    videos = FileIndex(root, [folder], VIDEO_SUFFIXES, prefer=[f"{version}_video"])
    for name in repeated:
        report.drop(RowError("repeated video", f"{name!r} has several entries, the last one is kept"))
    samples = []
    for name, annotation in annotations.items():
        try:
            samples.append(read_sample(name, annotation, dataset, split, videos.video(name)))
        except RowError as error:
            report.drop(error)
    return samples


def _read_version(found: list[tuple[Path, Path]], version: str, name: str) -> tuple[Path, dict[str, Any], list[str]]:
    """Dataset folder, content and repeated keys of the first file that holds annotations of this version.

    The versions share file names, and some keep them in one folder; the sentence's key tells them apart.
    """
    for folder, path in found:
        annotations = read_json(path, keep_repeated=True, each_has="st_frame")
        if not isinstance(annotations, dict):
            raise DataError(f"{path} must hold an object of video names, got {type(annotations).__name__}")
        repeated = annotations.repeated if isinstance(annotations, RepeatedKeys) else []
        entry = next(
            (e for e in annotations.values() if isinstance(e, dict) and ("English" in e or "caption" in e)), {}
        )
        if not entry or ("English" in entry) == (version == "v2"):
            return folder, annotations, repeated
    paths = ", ".join(str(path) for _, path in found)
    raise DataError(f"no annotation file of {name}: {paths} hold annotations of the other version")


def read_sample(name: str, annotation: Any, dataset: str, split: str, video: Path) -> Sample:
    """One entry of an annotation file.

    `st_frame` counts from 1; the event ends with the last box (`ed_time` and `ed_frame` disagree with the boxes in
    places); a box is x, y, w, h in pixels.

    Raises:
        RowError: the entry cannot be used.
    """
    try:
        if "img_size" in annotation:
            height, width = annotation["img_size"][:2]
        else:
            height, width = annotation["height"], annotation["width"]
        sentence = text((annotation["English"] if "English" in annotation else annotation["caption"]) or "")
        boxes = annotation["bbox"]
        if set(map(len, boxes)) - {4}:
            raise ValueError(f"`bbox` must hold boxes of four numbers, got {max(boxes, key=len)}")
        # twice as fast as np.array on a list of lists
        boxes_xywh = np.fromiter(chain.from_iterable(boxes), dtype=np.float64, count=4 * len(boxes)).reshape(-1, 4)
        first = whole(annotation["st_frame"]) - 1
        if first < 0:
            raise ValueError(f"`st_frame` counts from 1, got {annotation['st_frame']}")
        n_frames = whole(annotation["img_num"])
        size_wh = (whole(width), whole(height))
        frames = np.arange(first, first + len(boxes_xywh), dtype=np.int64)
    except MALFORMED as error:
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
    names = [f"{split}_{version}.json", f"{split}{version}.json", f"{split}.json"]
    if split == "val":  # STCAT and CG-STVG call the validation split "test", having no other
        names += [f"test_{version}.json", f"test{version}.json", "test.json"]
    if dataset == "hcstvg_v2":  # a folder shared with v1 holds v1's files under the bare names
        names.sort(key=lambda name: version not in name)
    prefixes = [f"annos/{dataset}", f"anno_{version}", "annos", f"anno{version}", "annotations", "anno", ""]
    return [str(Path(prefix, name)) for prefix in prefixes for name in names]
