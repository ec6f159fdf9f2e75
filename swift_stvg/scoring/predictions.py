"""Predictions: result files of `swift infer`, files of tubes, and the exact answers to the ground truth."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.answers.reading import CLOCK_TIMES, SHARES
from swift_stvg.errors import DataError, RowError, VideoError
from swift_stvg.geometry import FloatArray
from swift_stvg.records import Sample, Tube, VideoInfo
from swift_stvg.rewards.batch import Batch
from swift_stvg.rows.making import make_row_truth, truth_on_grid
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.tubes import answer_tube, read_tubes
from swift_stvg.settings import PREFIX, Settings
from swift_stvg.sources.proposals import load_proposals
from swift_stvg.sources.registry import SOURCES
from swift_stvg.util import validation

Key = tuple[str, str]
"""Subset and id, the key of a ground-truth sample."""
NO_LINE = 0
MISSING, NO_ROW, OTHER_ANNOTATION = "missing", "no row", "other annotation"
COUNT_ZERO = frozenset({MISSING, "unparsable", "inconsistent", NO_ROW, OTHER_ANNOTATION})
"""Reasons for which a sample counts 0. With other reasons, a part of a file that belongs to no sample is set aside."""


def subset(dataset: str, split: str) -> str:
    """Name of the subset that a row's id is unique in: the whole one for `vidstg:test_declarative`, and for a file its
    name, wherever it lies."""
    source = SOURCES.get(dataset)
    if source is not None and not source.splits:
        split = Path(split).name
    elif source is not None and split in source.splits:
        split = split.partition("_")[0]
    return f"{dataset}:{split}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of a file that is not scored, or counts 0.

    Attributes:
        reason: short fixed phrase, under which it is counted.
        detail: the value or the cause.
        subset, id: the sample's key, if known.
        line: line of the file, from 1; 0 if there is none.
        response: the text that the model wrote.
    """

    reason: str
    detail: str
    subset: str | None = None
    id: str | None = None
    line: int = NO_LINE
    response: str | None = None

    @property
    def where(self) -> str:
        """Line and id."""
        places = [f"line {self.line}" if self.line else "", f"id {self.id}" if self.id is not None else ""]
        return ", ".join(place for place in places if place)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.detail) if part)


@dataclass(slots=True)
class TubeFile:
    """The predictions in a file of tubes.

    Attributes:
        name: its name in tables.
        path: the file's path.
        ids: (B,) all ids of the file.
        tubes: the tubes by id.
        faults: reasons of entries that make no tube, by id.
        set_aside: parts of the file that belong to no sample.

    Raises:
        RecordError: an id has neither a tube nor a fault, or is repeated.
    """

    name: str
    path: str
    ids: list[str]
    tubes: dict[str, Tube]
    faults: dict[str, tuple[str, str]]
    set_aside: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        validation.all_instances("tubes", list(self.tubes.values()), Tube)
        if Counter(self.ids) != Counter([*self.tubes, *self.faults]):
            validation.refuse("ids", "be those of tubes and faults, each once", len(self.ids), f", {self.name}")

    @classmethod
    def read(cls, path: Path) -> TubeFile:
        """Read a file; see `tubes.read_tubes`."""
        tubes, faults, repeated = read_tubes(path)
        again = [
            Problem("repeated", f"the key {name!r} stands there again; the last value counts") for name in repeated
        ]
        return cls(path.name, str(path), [*tubes, *faults], tubes, faults, again)

    @property
    def warnings(self) -> list[str]:
        """Signs that the file as a whole uses another convention than it is read with."""
        boxes_xyxy = [tube.boxes_xyxy for tube in self.tubes.values()]
        return _box_warnings(boxes_xyxy, "pixels of the annotation", shares=False)

    def keys(self, subset: str) -> list[Key]:
        """(B,) of the predictions, which are for samples of `subset`."""
        return [(subset, name) for name in self.ids]

    def fault(self, i: int, partial: bool) -> tuple[str, str] | None:
        """Why prediction `i` counts 0; None if it is scored."""
        return self.faults.get(self.ids[i])

    def mismatch(self, i: int, sample: Sample) -> tuple[str, str] | None:
        """Nothing: a tube does not say what it was made from."""
        return None

    def tube(self, i: int, sample: Sample, part: str) -> Tube:
        """Prediction `i`."""
        return self.tubes[sample.id]

    def line(self, i: int) -> int:
        """No line."""
        return NO_LINE

    def response(self, i: int) -> str | None:
        """No text."""
        return None


@dataclass(slots=True)
class AnswerFile:
    """Completions with the truths of their rows, as `swift infer` writes them.

    Attributes:
        name: its name in tables.
        path: the file's path, or a description of the source.
        batch: the answers.
        responses: (B,) texts that the model wrote.
        lines: (B,) line of each answer in the file.
        videos: (B,) path of each row's video.
        set_aside: parts of the file that cannot be scored.

    Raises:
        RecordError: lengths differ.
    """

    name: str
    path: str
    batch: Batch
    responses: list[str]
    lines: list[int]
    videos: list[str]
    set_aside: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in ("batch", "responses", "lines", "videos")}
        validation.same_length("answer", f", {self.name}", **columns)

    @classmethod
    def read(cls, path: Path) -> AnswerFile:
        """Read a result file.

        Raises:
            DataError: the file is missing, holds no answer, or answers to rows that were made with different settings.
        """
        problems: list[Problem] = []
        rows: list[tuple[int, _Line]] = []
        seen: dict[Key, int] = {}
        for line, found in _lines(path):
            if isinstance(found, Problem):
                problems.append(found)
                continue
            row_truth = found.row_truth
            key = (subset(row_truth.dataset, row_truth.split), row_truth.id)
            first = seen.setdefault(key, line)
            if first != line:
                problems.append(Problem("repeated", f"stands in line {first} already, which counts", *key, line))
                continue
            if rows:
                _same_settings(path, (rows[0][0], rows[0][1].row_truth), (line, row_truth))
            rows.append((line, found))
        if not rows:
            examples = "".join(f"; {problem}" for problem in problems[:3])
            raise DataError(
                f"{path} holds no answer with its row's `stvg` column, as `swift infer` writes them{examples}"
            )
        responses = [found.response for _, found in rows]
        return cls(
            name=path.name,
            path=str(path),
            batch=Batch(responses, [found.row_truth for _, found in rows]),
            responses=responses,
            lines=[line for line, _ in rows],
            videos=[found.video for _, found in rows],
            set_aside=problems,
        )

    @classmethod
    def oracle(cls, samples: Sequence[Sample], settings: Settings) -> AnswerFile:
        """The exact answer to each sample, on the nominal timeline of its annotation.

        Raises:
            DataError: no sample makes a row.
        """
        row_truths, problems = [], []
        proposals = load_proposals(settings)
        for sample in samples:
            try:
                tracks = proposals.of(sample.video)
                row_truths.append(make_row_truth(sample, VideoInfo.nominal(sample), settings, tracks))
            except (RowError, VideoError) as error:
                problems.append(Problem(NO_ROW, str(error), subset(sample.dataset, sample.split), sample.id))
        if not row_truths:
            raise DataError(f"no row can be made of the ground truth; {problems[0]}")
        responses = [c.format.render(c.answer) for c in row_truths]
        name = f"oracle, index {settings.index_unit}"
        none = [NO_LINE] * len(row_truths)
        videos = [""] * len(row_truths)
        batch = Batch(responses, row_truths)
        return cls(name, "the ground truth", batch, responses, none, videos, problems)

    def only(self, i: int) -> AnswerFile:
        """Answer `i` alone."""
        batch = Batch([self.responses[i]], [self.batch.row_truths[i]])
        rest = ([self.responses[i]], [self.lines[i]], [self.videos[i]])
        return AnswerFile(self.name, self.path, batch, *rest)

    @property
    def settings(self) -> Settings:
        """The settings of all rows."""
        return self.batch.row_truths[0].settings

    @property
    def warnings(self) -> list[str]:
        """Signs that the file as a whole uses another convention than it is read with."""
        answers, fmt = self.batch.answers, AnswerFormat.of(self.settings)
        boxes_xyxy = [answer.pred.boxes_xyxy for answer in answers if answer.pred is not None]
        found = _box_warnings(boxes_xyxy, fmt.extent, shares=any(SHARES in answer.seen for answer in answers))
        spans = [answer for answer in answers if answer.span is not None or CLOCK_TIMES in answer.seen]
        if spans and all(CLOCK_TIMES in answer.seen for answer in spans):
            read = "they are read as seconds from the clip's start"
            if fmt.unit == "frame":
                read = "they count 0 where an index counts frames: make the rows with STVG_INDEX_UNIT=second"
            found.append(f"all {len(spans)} spans are clock times; {read}")
        return found

    def keys(self, _: str) -> list[Key]:
        """(B,) of the answers, as their rows have them."""
        return [(subset(row_truth.dataset, row_truth.split), row_truth.id) for row_truth in self.batch.row_truths]

    def fault(self, i: int, partial: bool) -> tuple[str, str] | None:
        """Why answer `i` counts 0; None if it is scored.

        Args:
            i: number of the answer.
            partial: whether an answer with a readable span is scored by what can be read of it.
        """
        fault = self.batch.faults[i]
        span = self.batch.answers[i].span
        if partial and fault is not None and span is not None:
            return None if span[0] <= span[1] and span[0] < self.batch.row_truths[i].timeline.size else fault
        return fault

    def mismatch(self, i: int, sample: Sample) -> tuple[str, str] | None:
        """Why the row of answer `i` cannot have been made from this sample; None if it can."""
        row_truth = self.batch.row_truths[i]
        try:
            span, index, boxes_xyxy = truth_on_grid(sample, row_truth.annotated, row_truth)
        except RowError as error:
            return OTHER_ANNOTATION, f"the annotation gives no row: {error}"
        if span != row_truth.span:
            return OTHER_ANNOTATION, f"its row has the event at {row_truth.span}, the annotation at {span}"
        if not np.array_equal(index, row_truth.index) or np.abs(boxes_xyxy - row_truth.boxes_xyxy).max(initial=0) > 1:
            return OTHER_ANNOTATION, "its row has other boxes than the annotation"
        return None

    def tube(self, i: int, sample: Sample, part: str) -> Tube:
        """What answer `i`, with its final or its think boxes, means on the frames of its sample."""
        answer = self.batch.answers[i]
        if answer.span is None:
            raise ValueError(f"answer {i} has no span")
        return answer_tube(
            answer.span, answer.pred if part == "pred" else answer.think, self.batch.row_truths[i], sample
        )

    def line(self, i: int) -> int:
        """The line of answer `i` in the file."""
        return self.lines[i]

    def response(self, i: int) -> str | None:
        """The text that the model wrote."""
        return self.responses[i]


def _box_warnings(lists_xyxy: Sequence[FloatArray], extent: str, *, shares: bool) -> list[str]:
    """What all boxes of a file, lists (K, 4), have in common that boxes in this extent have not.

    Args:
        lists_xyxy: as written; NaN where a box could not be read.
        extent: what a coordinate counts, in words.
        shares: whether there were others, in shares of 1, which were not read.
    """
    boxes_xyxy = np.concatenate([np.empty((0, 4)), *lists_xyxy])
    boxes_xyxy = boxes_xyxy[~np.isnan(boxes_xyxy).any(axis=1)]
    found = []
    if (shares or len(boxes_xyxy)) and ((boxes_xyxy >= 0) & (boxes_xyxy <= 1)).all():
        found.append(f"all boxes lie within [0, 1], as shares of the picture do; they should be {extent}")
    if len(boxes_xyxy) and (boxes_xyxy[:, :2] > boxes_xyxy[:, 2:]).any(axis=1).all():
        found.append(
            f"all {len(boxes_xyxy)} boxes have their right left of their left or their bottom above their top, so none "
            "counts: the order is left, top, right, bottom"
        )
    return found


def read_predictions(path: Path) -> AnswerFile | TubeFile:
    """A file of predictions: `.jsonl` as `swift infer` writes it, `.json` with tubes.

    Raises:
        DataError: the file is missing or has another suffix.
    """
    if not os.path.isfile(path):  # False, where Path.is_file raises, for names that cannot be
        raise DataError(f"no file {str(path)!r:.200}")
    suffix = path.suffix.strip().lower()
    if suffix == ".jsonl":
        return AnswerFile.read(path)
    if suffix == ".json":
        return TubeFile.read(path)
    raise DataError(f"{path} must be a .jsonl file of `swift infer` or a .json file of tubes")


class _Line(NamedTuple):
    response: str
    row_truth: RowTruth
    video: str


def _lines(path: Path) -> Iterator[tuple[int, Problem | _Line]]:
    """(line, what it holds) of a result file."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    with file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                data = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, Problem("unreadable line", f"no JSON, cut off? {error}", line=number)
                continue
            if not isinstance(data, dict) or "stvg" not in data:
                detail = "no result of `swift infer` with its row's `stvg` column"
                yield number, Problem("not an answer", detail, line=number)
                continue
            try:
                row_truth = RowTruth.from_json(data["stvg"])
                yield number, _Line(_response(data), row_truth, _video(data))
            except DataError as error:
                yield number, Problem("not an answer", str(error), line=number)


def _response(data: dict[str, Any]) -> str:
    """What the model wrote; nothing, which counts 0, where the file has no text."""
    response = data.get("response")
    return response if isinstance(response, str) else ""


def _video(data: dict[str, Any]) -> str:
    videos = data.get("videos")
    return str(videos[0]) if isinstance(videos, list) and videos else ""


def _same_settings(path: Path, first: tuple[int, RowTruth], other: tuple[int, RowTruth]) -> None:
    expected, found = first[1].settings.to_texts(), other[1].settings.to_texts()
    if expected != found:
        differing = [name for name in expected if expected[name] != found[name]]
        now, then = (", ".join(f"{PREFIX}{n.upper()}={texts[n]}" for n in differing) for texts in (found, expected))
        raise DataError(
            f"{path} mixes rows that were made with different settings: line {other[0]}, id {other[1].id}, with {now}; "
            f"line {first[0]} with {then}. Score them apart"
        )
