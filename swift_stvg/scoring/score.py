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
from swift_stvg.geometry import THRESHOLDS, IntArray
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.diagnoses import Diagnoses
from swift_stvg.scoring.ground_truth import GroundTruth, different_settings
from swift_stvg.scoring.matching import ALL_PROTOCOLS, NATIVE, Scored
from swift_stvg.scoring.metrics import RESAMPLES, about_boxes, means_with_intervals, per_sample
from swift_stvg.scoring.predictions import Predictions
from swift_stvg.scoring.protocols import AT_LEAST
from swift_stvg.scoring.tables import (
    REPORT_SCHEMA,
    Facet,
    Metrics,
    Row,
    difference_rows,
    minus,
    rows_of,
    with_intervals,
)


def score(
    systems: Sequence[Predictions],
    truth: GroundTruth,
    *,
    protocols: Sequence[str] = (),
    by: Sequence[str] = ("query",),
    thresholds: Sequence[float] = THRESHOLDS,
    partial: bool = False,
    interpolate: bool = True,
    diagnose: bool = False,
) -> tuple[dict[str, Any], list[Scored]]:
    """Score systems against one ground truth.

    Args:
        systems: what to score; the later ones are compared with the first.
        truth: the ground truth.
        protocols: names of `ALL_PROTOCOLS`; by default all protocols that apply.
        by: facets to break figures down by.
        thresholds: R of tIoU@R and vIoU@R.
        partial, interpolate: as in `Scored`.
        diagnose: whether the report holds the diagnoses of each system and of each sample (`diagnoses.Diagnoses`).

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
    report: dict[str, Any] = {
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
                "rows": with_intervals(_rows(name, scored, facets, thresholds), groups),
            }
            for name in applicable
        ],
    }
    if diagnose:
        report["diagnoses"] = [_diagnosis(system, truth) for system in scored]
    return report, scored


def _diagnosis(scored: Scored, truth: GroundTruth) -> dict[str, Any]:
    found = Diagnoses.of(scored, truth)
    samples = [{"subset": subset, "id": name} | found.sample(i) for i, (subset, name) in enumerate(truth.keys)]
    return {"system": scored.name} | found.summary() | {"samples": samples}


def _usual(truth: GroundTruth) -> list[str]:
    """The protocols that tables about such data follow, and the native grid."""
    if truth.samples is None:
        return [NATIVE]
    others = {"tubedetr_as_shipped", "ptd"} | (set() if truth.samples[0].one_based else {"hcstvg_official"})
    return [name for name in ALL_PROTOCOLS if name not in others]


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
        facts |= {"settings": system.settings.to_texts(), "read_as": system.read_as}
        if cost := system.cost.figures():
            facts["cost"] = cost
        if AnswerFormat.of(system.settings).think:
            reward = scored.think_reward()
            facts["think_reward"] = means_with_intervals(reward[:, None], np.ones((len(reward), 1)), groups)[0]
    return facts


def _rows(protocol: str, systems: Sequence[Scored], facets: Sequence[Facet], thresholds: Sequence[float]) -> list[Row]:
    """The rows of a protocol's table: final boxes, think boxes and the gain, and differences from the first system."""

    def metrics_of(system: Scored, part: str) -> Metrics:
        scores = system.scores(protocol, part)
        viou, siou = (scores.viou, scores.siou) if system.boxes else (None, None)
        found = per_sample(scores.tiou, viou, siou, thresholds, at_least=protocol in AT_LEAST)
        return {
            name: np.where(system.with_boxes, values, np.nan) if about_boxes(name) else values
            for name, values in found.items()
        }

    final = [(system.name, metrics_of(system, "pred")) for system in systems]
    everything = np.ones(len(final[0][1]["m_tIoU"]), dtype=bool)
    rows: list[Row] = []
    for name, metrics in final:
        rows += rows_of(metrics, everything, facets, system=name, part="pred")
    area = [facet for facet in facets if facet[0] == "area"]
    for system, (name, metrics) in zip(systems, final, strict=True):
        members = system.thinking()
        if members.any():
            think = metrics_of(system, "think")
            rows += rows_of(think, members, area, system=name, part="think")
            rows += rows_of(minus(metrics, think), members, area, system=name, part="pred - think")
    return rows + difference_rows(final, facets)


def counted(found: Mapping[str, tuple[int, str]]) -> dict[str, dict[str, Any]]:
    """Counts with an example of each, as a report holds them."""
    return {reason: {"count": n, "example": example} for reason, (n, example) in found.items()}
