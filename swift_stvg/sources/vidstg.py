"""VidSTG: declarative and interrogative sentences about parts of VidOR videos, with boxes from VidOR's trajectories.

Sentences come from the first of these files that exists: VidSTG's own file; the file that STCAT, CG-STVG and TA-STVG
share, or that TubeDETR's preprocessing writes. The boxes of a video come from the first of these files that has them:
VidOR's own file; the shared file, as above; the file that TubeDETR's preprocessing makes from VidOR's files.

Source: Zhang et al., "Where Does It Exist: Spatio-Temporal Video Grounding for Multi-Form Sentences", CVPR 2020.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from swift_stvg.errors import DataError, RowError
from swift_stvg.records import Sample, tube_in_span
from swift_stvg.sources.files import VIDEO_SUFFIXES, DataRoot, FileIndex, existing_folders, find_annotations
from swift_stvg.sources.load_report import LoadReport
from swift_stvg.sources.vidstg_merged import QUERY_OF_QTYPE, FrameBoxes, Merged, VidorFile
from swift_stvg.util.json_reading import (
    PARSE_ERRORS,
    json_integer,
    json_text,
    no_garbage_collection,
    read_bytes,
    read_json,
)

_FOLDERS = ("vidstg", "VidSTG", "vidor", "VidOR")
_PLACES = ("sent_annos", "annotations", "vidstg_annotations", "")
_MERGED_PLACES = ("vstg_annos", "annos", "annotations", "vidstg_annotations", "")
_OWN = "_annotations.json"
_QUERY_KEYS = (("captions", "declarative"), ("questions", "interrogative"))
_LETTERS = {"declarative": "c", "interrogative": "q"}  # a caption, a question


def load(root: DataRoot, dataset: str, split: str, report: LoadReport) -> list[Sample]:
    """Read the samples of one split: "train", "val", "test", "test_declarative" or "test_interrogative".

    Raises:
        DataError: the files are missing or unreadable, or, in strict mode, an annotation is bad.
    """
    from tqdm import tqdm  # importing it takes longer than loading small files

    base, _, kind = split.partition("_")
    folders = existing_folders(root.path, _FOLDERS, dataset)
    own = [str(Path(place, f"{base}{_OWN}")) for place in _PLACES]
    merged = [str(Path(place, f"{base}.json")) for place in _MERGED_PLACES]
    shorter = _for_shorter_clips(folders) if base == "train" else []
    paths = [path for _, path in find_annotations(folders, own + merged + shorter, f"{dataset}:{split}")]
    shared = Merged(next((path for path in paths if not path.name.endswith(_OWN)), None))
    path = next((path for path in paths if path.name.endswith(_OWN)), None)
    annotations = shared.annotations() if path is None else read_json(path)
    if not isinstance(annotations, list):
        raise DataError(f"{path} must hold a list of annotations, got {type(annotations).__name__}")
    videos = FileIndex(root, folders, VIDEO_SUFFIXES)
    part = "validation" if base == "test" else "training"
    files = FileIndex(root, folders, [".json"], prefer=[part, "bbox_annos", "annotation"])
    trajectories = Trajectories(files, shared, VidorFile(files.get(f"vidor_{part}")))

    samples: list[Sample] = []
    # in the order of videos, so that each trajectory file is read once and then freed
    by_video = sorted(range(len(annotations)), key=lambda i: (_video_id(annotations[i]), i))
    for number in tqdm(by_video, desc=f"{dataset}:{split}", unit="row", disable=len(by_video) < 1000):
        annotation = annotations[number]
        try:
            if isinstance(annotation, RowError):
                raise annotation
            queries = list(_queries(annotation, number, report))
            if not queries:
                raise RowError("no sentence", f"neither caption nor question in annotation {number} of {paths[0]}")
        except RowError as error:
            report.drop(error)
            continue
        for query_id, query, sentence in queries:
            if kind and query != kind:
                continue
            try:
                name = _video_id(annotation)
                samples.append(
                    _sample(query_id, annotation, query, sentence, (dataset, split), videos.video(name), trajectories)
                )
            except RowError as error:
                report.drop(error)
    samples.sort(key=lambda sample: sample.id)
    return samples


def _for_shorter_clips(folders: list[Path]) -> list[str]:
    """Names of files that TubeDETR reads instead of train.json for clips of at most N frames, largest N first."""
    found = {
        path.name for folder in folders for place in _MERGED_PLACES for path in (folder / place).glob("train_*.json")
    }
    lengths = sorted(
        (int(name[6:-5]) for name in found if re.fullmatch("train_[1-9][0-9]{0,5}[.]json", name)), reverse=True
    )
    return [str(Path(place, f"train_{length}.json")) for length in lengths for place in _MERGED_PLACES]


class _Box(msgspec.Struct, gc=False):
    xmin: float
    ymin: float
    xmax: float
    ymax: float


class _Entry(msgspec.Struct, gc=False):
    tid: int
    bbox: _Box


class _Trajectories(msgspec.Struct):
    trajectories: list[list[_Entry]]


_DECODER = msgspec.json.Decoder(_Trajectories)


class Trajectories:
    """VidOR's boxes by video and object. The boxes of the last video stay in memory.

    Args:
        files: VidOR's JSON files by video id.
        shared: the boxes of videos without such a file.
        vidor: the boxes of videos that are in neither.
    """

    def __init__(self, files: FileIndex, shared: Merged, vidor: VidorFile) -> None:
        self._files = files
        self._shared = shared
        self._vidor = vidor
        self._video = ""
        self._tubes: dict[int, FrameBoxes] = {}
        self._events: dict[tuple[int, tuple[int, int]], FrameBoxes] = {}

    def tube(self, video: str, tid: int, span_frames: tuple[int, int]) -> FrameBoxes:
        """Annotated frames (K,) and boxes (K, 4) in pixels of one object in an event [first, end).

        All sentences about an event get the same arrays.

        Raises:
            RowError: the file is missing or malformed, or holds no box of the object.
        """
        if video != self._video:
            self._tubes = self._read(video)
            self._video = video
            self._events = {}
        if tid not in self._tubes:
            raise RowError("no box for the object", f"object {tid} of video {video}")
        if (tid, span_frames) not in self._events:
            self._events[tid, span_frames] = tube_in_span(*self._tubes[tid], span_frames)
        return self._events[tid, span_frames]

    def _read(self, video: str) -> dict[int, FrameBoxes]:
        path = self._files.get(video)
        if path is None:
            if tubes := self._shared.tubes(video) or self._vidor.tubes(video):
                return tubes
            nor = "".join(f", no box in {source.path}" for source in (self._shared, self._vidor) if source.path)
            raise RowError("no trajectory file", f"no {video}.json of VidOR below the dataset folders{nor}")
        try:
            with no_garbage_collection():
                by_frame = _DECODER.decode(read_bytes(path)).trajectories
        except (OSError, ValueError, RecursionError) as error:
            raise RowError("malformed trajectory file", f"{path}: {error}") from None
        entries = [entry for objects in by_frame for entry in objects]
        if not entries:
            return {}
        frames = np.repeat(np.arange(len(by_frame)), [len(objects) for objects in by_frame])  # (N,)
        boxes = [entry.bbox for entry in entries]
        sides = [[b.xmin for b in boxes], [b.ymin for b in boxes], [b.xmax for b in boxes], [b.ymax for b in boxes]]
        boxes_xyxy = np.array(sides).T  # (N, 4)
        tids = np.array([entry.tid for entry in entries])
        order = np.argsort(tids, kind="stable")  # within an object, frames stay in order
        cuts = np.flatnonzero(np.diff(tids[order])) + 1
        parts = zip(*(np.split(values[order], cuts) for values in (tids, frames, boxes_xyxy)), strict=True)
        return {int(tid[0]): (numbers, xyxy) for tid, numbers, xyxy in parts}


def _video_id(annotation: Any) -> str:
    return str(annotation.get("vid", "")) if isinstance(annotation, dict) else ""


def _queries(annotation: Any, number: int, report: LoadReport) -> Iterator[tuple[str, str, Any]]:
    """(id, "declarative" or "interrogative", entry) of each sentence of an annotation.

    Raises:
        RowError: the sentences are not a list, or the kind of a sentence is unknown.
    """
    if not isinstance(annotation, dict):
        return
    if "qtype" in annotation:
        query = QUERY_OF_QTYPE.get(str(annotation["qtype"]), "")
        if not query:
            raise RowError("malformed annotation", f"`qtype` of annotation {number} is {annotation['qtype']!r:.40}")
        yield f"{number:05d}_{_LETTERS[query]}_{_video_id(annotation)}", query, annotation.get("sentence")
        return
    for key, query in _QUERY_KEYS:
        entries = annotation.get(key) or []
        if not isinstance(entries, list):
            raise RowError("malformed annotation", f"`{key}` of annotation {number} is not a list")
        if not entries:
            report.note(f"annotations without {key}", f"annotation {number}, video {_video_id(annotation)}")
        for i, entry in enumerate(entries):
            yield f"{number:05d}_{_LETTERS[query]}{i}_{_video_id(annotation)}", query, entry


def _sample(
    query_id: str,
    annotation: dict[str, Any],
    query: str,
    sentence: Any,
    names: tuple[str, str],
    video: Path,
    trajectories: Trajectories,
) -> Sample:
    """Make a sample. `used_segment` is the clip, end included; `temporal_gt` is the event, end excluded."""
    try:
        clip = (
            json_integer(annotation["used_segment"]["begin_fid"]),
            json_integer(annotation["used_segment"]["end_fid"]) + 1,
        )
        at_least = annotation["frame_count"] is None
        n_frames = clip[1] if at_least else json_integer(annotation["frame_count"])
        clip = (clip[0], min(clip[1], n_frames))
        size_wh = (json_integer(annotation["width"]), json_integer(annotation["height"]))
        span = (
            json_integer(annotation["temporal_gt"]["begin_fid"]),
            json_integer(annotation["temporal_gt"]["end_fid"]),
        )
        tid = json_integer(sentence["target_id"])
        description = json_text(sentence["description"] or "")
        fps = float(annotation["fps"])
        categories = {o["tid"]: str(o["category"]) for o in annotation.get("subject/objects", [])}
    except PARSE_ERRORS as error:
        raise RowError("malformed annotation", f"{error!r}, row {query_id}") from None
    tube_frames, tube_xyxy = trajectories.tube(_video_id(annotation), tid, span)
    return Sample(
        id=query_id,
        dataset=names[0],
        split=names[1],
        sentence=description,
        video=video,
        annotated_frames=n_frames,
        annotated_fps=fps,
        size_wh=size_wh,
        span_frames=span,
        tube_frames=tube_frames,
        tube_xyxy=tube_xyxy,
        clip_frames=clip,
        query=query,
        category=categories.get(tid),
        at_least=at_least,
    )
