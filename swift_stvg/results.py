"""Predictions as they are found: result files of `swift infer`, files of tubes, and the ground truth as an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swift_stvg.errors import DataError, RowError, VideoError
from swift_stvg.records import Sample, VideoInfo
from swift_stvg.rewards import Batch
from swift_stvg.rows import Contract, event_on_grid, make_contract
from swift_stvg.settings import PREFIX, Settings
from swift_stvg.tubes import Tube, answer_tube, read_tubes

Key = tuple[str, str]
"""Dataset and id: what one ground-truth sample is known by."""
NO_LINE = 0
MISSING, NO_ROW, OTHER_ANNOTATION = "missing", "no row", "other annotation"
COUNT_ZERO = frozenset({MISSING, "unparsable", "inconsistent", NO_ROW, OTHER_ANNOTATION})
"""Reasons for which a sample counts 0; for others, something of a file is set aside that belongs to no sample."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that was not scored, or counts 0.

    Attributes:
        reason: short fixed phrase, under which it is counted.
        detail: what was seen.
        id: of the sample, where known.
        line: of the file, from 1; 0 where there is none.
        response: what the model wrote.
    """

    reason: str
    detail: str
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
class Tubes:
    """Predictions of a file of tubes.

    Attributes:
        name: path of the file.
        ids: (B,) all that the file holds.
        tubes: by id.
        faults: why an entry makes no tube, by id.
        set_aside: what was found that belongs to no sample.
    """

    name: str
    ids: list[str]
    tubes: dict[str, Tube]
    faults: dict[str, tuple[str, str]]
    set_aside: list[Problem] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Tubes:
        """Read a file; see `tubes.read_tubes`."""
        tubes, faults, repeated = read_tubes(path)
        again = [
            Problem("repeated", f"the key {name!r} stands there again; the last value counts") for name in repeated
        ]
        return cls(str(path), [*tubes, *faults], tubes, faults, again)

    def keys(self, dataset: str) -> list[Key]:
        """(B,) of the predictions, which are for samples of `dataset`."""
        return [(dataset, name) for name in self.ids]

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
class Answers:
    """Completions with the contracts of their rows, as `swift infer` writes them.

    Attributes:
        name: path of the file.
        batch: the answers.
        responses: (B,) what was written.
        lines: (B,) line of each in the file.
        videos: (B,) path of each row's video.
        set_aside: what was found that cannot be scored.
    """

    name: str
    batch: Batch
    responses: list[str]
    lines: list[int]
    videos: list[str]
    set_aside: list[Problem] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Answers:
        """Read a result file.

        Raises:
            DataError: the file is missing, holds no answer, or answers to rows that were made with different settings.
        """
        problems: list[Problem] = []
        rows: list[tuple[int, Contract, str, str]] = []
        seen: dict[Key, int] = {}
        for line, found in _lines(path):
            if isinstance(found, Problem):
                problems.append(found)
                continue
            response, contract, video = found
            first = seen.setdefault((contract.dataset, contract.id), line)
            if first != line:
                problems.append(Problem("repeated", f"stands in line {first} already, which counts", contract.id, line))
                continue
            if rows:
                _same_settings(path, rows[0], (line, contract))
            rows.append((line, contract, response, video))
        if not rows:
            examples = "".join(f"; {problem}" for problem in problems[:3])
            raise DataError(
                f"{path} holds no answer with its row's `stvg` column, as `swift infer` writes them{examples}"
            )
        responses = [response for _, _, response, _ in rows]
        return cls(
            name=str(path),
            batch=Batch(responses, [contract for _, contract, _, _ in rows]),
            responses=responses,
            lines=[line for line, _, _, _ in rows],
            videos=[video for _, _, _, video in rows],
            set_aside=problems,
        )

    @classmethod
    def oracle(cls, samples: Sequence[Sample], settings: Settings) -> Answers:
        """The exact answer to each sample, on the nominal timeline of its annotation.

        Raises:
            DataError: none of the samples can be asked.
        """
        contracts, problems = [], []
        for sample in samples:
            try:
                contracts.append(make_contract(sample, VideoInfo.nominal(sample), settings))
            except (RowError, VideoError) as error:
                problems.append(Problem(NO_ROW, str(error), sample.id))
        if not contracts:
            raise DataError(f"no row can be made of the ground truth; {problems[0]}")
        responses = [c.format.render(c.answer) for c in contracts]
        name = f"oracle, index {settings.index_unit}"
        none = [NO_LINE] * len(contracts)
        return cls(name, Batch(responses, contracts), responses, none, [""] * len(contracts), problems)

    @property
    def settings(self) -> Settings:
        """Those that all rows were made with."""
        return self.batch.contracts[0].settings

    def keys(self, dataset: str) -> list[Key]:
        """(B,) of the answers, as their rows have them."""
        return [(contract.dataset, contract.id) for contract in self.batch.contracts]

    def fault(self, i: int, partial: bool) -> tuple[str, str] | None:
        """Why answer `i` counts 0; None if it is scored.

        Args:
            i: number of the answer.
            partial: whether an answer with a readable span is scored by what can be read of it.
        """
        fault = self.batch.faults[i]
        span = self.batch.answers[i].span
        if partial and fault is not None and span is not None:
            return None if span[0] <= span[1] and span[0] < self.batch.contracts[i].timeline.size else fault
        return fault

    def mismatch(self, i: int, sample: Sample) -> tuple[str, str] | None:
        """Why the row of answer `i` cannot have been made from this sample; None if it can."""
        contract = self.batch.contracts[i]
        inside, _ = event_on_grid(contract.annotated, sample.span_frames)
        span = (int(inside[0]), int(inside[-1]))
        if span == contract.span:
            return None
        return OTHER_ANNOTATION, f"its row has the event at {contract.span}, the annotation at {span}"

    def tube(self, i: int, sample: Sample, part: str) -> Tube:
        """What answer `i`, with its final or its think boxes, means on the frames of its sample."""
        answer = self.batch.answers[i]
        if answer.span is None:
            raise ValueError(f"answer {i} has no span")
        return answer_tube(
            answer.span, answer.pred if part == "pred" else answer.think, self.batch.contracts[i], sample
        )

    def line(self, i: int) -> int:
        """Line of the file."""
        return self.lines[i]

    def response(self, i: int) -> str | None:
        """What the model wrote."""
        return self.responses[i]


def read_predictions(path: Path) -> Answers | Tubes:
    """A file of predictions: `.jsonl` as `swift infer` writes it, `.json` with tubes.

    Raises:
        DataError: the file is missing or neither.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    if path.suffix == ".jsonl":
        return Answers.read(path)
    if path.suffix == ".json":
        return Tubes.read(path)
    raise DataError(f"{path} must be a .jsonl file of `swift infer` or a .json file of tubes")


def _lines(path: Path) -> Iterator[tuple[int, Problem | tuple[str, Contract, str]]]:
    """(line, what it holds) of a result file."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                data = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, Problem("unreadable line", f"no JSON, cut off? {error}", line=number)
                continue
            try:
                yield number, (_response(data), Contract.from_json(data["stvg"]), _video(data))
            except (KeyError, TypeError) as error:
                detail = f"no result of `swift infer` with its row's `stvg` column: {error!r}"
                yield number, Problem("not an answer", detail, line=number)
            except DataError as error:
                yield number, Problem("not an answer", str(error), line=number)


def _response(data: Any) -> str:
    response = data["response"]
    if not isinstance(response, str):
        raise TypeError(f"`response` is no text but {response!r:.60}")
    return response


def _video(data: Any) -> str:
    videos = data.get("videos")
    return str(videos[0]) if isinstance(videos, list) and videos else ""


def _same_settings(path: Path, first: tuple[int, Contract, str, str], other: tuple[int, Contract]) -> None:
    expected, found = first[1].settings.to_texts(), other[1].settings.to_texts()
    if expected != found:
        differing = [name for name in expected if expected[name] != found[name]]
        now, then = (", ".join(f"{PREFIX}{n.upper()}={texts[n]}" for n in differing) for texts in (found, expected))
        raise DataError(
            f"{path} mixes rows that were made with different settings: line {other[0]}, id {other[1].id}, with {now}; "
            f"line {first[0]} with {then}. Score them apart"
        )
