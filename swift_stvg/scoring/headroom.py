"""An estimate of what GRPO can gain from a model, before training: its sampled answers against its greedy answers.

GRPO makes the better answers of a group more likely and the worse answers less likely. It can improve the model where
samples beat the greedy answer. Where samples are only worse, training removes errors that greedy decoding never makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from swift_stvg.errors import DataError
from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import REWARDS, check_rewards, tiou, total, usual_weights, viou
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.metrics import means_with_intervals
from swift_stvg.scoring.vote import RULES, vote
from swift_stvg.util import validation
from swift_stvg.util.json_reading import PARSE_ERRORS, json_text

MARGIN = 0.05
"""A sample counts as better if its reward exceeds that of the greedy answer by more than this."""

Column: TypeAlias = tuple[FloatArray, FloatArray]
"""Values (N,) and weights (N,) of the rows in their mean."""


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Answers of one model to N rows.

    Attributes:
        row_truths: (N,) the truths of the rows.
        videos: (N,) video of each row, the unit of resampling.
        greedy: (N,) the answers of greedy decoding.
        samples: (N,) with n >= 2 sampled answers each.

    Raises:
        DataError: there is no row, or a row has another number of samples than the others.
        RecordError: lengths differ.
    """

    row_truths: Sequence[RowTruth]
    videos: Sequence[str]
    greedy: Sequence[str]
    samples: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        counts = {len(texts) for texts in self.samples}
        if len(counts) != 1 or min(counts) < 2:
            raise DataError(f"every row needs the same number of samples, at least 2, got {sorted(counts) or 'no row'}")
        columns = {name: getattr(self, name) for name in ("row_truths", "videos", "greedy", "samples")}
        validation.same_length("row", "", **columns)

    def to_lines(self) -> str:
        """One line of JSON for each row, for `read`."""
        rows = zip(self.row_truths, self.videos, self.greedy, self.samples, strict=True)
        return "".join(
            json.dumps({"stvg": row_truth.to_json(), "video": video, "greedy": greedy, "samples": list(samples)}) + "\n"
            for row_truth, video, greedy, samples in rows
        )

    @classmethod
    def read(cls, path: Path) -> Sampled:
        """Read the lines of `to_lines`.

        Raises:
            DataError: the file cannot be read, or has another line.
        """
        rows = []
        for number, line in enumerate(_lines(path), start=1):
            try:
                row = json.loads(line)
                rows.append(
                    (RowTruth.from_json(row["stvg"]), json_text(row["video"]), json_text(row["greedy"]), row["samples"])
                )
                if not isinstance(row["samples"], list):
                    raise TypeError("`samples` must be a list")
                for sample in row["samples"]:
                    json_text(sample)
            except PARSE_ERRORS as error:
                raise DataError(f"line {number} of {path} was not written by headroom: {error!r:.300}") from None
        return cls(*zip(*rows, strict=True)) if rows else cls((), (), (), ())


def measure(sampled: Sampled, weights: Mapping[str, float] | None = None, margin: float = MARGIN) -> dict[str, Any]:
    """Everything `swift-stvg headroom` reports, as a dictionary that can be written as JSON.

    Args:
        sampled: the answers.
        weights: weight of each reward in the total; the paper's if None, without the think reward for rows whose format
            has no think boxes.
        margin: of the share of samples that beat the greedy answer.

    Returns:
        rows, videos, samples (a row), weights, margin, and figures: section, line, column to [mean, low, high]; the
        ends of the 95% interval are None where one video is all there is, all three where nothing can be measured.

    Raises:
        DataError: a weight names no reward.
    """
    if weights is None:
        weights = usual_weights(sampled.row_truths)
    check_rewards(weights)
    n = len(sampled.samples[0])
    greedy = Batch(sampled.greedy, sampled.row_truths)
    samples = Batch(
        [text for texts in sampled.samples for text in texts], [c for c in sampled.row_truths for _ in range(n)]
    )
    sections = {
        "gain": _gain(greedy, samples, weights, margin),
        "variance within groups": _variance(samples, weights, len(greedy)),
        "validity": _validity(greedy, samples),
        "bias": _bias(greedy, samples),
    }
    return {
        "rows": len(greedy),
        "videos": len(set(sampled.videos)),
        "samples": n,
        "weights": dict(weights),
        "margin": margin,
        "figures": _with_intervals(sections, sampled.videos),
    }


def _mean(values: FloatArray) -> Column:
    return values, np.ones(len(values))


def _gain(greedy: Batch, samples: Batch, weights: Mapping[str, float], margin: float) -> dict[str, dict[str, Column]]:
    n_rows = len(greedy)
    reward, sampled = total(greedy, weights), total(samples, weights).reshape(n_rows, -1)  # (N,), (N, n)
    best = sampled.argmax(axis=1)
    lines = {
        "share of samples": {
            "better than greedy": _mean((sampled > reward[:, None] + margin).mean(axis=1)),
            "worse than greedy": _mean((sampled < reward[:, None] - margin).mean(axis=1)),
        }
    }
    every = np.ones(n_rows)
    voted = {rule: _voted(samples, n_rows, rule) for rule in RULES}
    with_boxes = np.array([row_truth.format.boxes for row_truth in greedy.row_truths], dtype=np.float64)
    figures: dict[str, tuple[Callable[[Batch], FloatArray], FloatArray]] = {
        "reward": (lambda b: total(b, weights), every),
        "m_tIoU": (tiou, every),
        **({"m_vIoU": (viou, with_boxes)} if with_boxes.any() else {}),
    }
    for name, (compute, counted) in figures.items():
        one, many = compute(greedy), compute(samples).reshape(n_rows, -1)
        top = many[np.arange(n_rows), best]
        columns = {"greedy": one, "samples": many.mean(axis=1), "best sample": top, "best - greedy": top - one}
        columns |= {f"{rule} - greedy": compute(batch) - one for rule, batch in voted.items()}
        lines[name] = {column: (values, counted) for column, values in columns.items()}
    return lines


def _voted(samples: Batch, n_rows: int, rule: str) -> Batch:
    """The joined answer to each row."""
    n = len(samples) // n_rows
    row_truths = samples.row_truths[::n]
    texts = [vote(samples.completions[i * n : (i + 1) * n], c, rule) for i, c in enumerate(row_truths)]
    return Batch(texts, row_truths)


def _variance(samples: Batch, weights: Mapping[str, float], n_rows: int) -> dict[str, dict[str, Column]]:
    sampled = total(samples, weights).reshape(n_rows, -1)
    centred = sampled - sampled.mean(axis=1, keepdims=True)  # (N, n)
    variance = (centred**2).mean(axis=1)  # (N,)
    lines = {
        "total": {"variance": _mean(variance), "share of groups without": _mean((np.ptp(sampled, axis=1) < 1e-9) * 1.0)}
    }
    for name, weight in weights.items():
        part = weight * REWARDS[name](samples).reshape(n_rows, -1)
        own = part - part.mean(axis=1, keepdims=True)
        shared = (own * centred).mean(axis=1)  # covariance with the total: these add up to the total's variance
        lines[name] = {
            "variance": _mean((own**2).mean(axis=1)),
            "share of groups without": _mean((np.ptp(part, axis=1) < 1e-9) * 1.0),
            "share of the total": (np.divide(shared, variance, out=np.zeros(n_rows), where=variance > 0), variance),
        }
    return lines


def _validity(greedy: Batch, samples: Batch) -> dict[str, dict[str, Column]]:
    def both(measure_batch: Any) -> dict[str, Column]:
        return {
            "greedy": _mean(measure_batch(greedy)),
            "samples": _mean(measure_batch(samples).reshape(len(greedy), -1).mean(axis=1)),
        }

    return {
        "well-formed": both(REWARDS["stvg_format"]),
        "scored": both(lambda batch: batch.complete.astype(np.float64)),
    }


def _bias(greedy: Batch, samples: Batch) -> dict[str, dict[str, Column]]:
    one, many = _deviations(greedy), _deviations(samples)
    lines: dict[str, dict[str, Column]] = {}
    for name, (values, counts) in one.items():
        theirs, their_counts = (part.reshape(len(greedy), -1) for part in many[name])
        number = their_counts.sum(axis=1)
        mean = np.divide((theirs * their_counts).sum(axis=1), number, out=np.zeros(len(greedy)), where=number > 0)
        lines[name] = {"greedy": (values, counts), "samples": (mean, number)}
    return lines


def _deviations(batch: Batch) -> dict[str, Column]:
    """How answers deviate from the truth, (B,) each, with weight 1 where it can be seen and 0 where not."""
    spans = np.array([(0, -1) if a.span is None else a.span for a in batch.answers], dtype=np.float64)  # (B, 2)
    readable = (spans[:, 0] <= spans[:, 1]).astype(np.float64)
    # one answer with an index of millions must not make the mean
    spans = np.minimum(spans, np.array([[c.timeline.size - 1] for c in batch.row_truths]))
    true = np.array([c.span for c in batch.row_truths], dtype=np.float64)  # (B, 2)
    lengths, true_lengths = (ends[:, 1] - ends[:, 0] + 1 for ends in (spans, true))
    seconds = np.array([c.timeline.step_s for c in batch.row_truths])
    found: dict[str, Column] = {
        "span: start, s late": ((spans[:, 0] - true[:, 0]) * seconds, readable),
        "span: end, s late": ((spans[:, 1] - true[:, 1]) * seconds, readable),
        "span: length, share too long": (lengths / true_lengths - 1, readable),
    }
    pairs = batch.pairs([answer.pred for answer in batch.answers])
    owner = pairs.owner[pairs.usable]
    boxes, truth = pairs.boxes_xyxy[pairs.usable], pairs.true_xyxy[pairs.usable]  # (K, 4) each
    sides, true_sides = (b[:, 2:] - b[:, :2] for b in (boxes, truth))  # (K, 2)
    shift = (boxes[:, :2] + boxes[:, 2:] - truth[:, :2] - truth[:, 2:]) / 2 / true_sides  # (K, 2)
    number = np.bincount(owner, minlength=len(batch))
    for name, values in {
        "boxes: share too wide": sides[:, 0] / true_sides[:, 0] - 1,
        "boxes: share too high": sides[:, 1] / true_sides[:, 1] - 1,
        "boxes: shift right, of the width": shift[:, 0],
        "boxes: shift down, of the height": shift[:, 1],
    }.items():
        total = np.bincount(owner, weights=values, minlength=len(batch))
        found[name] = (total / np.maximum(number, 1), (number > 0).astype(np.float64))
    return found


def _with_intervals(
    sections: Mapping[str, Mapping[str, Mapping[str, Column]]], videos: Sequence[str]
) -> dict[str, dict[str, dict[str, list[float | None]]]]:
    columns = [c for lines in sections.values() for line in lines.values() for c in line.values()]
    values, weights = (np.stack([column[i] for column in columns], axis=1) for i in (0, 1))  # (N, M) each
    groups: IntArray = np.unique(np.array(videos), return_inverse=True)[1].astype(np.int64)
    each = iter(means_with_intervals(values, weights, groups))
    return {
        section: {line: {column: next(each) for column in found} for line, found in lines.items()}
        for section, lines in sections.items()
    }


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
