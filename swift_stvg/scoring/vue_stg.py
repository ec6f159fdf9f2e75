"""VUE-STG: its files of tubes and its metrics.

A file of tubes is CSV with a header. Columns may come in any order, and other columns are ignored:

    query_id,time_ms,x0,y0,x1,y1
    q1,12000,0.25,0.10,0.50,0.90

Times are in milliseconds of the video file, boxes in shares of the frame. A query may have several events: its tube is
the set of its boxes. Times are rounded to whole seconds (half a second rounds up). If a second has several boxes, the
first one in the file counts.

Source: bytedance/vidi, `VUE_STG/tube.py` and `VUE_STG/evaluate.py`; Vidi2 (arXiv 2511.19529).
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.errors import DataError
from swift_stvg.geometry import FloatArray, IntArray, box_areas, to_picture
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.ground_truth import bin_labels
from swift_stvg.scoring.metrics import RESAMPLES, BoolArray
from swift_stvg.scoring.problems import MISSING, Problem
from swift_stvg.scoring.tables import REPORT_SCHEMA, system_rows, with_intervals
from swift_stvg.util import validation
from swift_stvg.util.writing import write_text_atomic

COLUMNS = ("query_id", "time_ms", "x0", "y0", "x1", "y1")
METRICS = ("t_Precision", "t_Recall", "t_IoU", "v_Precision", "v_Recall", "v_IoU", "v_IoU_Int")
STEP_MS = 1000
_MAX_TIME_MS = 1_000_000_000
"""Upper bound of times, eleven days. A larger one means damage."""
_STRIDE = 1 << 32
"""Distance between the keys of two queries; the key of a second is its query's number times this, plus the second."""
_EPS = float(np.finfo(float).eps)
AREA_EDGES = (0.0, 0.1, 0.3, float("inf"))
LENGTH_EDGES_S = (0.0, 3.0, 10.0, 60.0, float("inf"))
VIDEO_EDGES_S = (0.0, 60.0, 600.0, 1800.0, float("inf"))


@dataclass(frozen=True, slots=True, eq=False)
class TimedBoxes:
    """The boxes of one query, in the order of the file.

    Attributes:
        times_ms: (K,) milliseconds from the start of the file.
        boxes_xyxy: (K, 4) corners in shares of the frame; they may leave the frame or be swapped.

    Raises:
        RecordError: a shape or a length is wrong, or a value is not finite.
    """

    times_ms: IntArray
    boxes_xyxy: FloatArray

    def __post_init__(self) -> None:
        times_ms = validation.integers("times_ms", self.times_ms, least=-_MAX_TIME_MS, most=_MAX_TIME_MS, rising=None)
        boxes_xyxy = validation.boxes("boxes_xyxy", self.boxes_xyxy, times_ms, largest=None)
        if not np.isfinite(boxes_xyxy).all():
            validation.refuse("boxes_xyxy", "be finite", "NaN or infinite")
        validation.set_fields(self, times_ms=times_ms, boxes_xyxy=boxes_xyxy)


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """The ground truth.

    Attributes:
        path: the folder or file.
        tubes: the annotated boxes by query.
        videos: (N,) video of each query, the unit of resampling; the query itself if `query.csv` is missing.
        video_s: (N,) length of each video in seconds; NaN if unknown.
        set_aside: lines that could not be read.

    Raises:
        RecordError: lengths differ.
    """

    path: Path
    tubes: dict[str, TimedBoxes]
    videos: list[str]
    video_s: FloatArray
    set_aside: list[Problem]

    def __post_init__(self) -> None:
        validation.same_length("query", tubes=list(self.tubes), videos=self.videos, video_s=self.video_s)

    @classmethod
    def read(cls, path: Path) -> Benchmark:
        """Read a folder with `tubes.csv`, and `query.csv` and `video.csv` if they are there; or a file of tubes.

        Raises:
            DataError: a file is missing, cannot be read or lacks a column, or there is no box.
        """
        tubes, set_aside = read_tubes(path / "tubes.csv" if path.is_dir() else path)
        video_of = _column(path / "query.csv", "query_id", "video_id") if path.is_dir() else {}
        length = _column(path / "video.csv", "video_id", "video_duration") if path.is_dir() else {}
        videos = [video_of.get(query, query) for query in tubes]
        video_s = [_number(length.get(video, "")) for video in videos]
        return cls(path, tubes, videos, np.array(video_s, dtype=np.float64), set_aside)


def read_tubes(path: Path) -> tuple[dict[str, TimedBoxes], list[Problem]]:
    """Read a file of tubes.

    Returns:
        The boxes by query, in the order of the file; and the lines that are set aside, because a value is missing or
        is not a finite number.

    Raises:
        DataError: the file cannot be read, lacks a column, or holds no box.
    """
    found: dict[str, list[tuple[float, ...]]] = {}
    problems = []
    for line, row in _rows(path, COLUMNS):
        query = row["query_id"]
        numbers = tuple(_number(row[name]) for name in COLUMNS[1:])
        if not query or not all(map(math.isfinite, numbers)) or abs(numbers[0]) > _MAX_TIME_MS:
            detail = f"needs an id, a time and four finite numbers, got {[row[name] for name in COLUMNS]!s:.120}"
            problems.append(Problem("unreadable line", detail, id=query or None, line=line))
            continue
        found.setdefault(query, []).append(numbers)
    if not found:
        examples = "".join(f"; {problem}" for problem in problems[:3])
        raise DataError(f"{path} holds no box{examples}")
    tubes = {}
    for query, rows in found.items():
        values = np.array(rows, dtype=np.float64)  # (K, 5)
        tubes[query] = TimedBoxes(np.trunc(values[:, 0]).astype(np.int64), values[:, 1:])
    return tubes, problems


def write_tubes(path: Path, tubes: Mapping[str, TimedBoxes]) -> None:
    """Write a file of tubes, completely or not at all. Boxes keep six digits after the point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for query, tube in tubes.items():
        for time_ms, box in zip(tube.times_ms.tolist(), tube.boxes_xyxy.tolist(), strict=True):
            writer.writerow([query, time_ms, *(f"{value:.6f}".rstrip("0").rstrip(".") for value in box)])
    write_text_atomic(path, text.getvalue())


def tubes_of(answers: AnswerFile) -> dict[str, TimedBoxes]:
    """The final boxes of answers, one for each whole second from the first to the last box.

    Boxes between two indices are interpolated linearly. Times are those of the video file. An answer that counts 0, or
    has no usable box, has no tube.

    Raises:
        DataError: two rows have the same id, as rows of two datasets may have.
    """
    tubes = {}
    for answer, fault, row_truth in zip(
        answers.batch.answers, answers.batch.faults, answers.batch.row_truths, strict=True
    ):
        if fault is not None or answer.pred is None or answer.span is None:
            continue
        index, boxes_xyxy = answer.pred.first_of_each()
        boxes_xyxy = to_picture(boxes_xyxy, row_truth.scale_wh, (1.0, 1.0))
        usable = (index >= answer.span[0]) & (index <= answer.span[1]) & ~np.isnan(boxes_xyxy).any(axis=1)
        usable &= index < row_truth.timeline.size
        if not usable.any():
            continue
        times_s = row_truth.timeline.clip_start_s + row_truth.timeline.seconds(index[usable])
        first, last = np.floor(times_s[[0, -1]] + 0.5)
        seconds = np.arange(first, last + 1)
        boxes = np.stack([np.interp(seconds, times_s, column) for column in boxes_xyxy[usable].T], axis=1)
        if row_truth.id in tubes:
            raise DataError(f"two rows of {answers.name} have the id {row_truth.id}: write each dataset apart")
        tubes[row_truth.id] = TimedBoxes((seconds * STEP_MS).astype(np.int64), boxes)
    return tubes


def evaluate(truths: Mapping[str, TimedBoxes], predictions: Mapping[str, TimedBoxes]) -> dict[str, FloatArray]:
    """The metrics of each query of the truth, (N,) each, in [0, 1]; NaN where a metric is not defined.

    A second counts if its box has an area. With T, P the annotated and the predicted seconds and S the sum of IoU over
    the seconds of both:

    | metric | value | not defined |
    |---|---|---|
    | t_Precision, t_Recall, t_IoU | seconds of both over those of P, of T, of either | no second in P, T, either |
    | v_Precision, v_Recall, v_IoU | S over the seconds of P, of T, of either | the same |
    | v_IoU_Int | S over the seconds of both | no second in both |

    A query without a prediction has an empty tube. The benchmark's means leave undefined values out, so queries without
    a prediction do not lower t_Precision, v_Precision and v_IoU_Int.

    Raises:
        RecordError: there is no truth.
    """
    if not truths:
        validation.refuse("truths", "hold at least one query", "none")
    keys, boxes, areas = _slices([*truths.values()])
    their_keys, their_boxes, their_areas = _slices([predictions.get(query) for query in truths])
    count = len(truths)

    def of_each(at: IntArray, weights: FloatArray | None = None) -> FloatArray:
        sums: FloatArray = np.bincount(at // _STRIDE, weights=weights, minlength=count).astype(np.float64)
        return sums

    _, ours, theirs = np.intersect1d(keys, their_keys, assume_unique=True, return_indices=True)
    low = np.maximum(boxes[ours, :2], their_boxes[theirs, :2])
    sides = np.maximum(np.minimum(boxes[ours, 2:], their_boxes[theirs, 2:]) - low, 0.0)
    inter = sides[:, 0] * sides[:, 1]
    iou = inter / (areas[ours] + their_areas[theirs] - inter + _EPS)
    is_both = (areas[ours] > 0) & (their_areas[theirs] > 0)
    both = of_each(keys[ours][is_both])
    total = of_each(keys[ours], iou)
    true, predicted = of_each(keys[areas > 0]), of_each(their_keys[their_areas > 0])
    either = true + predicted - both

    def share(part: FloatArray, whole: FloatArray) -> FloatArray:
        shares: FloatArray = np.divide(part, whole, out=np.full(count, np.nan), where=whole > 0)
        return shares

    values = [share(both, whole) for whole in (predicted, true, either)]
    values += [share(total, whole) for whole in (predicted, true, either, both)]
    return dict(zip(METRICS, values, strict=True))


def report(benchmark: Benchmark, systems: Sequence[tuple[str, Path]]) -> dict[str, Any]:
    """The report on files of tubes, in the form of `score.score`'s.

    Args:
        benchmark: the ground truth.
        systems: name and path of each file. Later files are compared with the first.

    Raises:
        DataError: a file cannot be read, or none of its ids belongs to the benchmark.
    """
    queries = set(benchmark.tubes)
    read = [(name, path, *read_tubes(path)) for name, path in systems]
    for name, _, tubes, _ in read:
        if not queries & set(tubes):
            raise DataError(
                f"none of the {len(tubes)} ids of {name} is in {benchmark.path}; the first is {next(iter(tubes))}, "
                f"{benchmark.path} has {next(iter(benchmark.tubes))}"
            )
    rows = system_rows(
        [(name, evaluate(benchmark.tubes, tubes)) for name, _, tubes, _ in read], facets=_facets(benchmark)
    )
    groups = np.unique(benchmark.videos, return_inverse=True)[1]
    excluded = {}
    if benchmark.set_aside:
        excluded["unreadable line"] = {"count": len(benchmark.set_aside), "example": str(benchmark.set_aside[0])}
    return {
        "schema": REPORT_SCHEMA,
        "swift_stvg": __version__,
        "ground_truth": {
            "from": str(benchmark.path),
            "splits": ["vue_stg"],
            "samples": len(benchmark.tubes),
            "videos": int(groups.max()) + 1,
            "queries": {},
            "excluded": excluded,
            "notes": {},
        },
        "how": {
            "intervals": f"95% percentile bootstrap, {RESAMPLES} resamples of the videos, paired in differences",
            "times": f"rounded to {STEP_MS} ms; the first box of a second counts",
            "metrics that are not defined for a query": "left out of the mean",
        },
        "systems": [
            {
                "name": name,
                "file": str(path),
                "counts": {"samples": len(queries), "scored": len(queries & set(tubes))},
                "reasons": _reasons(benchmark, tubes, problems),
                "warnings": [],
            }
            for name, path, tubes, problems in read
        ],
        "not_applicable": {},
        "tables": [
            {
                "protocol": "vue_stg",
                "description": "VUE-STG's evaluator: one box a second, precision, recall and IoU in time and in space.",
                "rows": with_intervals(rows, groups),
            }
        ],
    }


def _reasons(
    benchmark: Benchmark, tubes: Mapping[str, TimedBoxes], problems: Sequence[Problem]
) -> dict[str, dict[str, Any]]:
    missing = [query for query in benchmark.tubes if query not in tubes]
    unknown = [query for query in tubes if query not in benchmark.tubes]
    found: dict[str, dict[str, Any]] = {}
    if missing:
        found[MISSING] = {"count": len(missing), "counts_zero": True, "example": f"id {missing[0]}", "ids": missing}
    if unknown:
        found["unknown id"] = {"count": len(unknown), "counts_zero": False, "example": f"id {unknown[0]}"}
    for reason, count in Counter(problem.reason for problem in problems).items():
        found[reason] = {"count": count, "counts_zero": False, "example": str(problems[0])}
    return found


def _facets(benchmark: Benchmark) -> list[tuple[str, list[tuple[str, BoolArray]]]]:
    """The groups of the public report: mean box area, length of the video, annotated seconds."""
    sizes, lengths = [], []
    for tube in benchmark.tubes.values():
        sizes.append(float(box_areas(_inside(tube.boxes_xyxy)).mean()))
        lengths.append(len(np.unique(_seconds(tube.times_ms))))
    measures = [
        ("area", np.array(sizes), AREA_EDGES, ""),
        ("length", np.array(lengths, dtype=np.float64), LENGTH_EDGES_S, " s"),
        ("video", benchmark.video_s, VIDEO_EDGES_S, " s"),
    ]
    facets = []
    for name, values, edges, unit in measures:
        if np.isnan(values).any():
            continue
        bins = np.clip(np.digitize(values, edges) - 1, 0, len(edges) - 2)
        labels = bin_labels(edges, unit)
        facets.append((name, [(label, bins == i) for i, label in enumerate(labels) if (bins == i).any()]))
    return facets


def _seconds(times_ms: IntArray) -> IntArray:
    """Times as whole seconds; half a second rounds up."""
    return (2 * times_ms + STEP_MS) // (2 * STEP_MS)


def _inside(boxes_xyxy: FloatArray) -> FloatArray:
    """Boxes (K, 4) with their corners in order, clipped to [0, 1]."""
    ordered = np.concatenate(
        [np.minimum(boxes_xyxy[:, :2], boxes_xyxy[:, 2:]), np.maximum(boxes_xyxy[:, :2], boxes_xyxy[:, 2:])], axis=1
    )
    clipped: FloatArray = np.clip(ordered, 0.0, 1.0)
    return clipped


def _slices(tubes: Sequence[TimedBoxes | None]) -> tuple[IntArray, FloatArray, FloatArray]:
    """The first box of each second of each query: keys (K,), rising; boxes (K, 4) inside the frame; areas (K,)."""
    given = [(i, tube) for i, tube in enumerate(tubes) if tube is not None]
    owner = np.repeat(np.array([i for i, _ in given], dtype=np.int64), [len(tube.times_ms) for _, tube in given])
    times_ms = np.concatenate([np.empty(0, dtype=np.int64), *(tube.times_ms for _, tube in given)])
    boxes_xyxy = _inside(np.concatenate([np.empty((0, 4)), *(tube.boxes_xyxy for _, tube in given)]))
    keys, first = np.unique(owner * _STRIDE + _seconds(times_ms) + _MAX_TIME_MS, return_index=True)
    return keys, boxes_xyxy[first], box_areas(boxes_xyxy[first])


def _rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """(line, values) of each row of a CSV file with at least these columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            lacking = [name for name in columns if name not in (reader.fieldnames or ())]
            if lacking:
                raise DataError(f"{path} must have the columns {', '.join(columns)}; it lacks {', '.join(lacking)}")
            return [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from None


def _column(path: Path, key: str, value: str) -> dict[str, str]:
    """One column of a CSV file by another one; empty if the file does not exist."""
    return {row[key]: row[value] for _, row in _rows(path, (key, value))} if path.exists() else {}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
