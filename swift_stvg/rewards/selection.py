"""Training rows from sampled answers: the best answers for SFT, pairs for DPO, labelled answers for KTO.

The rewards say which of a model's own answers to a row is better. Training on this choice needs no rollouts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.errors import DataError
from swift_stvg.geometry import FloatArray
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import BOX_REWARDS, REWARDS, check_rewards, usual_weights
from swift_stvg.rows.making import make_prompt
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.util import validation
from swift_stvg.util.json_reading import PARSE_ERRORS

PURPOSES = ("sft", "dpo", "kto")
"""Trainings that rows are made for. `dpo` rows also serve ORPO, CPO, SimPO and reward models."""
SELECTED_KEY = "stvg_selected"
"""The column that says how a row was chosen: the JSON of `Selected`."""
SELECTED_VERSION = 1
ASPECTS = {
    "form": ("stvg_format", "stvg_consistency"),
    "time": ("stvg_temporal", "stvg_tiou"),
    "place": tuple(sorted(BOX_REWARDS)),
}
"""The rewards by what they judge."""
ALIKE = 1e-9
"""Rewards that differ by no more than this are the same."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of the choice.

    Attributes:
        purpose: the training that the rows are for, one of `PURPOSES`.
        per_row: at most this many answers (sft), pairs (dpo) or pairs of labelled answers (kto) for each row.
        min_reward: least total reward of a chosen answer; None for any.
        min_difference: least difference of the total rewards within a pair; 0 for any difference. Not for sft.
        max_length_ratio: a chosen answer has at most this many times the characters of the rejected answer of its
            pair; for sft, of the median answer to its row. None for any length.
        truth: whether the exact answer is a candidate too.

    Raises:
        DataError: a value is impossible.
    """

    purpose: str
    per_row: int = 1
    min_reward: float | None = None
    min_difference: float = 0.0
    max_length_ratio: float | None = None
    truth: bool = False

    def __post_init__(self) -> None:
        if self.purpose not in PURPOSES:
            raise DataError(f"rows are made for one of {', '.join(PURPOSES)}, got {self.purpose!r}")
        if self.per_row < 1:
            raise DataError(f"at least 1 choice for each row is needed, got {self.per_row}")
        if self.min_reward is not None and not np.isfinite(self.min_reward):
            raise DataError(f"the least reward must be a finite number, got {self.min_reward}")
        if not (np.isfinite(self.min_difference) and self.min_difference >= 0):
            raise DataError(f"the least difference must be a finite number, at least 0, got {self.min_difference}")
        if self.max_length_ratio is not None and not (np.isfinite(self.max_length_ratio) and self.max_length_ratio > 0):
            raise DataError(f"the largest ratio of lengths must be a number above 0, got {self.max_length_ratio}")


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The answers of one model to one row.

    Attributes:
        row_truth: the truth of the row.
        video: path of its video.
        texts: the answers; an answer may be repeated.

    Raises:
        RecordError: a value has another type.
    """

    row_truth: RowTruth
    video: str
    texts: Sequence[str]

    def __post_init__(self) -> None:
        validation.all_instances("texts", self.texts, str)


@dataclass(frozen=True, slots=True)
class Selected:
    """How one training row was chosen; the row's column `stvg_selected` holds it as JSON.

    Attributes:
        purpose: the training that the row is for.
        weights: weights of the rewards.
        answers: number of different answers to the row.
        chosen: value of each reward for the answer in `messages`.
        rejected: the same for the other answer of the pair; None for sft.
        truth: whether the answer in `messages` is the exact answer, which `Rules.truth` allowed, and not the model's.

    Raises:
        DataError: a reward is unknown, or rewards and weights have different names.
    """

    purpose: str
    weights: Mapping[str, float]
    answers: int
    chosen: Mapping[str, float]
    rejected: Mapping[str, float] | None
    truth: bool

    def __post_init__(self) -> None:
        check_rewards(self.weights)
        for values in (self.chosen, self.rejected):
            if values is not None and set(values) != set(self.weights):
                raise DataError(
                    f"rewards and weights must have the same names, got {sorted(values)} and {sorted(self.weights)}"
                )

    @property
    def reward(self) -> float:
        """Total reward of the chosen answer."""
        return _weighted(self.chosen, self.weights)

    @property
    def difference(self) -> float | None:
        """Difference of the total rewards within the pair; None for sft."""
        return None if self.rejected is None else self.reward - _weighted(self.rejected, self.weights)

    @property
    def shares(self) -> dict[str, float]:
        """The parts of the difference that come from form, time and place. Empty for sft."""
        if self.rejected is None:
            return {}
        parts = {n: w * (self.chosen[n] - self.rejected[n]) for n, w in self.weights.items()}
        return {aspect: sum(parts.get(name, 0.0) for name in names) for aspect, names in ASPECTS.items()}

    @property
    def made_by(self) -> str | None:
        """The aspect that adds most to the difference; None for sft."""
        shares = self.shares
        return max(shares, key=lambda aspect: shares[aspect]) if shares else None

    def to_json(self) -> str:
        """One line of JSON; `from_json` reads it back."""
        return json.dumps(
            {
                "v": SELECTED_VERSION,
                "for": self.purpose,
                "weights": dict(self.weights),
                "answers": self.answers,
                "chosen": dict(self.chosen),
                "rejected": None if self.rejected is None else dict(self.rejected),
                "truth": self.truth,
            }
        )

    @staticmethod
    def from_json(text: object) -> Selected:
        """Read what `to_json` wrote.

        Raises:
            DataError: the text was not written by `to_json`, or by another version.
        """
        try:
            if not isinstance(text, str):
                raise TypeError(f"expected text, got {text!r:.60}")
            data = json.loads(text)
            if data["v"] != SELECTED_VERSION:
                raise DataError(
                    f"the column `{SELECTED_KEY}` has version {data['v']!r:.20}, but this package reads version "
                    f"{SELECTED_VERSION}: select the rows again"
                )
            if data["for"] not in PURPOSES or (data["rejected"] is None) != (data["for"] == "sft"):
                raise ValueError(f"rows for {data['for']!r:.20} with rejected {data['rejected']!r:.60}")
            rejected = data["rejected"]
            return Selected(
                purpose=data["for"],
                weights=_numbers(data["weights"]),
                answers=int(data["answers"]),
                chosen=_numbers(data["chosen"]),
                rejected=None if rejected is None else _numbers(rejected),
                truth=bool(data["truth"]),
            )
        except PARSE_ERRORS as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"the column `{SELECTED_KEY}` was not written by select: {error!r:.200}") from None


@dataclass(slots=True)
class Selection:
    """The outcome of `select`.

    Attributes:
        rows: ms-swift rows, in the order of the candidates.
        selected: how each row was chosen.
        skipped: number of rows without a choice, by reason, with the id of the first.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    selected: list[Selected] = field(default_factory=list)
    skipped: dict[str, tuple[int, str]] = field(default_factory=dict)

    def skip(self, reason: str, row_id: str) -> None:
        """Count a row without a choice."""
        count, first = self.skipped.get(reason, (0, row_id))
        self.skipped[reason] = (count + 1, first)


def select(groups: Sequence[Candidates], rules: Rules, weights: Mapping[str, float] | None = None) -> Selection:
    """Choose training rows from the answers to N rows.

    A chosen answer is well-formed. The best answers are chosen first. The rejected answer of a pair is the worst answer
    that is left; no answer is in two pairs of a row. A row for KTO holds one answer with `label`, so a pair makes two
    rows.

    Args:
        groups: (N,) the answers to each row.
        rules: the rules of the choice.
        weights: weight of each reward in the total; the paper's if None, without the rewards that do not apply.

    Raises:
        DataError: a weight names no reward.
    """
    if weights is None:
        weights = usual_weights([group.row_truth for group in groups])
    check_rewards(weights)
    found = Selection()
    for group in groups:
        _select_row(group, rules, weights, found)
    return found


def _select_row(group: Candidates, rules: Rules, weights: Mapping[str, float], found: Selection) -> None:
    row_truth = group.row_truth
    texts = list(dict.fromkeys(group.texts))
    own = set(texts)
    if rules.truth:
        texts = list(dict.fromkeys([*texts, row_truth.format.render(row_truth.answer)]))
    batch = Batch(texts, [row_truth] * len(texts))
    rewards = {name: REWARDS[name](batch) for name in weights}  # (B,) each
    totals: FloatArray = sum((w * rewards[name] for name, w in weights.items()), start=np.zeros(len(texts)))
    order = np.argsort(-totals, kind="stable").tolist()
    choice = _choose(texts, totals, [i for i in order if batch.valid[i]], order, rules)
    if isinstance(choice, str):
        found.skip(choice, row_truth.id)
        return
    prompt = make_prompt(row_truth, row_truth.sentence, Path(group.video)) | {"stvg": row_truth.to_json()}
    for best, worst in choice:
        how = Selected(
            purpose=rules.purpose,
            weights=dict(weights),
            answers=len(own),
            chosen={name: float(values[best]) for name, values in rewards.items()},
            rejected=None if worst is None else {name: float(values[worst]) for name, values in rewards.items()},
            truth=texts[best] not in own,
        )
        for row in _rows(prompt, texts[best], None if worst is None else texts[worst], rules.purpose):
            found.rows.append(row | {SELECTED_KEY: how.to_json()})
            found.selected.append(how)


def _choose(
    texts: Sequence[str], totals: FloatArray, well_formed: list[int], order: list[int], rules: Rules
) -> list[tuple[int, int | None]] | str:
    """Pairs (chosen, rejected) of numbers of answers, rejected is None for sft; or the reason if there is no pair.

    Args:
        texts: (B,) the answers.
        totals: (B,) their rewards.
        well_formed: numbers of the well-formed answers, the best first.
        order: numbers of all answers, the best first.
        rules: the rules of the choice.
    """
    if not well_formed:
        return "none well-formed"
    able = [i for i in well_formed if rules.min_reward is None or totals[i] >= rules.min_reward]
    if not able:
        return "below the least reward"
    limit = np.inf if rules.max_length_ratio is None else rules.max_length_ratio
    if rules.purpose == "sft":
        most = limit * float(np.median([len(text) for text in texts]))
        short = [i for i in able if len(texts[i]) <= most]
        return [(i, None) for i in short[: rules.per_row]] or "too long"
    if totals[order[0]] - totals[order[-1]] <= ALIKE:
        return "all alike"
    differing = [
        (best, [worst for worst in reversed(order) if totals[best] - totals[worst] >= max(rules.min_difference, ALIKE)])
        for best in able
    ]
    if not any(worse for _, worse in differing):
        return "difference too small"
    pairs: list[tuple[int, int | None]] = []
    used: set[int] = set()
    for best, worse in differing:
        free = (i for i in worse if i not in used and len(texts[best]) <= limit * len(texts[i]))
        if best not in used and len(pairs) < rules.per_row and (worst := next(free, None)) is not None:
            pairs.append((best, worst))
            used |= {best, worst}
    return pairs or "too long"


def _rows(prompt: dict[str, Any], chosen: str, rejected: str | None, purpose: str) -> list[dict[str, Any]]:
    """The rows of one choice, as ms-swift takes them."""

    def answered(text: str) -> dict[str, Any]:
        return prompt | {"messages": [*prompt["messages"], {"role": "assistant", "content": text}]}

    if rejected is None:
        return [answered(chosen)]
    if purpose == "dpo":
        return [answered(chosen) | {"rejected_response": rejected}]
    return [answered(chosen) | {"label": True}, answered(rejected) | {"label": False}]


def shares_of(selected: Sequence[Selected]) -> dict[str, float]:
    """Share of the pairs whose difference is made by form, time and place; empty without pairs."""
    counts = Counter(how.made_by for how in selected if how.made_by is not None)
    return {aspect: counts[aspect] / counts.total() for aspect in ASPECTS} if counts else {}


def _weighted(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return sum(weight * values[name] for name, weight in weights.items())


def _numbers(values: Any) -> dict[str, float]:
    found = {str(name): float(value) for name, value in values.items()}
    if not np.isfinite(list(found.values())).all():
        raise ValueError(f"expected finite numbers, got {values!r:.100}")
    return found
