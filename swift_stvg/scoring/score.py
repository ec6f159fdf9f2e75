"""The report on predictions: protocols, breakdowns, comparisons with intervals, and the answers that count 0.

The report is a dictionary that can be written as JSON. `report.text.score` renders it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.answers.format import AnswerFormat
from swift_stvg.errors import DataError
from swift_stvg.geometry import THRESHOLDS, FloatArray, IntArray
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.ground_truth import GroundTruth, different_settings
from swift_stvg.scoring.matching import ALL_PROTOCOLS, NATIVE, Scored
from swift_stvg.scoring.metrics import RESAMPLES, BoolArray, about_boxes, means_with_intervals, per_sample
from swift_stvg.scoring.predictions import Predictions

REPORT_SCHEMA = 1


def score(
    systems: Sequence[Predictions],
    truth: GroundTruth,
    *,
    protocols: Sequence[str] = (),
    by: Sequence[str] = ("query",),
    thresholds: Sequence[float] = THRESHOLDS,
    partial: bool = False,
    interpolate: bool = True,
) -> tuple[dict[str, Any], list[Scored]]:
    """Score systems against one ground truth.

    Args:
        systems: what to score; the later ones are compared with the first.
        truth: the ground truth.
        protocols: names of `ALL_PROTOCOLS`; those that apply by default.
        by: facets to break figures down by.
        thresholds: R of tIoU@R and vIoU@R.
        partial, interpolate: as in `Scored`.

    Returns:
        The report as JSON data, and the scored predictions of each system.

    Raises:
        DataError: no protocol applies, or no id of a file belongs to the ground truth.
    """
    scored = [Scored(system, truth, partial=partial, interpolate=interpolate) for system in systems]
    reasons = {name: _why_not(name, systems, truth) for name in protocols or _usual(truth)}
    applicable = [name for name, reason in reasons.items() if reason is None]
    inapplicable = {name: reason for name, reason in reasons.items() if reason is not None}
    if not applicable:
        raise DataError("; ".join(f"{name} cannot apply: {reason}" for name, reason in inapplicable.items()))
    groups = np.unique(truth.videos, return_inverse=True)[1]
    facets = [(name, truth.facet(name)) for name in by]
    report = {
        "schema": REPORT_SCHEMA,
        "swift_stvg": __version__,
        "ground_truth": {
            "from": truth.name or "the rows of the result files",
            "splits": truth.splits,
            "samples": len(truth),
            "videos": int(groups.max()) + 1,
            "queries": dict(Counter(truth.query)),
            "excluded": counted(truth.excluded),
            "notes": counted(truth.notes),
        },
        "how": {
            "intervals": f"95% percentile bootstrap, {RESAMPLES} resamples of the videos, paired in differences",
            "inconsistent answers": "scored by what can be read of them" if partial else "count 0",
            "frames of a span without a box": "interpolated linearly" if interpolate else "count 0",
        },
        "systems": [_system_report(s, groups) for s in scored],
        "not_applicable": inapplicable,
        "tables": [
            {
                "protocol": name,
                "description": ALL_PROTOCOLS[name],
                "rows": _with_intervals(_rows(name, scored, facets, thresholds), groups, truth.with_boxes),
            }
            for name in applicable
        ],
    }
    return report, scored


def _usual(truth: GroundTruth) -> list[str]:
    """The protocols that tables about such data follow, and the native grid."""
    if truth.samples is None:
        return [NATIVE]
    quirks = {"tubedetr_as_shipped"} if truth.samples[0].one_based else {"tubedetr_as_shipped", "hcstvg_official"}
    return [name for name in ALL_PROTOCOLS if name not in quirks]


def _why_not(protocol: str, systems: Sequence[Predictions], truth: GroundTruth) -> str | None:
    """Why a protocol cannot apply; None if it can."""
    if protocol not in ALL_PROTOCOLS:
        raise DataError(f"unknown protocol {protocol!r}; the protocols are: {', '.join(ALL_PROTOCOLS)}")
    if protocol != NATIVE:
        return None if truth.samples is not None else "it needs the annotation of every frame: give --dataset"
    for system in systems:
        if not isinstance(system, AnswerFile):
            return f"{system.name} holds tubes, not answers on the sampled grid"
        first = systems[0]
        different = isinstance(first, AnswerFile) and different_settings(first, system)
        if different:
            return f"{first.name} and {system.name} are on different grids ({different})"
    return None


def _system_report(scored: Scored, groups: IntArray) -> dict[str, Any]:
    """The report on a system beside its metrics."""
    system = scored.system
    facts: dict[str, Any] = {"name": scored.name, "file": system.path, "counts": scored.counts}
    facts |= {"reasons": scored.reasons, "warnings": system.warnings}
    if isinstance(system, AnswerFile):
        facts["settings"] = system.settings.to_texts()
        if AnswerFormat.of(system.settings).think:
            reward = scored.think_reward()
            facts["think_reward"] = means_with_intervals(reward[:, None], np.ones((len(reward), 1)), groups)[0]
    return facts


_Row = tuple[dict[str, Any], dict[str, FloatArray], BoolArray]


def _rows(
    protocol: str,
    systems: Sequence[Scored],
    facets: Sequence[tuple[str, list[tuple[str, BoolArray]]]],
    thresholds: Sequence[float],
) -> list[_Row]:
    """(labels, metrics (N,) each, members (N,)) of each row of a table."""
    by = [name for name, _ in facets]
    groups = [(name, label, members) for name, parts in facets if len(parts) > 1 for label, members in parts]
    rows: list[_Row] = []

    def add(metrics: dict[str, FloatArray], members: BoolArray, wanted: Sequence[str], **labels: str) -> None:
        rows.append((labels, metrics, members))
        for name, label, in_group in groups:
            if name in wanted and (members & in_group).any():
                rows.append((labels | {"by": name, "group": label}, metrics, members & in_group))

    def metrics_of(system: Scored, part: str) -> dict[str, FloatArray]:
        scores = system.scores(protocol, part)
        viou, siou = (scores.viou, scores.siou) if system.boxes else (None, None)
        return per_sample(scores.tiou, viou, siou, thresholds)

    final = [metrics_of(system, "pred") for system in systems]
    everything = np.ones(len(final[0]["m_tIoU"]), dtype=bool)
    for system, metrics in zip(systems, final, strict=True):
        add(metrics, everything, by, system=system.name, part="pred")
    for system, metrics in zip(systems, final, strict=True):
        members = system.thinking()
        if members.any():
            think = metrics_of(system, "think")
            area = [name for name in by if name == "area"]
            add(think, members, area, system=system.name, part="think")
            add(_minus(metrics, think), members, area, system=system.name, part="pred - think")
    for system, metrics in zip(systems[1:], final[1:], strict=True):
        add(_minus(metrics, final[0]), everything, by, system=system.name, part="pred", minus=systems[0].name)
    return rows


def _minus(metrics: dict[str, FloatArray], others: dict[str, FloatArray]) -> dict[str, FloatArray]:
    return {name: metrics[name] - others[name] for name in metrics}


def _with_intervals(rows: list[_Row], groups: IntArray, with_boxes: BoolArray) -> list[dict[str, Any]]:
    """The rows of a table as JSON data, each metric with the ends of its interval, None where there is none."""
    values = np.stack([column for _, metrics, _ in rows for column in metrics.values()], axis=1)
    members = np.stack(
        [mask & with_boxes if about_boxes(name) else mask for _, metrics, mask in rows for name in metrics], axis=1
    )
    figures = iter(means_with_intervals(values, members, groups))
    return [
        labels | {"samples": int(mask.sum()), "metrics": {name: next(figures) for name in metrics}}
        for labels, metrics, mask in rows
    ]


def counted(found: Mapping[str, tuple[int, str]]) -> dict[str, dict[str, Any]]:
    """Counts with an example of each, as a report holds them."""
    return {reason: {"count": n, "example": example} for reason, (n, example) in found.items()}
