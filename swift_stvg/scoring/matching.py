"""The predictions of one system, matched to the ground truth and scored sample by sample."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from swift_stvg.errors import DataError
from swift_stvg.geometry import FloatArray
from swift_stvg.records import Tube
from swift_stvg.rewards.functions import REWARDS, boxes_siou, boxes_viou, temporal_reward
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.ground_truth import GroundTruth
from swift_stvg.scoring.metrics import BoolArray
from swift_stvg.scoring.predictions import Predictions
from swift_stvg.scoring.problems import COUNT_ZERO, MISSING, NO_ROW, Problem
from swift_stvg.scoring.protocols import PROTOCOLS, Scores, evaluate

NATIVE = "native"
ALL_PROTOCOLS = {
    NATIVE: "The grid of the frames that the model saw, both ends included; answers only.",
    **{name: " ".join(str(score.__doc__).split()) for name, score in PROTOCOLS.items()},
}
"""What `--protocol` takes, with a sentence or two on each."""


class Scored:
    """One system's predictions matched to the ground truth.

    Args:
        system: the predictions.
        truth: the ground truth.
        partial: whether inconsistent answers with a readable span are scored by what can be read of them, not 0.
        interpolate: as in `protocols.evaluate`.

    Attributes:
        problems: everything that was set aside or counts 0, with the reason.
        matched: numbers of the predictions that are scored, and of their samples, (S,) each.
        interpolate: as given.

    Raises:
        DataError: none of its ids belongs to the ground truth.
    """

    def __init__(
        self, system: Predictions, truth: GroundTruth, *, partial: bool = False, interpolate: bool = True
    ) -> None:
        self.system = system
        self.problems = list(system.set_aside)
        self._truth = truth
        self.interpolate = interpolate
        self._made: dict[str, list[Tube | None]] = {}
        place = {key: i for i, key in enumerate(truth.keys)}
        keys = system.keys(truth.keys[0][0])
        unexplained = set(place) - {(p.subset, p.id) for p in system.set_aside if p.reason == NO_ROW}
        rows, samples = [], []
        for row, key in enumerate(keys):
            i = place.get(key)
            unexplained.discard(key)
            if i is None:
                fault: tuple[str, str] | None = ("unknown id", f"not in {truth.name or 'the ground truth'}")
            else:
                fault = system.fault(row, partial)
                if fault is None and truth.samples is not None:
                    fault = system.mismatch(row, truth.samples[i])
            if fault is None and i is not None:
                rows.append(row)
                samples.append(i)
            elif fault is not None:
                self.problems.append(Problem(*fault, *key, system.line(row), system.response(row)))
        if not any(key in place for key in keys):
            raise DataError(
                f"none of the {len(keys)} ids of {system.name} is in {truth.name}; the first is {' '.join(keys[0])}, "
                f"{truth.name} has {' '.join(truth.keys[0])}"
            )
        self.problems += [Problem(MISSING, "no prediction", *key) for key in truth.keys if key in unexplained]
        self.matched = np.array(rows, dtype=np.int64), np.array(samples, dtype=np.int64)

    @property
    def name(self) -> str:
        """The name of the system."""
        return self.system.name

    @property
    def boxes(self) -> bool:
        """Whether the ground truth has any boxes."""
        return bool(self.with_boxes.any())

    @property
    def with_boxes(self) -> BoolArray:
        """(N,) which samples of the ground truth have boxes."""
        return self._truth.with_boxes

    @property
    def counts(self) -> dict[str, int]:
        """How many samples there are, how many are scored, and how many answers the file holds in which form."""
        counts = {"samples": len(self._truth), "scored": len(self.matched[0])}
        if isinstance(self.system, AnswerFile):
            counts |= {"answers": len(self.system.batch), "well_formed": int(sum(self.system.batch.valid))}
        return counts

    @property
    def reasons(self) -> dict[str, dict[str, Any]]:
        """Why the others are not scored: how many for each reason, an example, and the ids that are missing."""
        examples = {problem.reason: str(problem) for problem in reversed(self.problems)}
        numbers = Counter(problem.reason for problem in self.problems).most_common()
        found: dict[str, dict[str, Any]] = {
            r: {"count": n, "counts_zero": r in COUNT_ZERO, "example": examples[r]} for r, n in numbers
        }
        if MISSING in found:
            found[MISSING]["ids"] = [problem.id for problem in self.problems if problem.reason == MISSING]
        return found

    def failures(self) -> str:
        """Every problem as a line of JSON."""
        lines = (json.dumps({"system": self.name} | asdict(p), ensure_ascii=False) for p in self.problems)
        return "".join(line + "\n" for line in lines)

    def scores(self, protocol: str, part: str = "pred") -> Scores:
        """Scores (N,) of the final or the think boxes under a protocol; 0 for what is not scored."""
        if protocol != NATIVE:
            if self._truth.samples is None:
                raise ValueError(f"{protocol} needs samples")
            return evaluate(self._truth.samples, self.tubes(part), protocol, interpolate=self.interpolate)
        if not isinstance(self.system, AnswerFile):
            raise ValueError(f"{protocol} needs answers")
        batch = self.system.batch
        terms = batch.pred_terms if part == "pred" else batch.think_terms
        return Scores(
            *(self._spread(v) for v in (temporal_reward(batch), boxes_viou(batch, terms), boxes_siou(batch, terms)))
        )

    def tubes(self, part: str) -> list[Tube | None]:
        """A tube, or None, for each sample; made once for all protocols.

        Raises:
            ValueError: only the rows of the samples are known.
        """
        samples = self._truth.samples
        if samples is None:
            raise ValueError("tubes need samples")
        if part not in self._made:
            tubes: list[Tube | None] = [None] * len(samples)
            for row, i in zip(*(numbers.tolist() for numbers in self.matched), strict=True):
                tubes[i] = self.system.tube(row, samples[i], part)
            self._made[part] = tubes
        return self._made[part]

    def thinking(self) -> BoolArray:
        """(N,) which samples have an answer whose think boxes, too, are one for each index of the span."""
        if not isinstance(self.system, AnswerFile):
            return np.zeros(len(self._truth), dtype=bool)
        answers = self.system.batch.answers
        covers = [a.think is not None and a.span is not None and a.think.covers(a.span) for a in answers]
        return self._spread(np.array(covers, dtype=np.float64)) > 0

    def think_reward(self) -> FloatArray:
        """(N,) R_k of each sample's answer, 0 where nothing is scored."""
        if not isinstance(self.system, AnswerFile):
            return np.zeros(len(self._truth))
        return self._spread(REWARDS["stvg_think"](self.system.batch))

    def _spread(self, values: FloatArray) -> FloatArray:
        """Values (B,) of the predictions as values (N,) of the samples."""
        spread = np.zeros(len(self._truth))
        spread[self.matched[1]] = values[self.matched[0]]
        return spread
