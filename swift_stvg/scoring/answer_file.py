"""Answers of a model: result files of `swift infer`, and the exact answers to the ground truth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.answers.reading import CLOCK_TIMES, SHARES
from swift_stvg.errors import DataError, RowError, VideoError
from swift_stvg.records import Sample, Tube, VideoInfo
from swift_stvg.rewards.batch import Batch
from swift_stvg.rows.making import make_row_truth, truth_on_grid
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.cost import Cost, recorded_cost
from swift_stvg.scoring.problems import NO_LINE, NO_ROW, OTHER_ANNOTATION, Key, Problem, box_warnings, subset
from swift_stvg.scoring.recognition import recognise
from swift_stvg.scoring.tubes import answer_tube
from swift_stvg.settings import PREFIX, Settings
from swift_stvg.sources.proposals import load_proposals
from swift_stvg.util import validation


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
        read_as: how the answers are written, if not as their rows ask; otherwise "".
        open_questions: what the file does not say about its form.
        cost: what the answers took, as far as the file says it.

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
    read_as: str = ""
    open_questions: list[str] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in ("batch", "responses", "lines", "videos")}
        validation.same_length("answer", f", {self.name}", **columns)

    @classmethod
    def read(cls, path: Path, style: str | None = None, coords: str | None = None) -> AnswerFile:
        """Read a result file; `style` and `coords` as for `recognise`.

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
        row_truths = [found.row_truth for _, found in rows]
        recognised = recognise(responses, row_truths, style, coords)
        batch = Batch(responses, row_truths, recognised.read)
        cost = Cost()
        for (_, found), row_truth, answer in zip(rows, row_truths, batch.answers, strict=True):
            samples = [row_truth.format.parse(text) for text in found.samples]
            cost.add(row_truth, samples or [answer], *found.cost)
        return cls(
            name=path.name,
            path=str(path),
            batch=batch,
            responses=responses,
            lines=[line for line, _ in rows],
            videos=[found.video for _, found in rows],
            set_aside=problems,
            read_as=recognised.said,
            open_questions=recognised.warnings,
            cost=cost,
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
        rest = ([self.responses[i]], [self.lines[i]], [self.videos[i]])
        return AnswerFile(self.name, self.path, self.batch.only(i), *rest, read_as=self.read_as)

    @property
    def settings(self) -> Settings:
        """The settings of all rows."""
        return self.batch.row_truths[0].settings

    @property
    def warnings(self) -> list[str]:
        """Signs that the whole file follows another convention than expected."""
        answers, fmt = self.batch.answers, AnswerFormat.of(self.settings)
        boxes_xyxy = [answer.pred.boxes_xyxy for answer in answers if answer.pred is not None]
        found = list(self.open_questions)
        found += box_warnings(boxes_xyxy, fmt.extent, shares=any(SHARES in answer.seen for answer in answers))
        spans = [answer for answer in answers if answer.span is not None or CLOCK_TIMES in answer.seen]
        if spans and all(CLOCK_TIMES in answer.seen for answer in spans):
            read = "they are read as seconds from the clip's start"
            if fmt.unit == "frame":
                read = "they count 0 where an index counts frames: make the rows with STVG_INDEX_UNIT=second"
            found.append(f"all {len(spans)} spans are clock times; {read}")
        return found

    def keys(self, _: str) -> list[Key]:
        """(B,) subset and id of each answer's row."""
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
        """Answer `i`, with its final or its think boxes, as a tube on the frames of its sample."""
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


class _Line(NamedTuple):
    response: str
    row_truth: RowTruth
    video: str
    cost: tuple[float | None, int | None]
    samples: list[str]


def _lines(path: Path) -> Iterator[tuple[int, Problem | _Line]]:
    """The lines of a result file: number, and content or problem."""
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
                cost, samples = recorded_cost(data), data.get("samples")
                texts = [text for text in samples if isinstance(text, str)] if isinstance(samples, list) else []
                yield number, _Line(_response(data), row_truth, _video(data), cost, texts)
            except DataError as error:
                yield number, Problem("not an answer", str(error), line=number)


def _response(data: dict[str, Any]) -> str:
    """The text that the model wrote; an empty text, which counts 0, where the file has none."""
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
