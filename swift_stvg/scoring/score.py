"""Scoring predictions against a ground truth: protocols, breakdowns, comparisons, intervals, and what counted 0.

The result is a dictionary that can be written as JSON; `tables` renders it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from swift_stvg import __version__
from swift_stvg.answers.format import AnswerFormat
from swift_stvg.errors import DataError
from swift_stvg.geometry import THRESHOLDS, FloatArray, IntArray, box_areas, clip_boxes
from swift_stvg.records import Sample, Tube
from swift_stvg.rewards.functions import REWARDS, boxes_siou, boxes_viou, temporal_reward
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.metrics import RESAMPLES, about_boxes, means_with_intervals, per_sample
from swift_stvg.scoring.predictions import COUNT_ZERO, MISSING, NO_ROW, AnswerFile, Key, Problem, TubeFile, subset
from swift_stvg.scoring.protocols import PROTOCOLS, Scores, evaluate
from swift_stvg.sources.load_report import LoadReport
from swift_stvg.util import validation

REPORT_SCHEMA = 1
NATIVE = "native"
ALL_PROTOCOLS = {
    NATIVE: "The grid of the frames that the model saw, both ends included; answers only.",
    **{name: " ".join(str(score.__doc__).split()) for name, score in PROTOCOLS.items()},
}
"""What `--protocol` takes, with a sentence or two on each."""
FACETS = ("query", "area", "length", "category")
AREA_EDGES = (0.0, 0.01, 0.04, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81, 1.0)
"""Bins of box area over frame area, those of the paper's Fig. 4."""
LENGTH_EDGES_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, float("inf"))
"""Bins of event length in seconds."""
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """The samples to score against; they make the denominator.

    Attributes:
        name: dataset and subset; None if the rows of the result files are the ground truth.
        keys: (N,) subset and id of each sample.
        samples: (N,) the annotation; None if only the rows are known.
        row_truths: (N,) a row of each sample; None if only the annotation is known.
        videos: (N,) video of each sample, the unit of resampling.
        query, category: (N,) kind of the sentence and of the object.
        excluded: annotations that cannot be scored, by reason: how many, and an example.
        notes: deviations of the other annotations, in the same form.

    Raises:
        RecordError: there is no sample, lengths differ, a key is repeated, or neither samples nor rows are known.
    """

    name: str | None
    keys: list[Key]
    samples: list[Sample] | None
    row_truths: list[RowTruth] | None
    videos: list[str]
    query: list[str]
    category: list[str]
    excluded: Mapping[str, tuple[int, str]]
    notes: Mapping[str, tuple[int, str]]

    def __post_init__(self) -> None:
        known = [column for column in (self.samples, self.row_truths) if column is not None]
        if not known:
            validation.refuse("samples", "be known, or `row_truths`", "neither")
        validation.all_instances("samples", self.samples or (), Sample)
        validation.all_instances("row_truths", self.row_truths or (), RowTruth)
        columns = {name: getattr(self, name) for name in ("keys", "videos", "query", "category")}
        if validation.same_length("sample", "", **columns, known=known[0]) == 0:
            validation.refuse("keys", "hold at least one sample", "none")
        repeated = [key for key, count in Counter(self.keys).items() if count > 1]
        if repeated:
            validation.refuse("keys", "be different", f"{' '.join(repeated[0])} twice")

    @classmethod
    def of_samples(cls, name: str, samples: list[Sample], report: LoadReport) -> GroundTruth:
        """The annotations of a dataset's subset.

        Raises:
            DataError: there is none that can be scored.
        """
        if not samples:
            raise DataError(f"no annotation to score against. {report.summary()}")

        return cls(
            name=name,
            keys=[(subset(s.dataset, s.split), s.id) for s in samples],
            samples=samples,
            row_truths=None,
            videos=[str(s.video) for s in samples],
            query=[s.query for s in samples],
            category=[s.category or "unknown" for s in samples],
            excluded=report.dropped,
            notes=report.notes | _without_boxes(samples) | _without_area(samples),
        )

    @classmethod
    def of_rows(cls, systems: Sequence[AnswerFile]) -> GroundTruth:
        """The rows that at least one of the files answers.

        Raises:
            DataError: the files answer rows of different grids, or with different truths.
        """
        rows: dict[Key, tuple[str, RowTruth]] = {}
        for system in systems:
            different = _other_grid(systems[0], system)
            if different:
                raise DataError(
                    f"{systems[0].name} and {system.name} answer rows that were made with different settings "
                    f"({different}), so the sampled grid does not compare them: give --dataset and a protocol on the "
                    "annotation's frames"
                )
            for line, row_truth, video in zip(system.lines, system.batch.row_truths, system.videos, strict=True):
                key = (subset(row_truth.dataset, row_truth.split), row_truth.id)
                _, known = rows.setdefault(key, (video or row_truth.id, row_truth))
                if known.span != row_truth.span or not np.array_equal(known.boxes_xyxy, row_truth.boxes_xyxy):
                    raise DataError(
                        f"line {line} of {system.name}, id {row_truth.id}: its row holds another ground truth than the "
                        "same row in another file; were they made from different annotations? Score them apart"
                    )
        row_truths = [row_truth for _, row_truth in rows.values()]
        return cls(
            name=None,
            keys=list(rows),
            samples=None,
            row_truths=row_truths,
            videos=[video for video, _ in rows.values()],
            query=[c.query for c in row_truths],
            category=[c.category or "unknown" for c in row_truths],
            excluded={},
            notes={},
        )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def with_boxes(self) -> _Mask:
        """(N,) which samples have boxes, that vIoU and sIoU are means over."""
        if self.samples is not None:
            return np.array([not sample.time_only for sample in self.samples], dtype=bool)
        return np.array([row_truth.format.boxes for row_truth in self.row_truths or ()], dtype=bool)

    @property
    def splits(self) -> list[str]:
        """Dataset and subset of the samples, as a row names them."""
        known: Iterable[Sample | RowTruth] = self.samples or self.row_truths or ()
        return sorted({f"{s.dataset}:{s.split}" for s in known})

    def facet(self, name: str) -> list[tuple[str, _Mask]]:
        """(label, members (N,)) of each group of a facet that has any."""
        if name in ("query", "category"):
            kinds = np.array(self.query if name == "query" else self.category)
            return [(kind, kinds == kind) for kind, _ in Counter(kinds.tolist()).most_common()]
        edges, measure = (AREA_EDGES, box_area) if name == "area" else (LENGTH_EDGES_S, event_s)
        values = np.array([measure(sample) for sample in self.samples or self.row_truths or ()])
        bins = np.clip(np.digitize(values, edges) - 1, 0, len(edges) - 2)
        labels = bin_labels(edges, "" if name == "area" else " s")
        return [(label, bins == i) for i, label in enumerate(labels) if (bins == i).any()]


def bin_labels(edges: Sequence[float], unit: str = "") -> list[str]:
    """What the bins between edges are called in a report."""
    return [
        f"{low:g}{unit} and more" if np.isinf(high) else f"{low:g} to {high:g}{unit}" for low, high in pairwise(edges)
    ]


def box_area(sample: Sample | RowTruth) -> float:
    """Mean box area over frame area."""
    if isinstance(sample, Sample):
        boxes_xyxy, (width, height) = sample.usable_tube()[1], sample.size_wh
    else:
        boxes_xyxy, (width, height) = sample.boxes_xyxy, sample.scale_wh
    return float(box_areas(boxes_xyxy).sum()) / max(len(boxes_xyxy), 1) / (width * height)


def event_s(sample: Sample | RowTruth) -> float:
    """Length of the event in seconds; of a row, that of the indices it has."""
    if isinstance(sample, Sample):
        return (sample.span_frames[1] - sample.span_frames[0]) / sample.annotated_fps
    begin_s, end_s = sample.timeline.clip_span_s(sample.span)
    return end_s - begin_s


class Scored:
    """One system's predictions matched to the ground truth.

    Args:
        system: the predictions.
        truth: the ground truth.
        partial: whether inconsistent answers with a readable span are scored by what can be read of them, not 0.
        interpolate: as in `protocols.evaluate`.

    Attributes:
        problems: everything that was set aside or counts 0, with the reason.

    Raises:
        DataError: none of its ids belongs to the ground truth.
    """

    def __init__(
        self, system: AnswerFile | TubeFile, truth: GroundTruth, *, partial: bool = False, interpolate: bool = True
    ) -> None:
        self.system = system
        self.problems = list(system.set_aside)
        self._truth = truth
        self._interpolate = interpolate
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
        self._rows = np.array(rows, dtype=np.int64)  # (S,) predictions that are scored
        self._samples = np.array(samples, dtype=np.int64)  # (S,) the samples they are for

    @property
    def name(self) -> str:
        """The name of the system."""
        return self.system.name

    @property
    def boxes(self) -> bool:
        """Whether the ground truth has any boxes."""
        return bool(self._truth.with_boxes.any())

    @property
    def counts(self) -> dict[str, int]:
        """How many samples there are, how many are scored, and how many answers the file holds in which form."""
        counts = {"samples": len(self._truth), "scored": len(self._rows)}
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
            return evaluate(
                self._truth.samples, self._tubes(part, self._truth.samples), protocol, interpolate=self._interpolate
            )
        if not isinstance(self.system, AnswerFile):
            raise ValueError(f"{protocol} needs answers")
        batch = self.system.batch
        terms = batch.pred_terms if part == "pred" else batch.think_terms
        return Scores(
            *(self._spread(v) for v in (temporal_reward(batch), boxes_viou(batch, terms), boxes_siou(batch, terms)))
        )

    def _tubes(self, part: str, samples: Sequence[Sample]) -> list[Tube | None]:
        """A tube, or None, for each sample; made once for all protocols."""
        if part not in self._made:
            tubes: list[Tube | None] = [None] * len(samples)
            for row, i in zip(self._rows.tolist(), self._samples.tolist(), strict=True):
                tubes[i] = self.system.tube(row, samples[i], part)
            self._made[part] = tubes
        return self._made[part]

    def thinking(self) -> _Mask:
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
        spread[self._samples] = values[self._rows]
        return spread


def score(
    systems: Sequence[AnswerFile | TubeFile],
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


def _why_not(protocol: str, systems: Sequence[AnswerFile | TubeFile], truth: GroundTruth) -> str | None:
    """Why a protocol cannot apply; None if it can."""
    if protocol not in ALL_PROTOCOLS:
        raise DataError(f"unknown protocol {protocol!r}; the protocols are: {', '.join(ALL_PROTOCOLS)}")
    if protocol != NATIVE:
        return None if truth.samples is not None else "it needs the annotation of every frame: give --dataset"
    for system in systems:
        if not isinstance(system, AnswerFile):
            return f"{system.name} holds tubes, not answers on the sampled grid"
        first = systems[0]
        different = isinstance(first, AnswerFile) and _other_grid(first, system)
        if different:
            return f"{first.name} and {system.name} are on different grids ({different})"
    return None


def _other_grid(first: AnswerFile, other: AnswerFile) -> str:
    """Names of the settings that give two files different sampled grids."""
    texts, others = first.settings.to_texts(), other.settings.to_texts()
    names = ("fps", "max_frames", "index_unit", "max_side", "side_multiple", "coords", "boxes")
    return ", ".join(name for name in names if texts[name] != others[name])


def _system_report(scored: Scored, groups: IntArray) -> dict[str, Any]:
    """The report on a system beside its metrics."""
    system = scored.system
    facts: dict[str, Any] = {"name": scored.name, "file": system.path, "counts": scored.counts}
    facts |= {"reasons": scored.reasons, "warnings": system.warnings}
    if isinstance(system, AnswerFile):
        facts |= {"settings": system.settings.to_texts(), "read_as": system.read_as}
        if AnswerFormat.of(system.settings).think:
            reward = scored.think_reward()
            facts["think_reward"] = means_with_intervals(reward[:, None], np.ones((len(reward), 1)), groups)[0]
    return facts


_Row = tuple[dict[str, Any], dict[str, FloatArray], _Mask]


def _rows(
    protocol: str,
    systems: Sequence[Scored],
    facets: Sequence[tuple[str, list[tuple[str, _Mask]]]],
    thresholds: Sequence[float],
) -> list[_Row]:
    """(labels, metrics (N,) each, members (N,)) of each row of a table."""
    by = [name for name, _ in facets]
    groups = [(name, label, members) for name, parts in facets if len(parts) > 1 for label, members in parts]
    rows: list[_Row] = []

    def add(metrics: dict[str, FloatArray], members: _Mask, wanted: Sequence[str], **labels: str) -> None:
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


def _with_intervals(rows: list[_Row], groups: IntArray, with_boxes: _Mask) -> list[dict[str, Any]]:
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


def _without_boxes(samples: Sequence[Sample]) -> dict[str, tuple[int, str]]:
    """A note on samples without boxes among samples with boxes."""
    without = [sample for sample in samples if sample.time_only]
    if len(without) in (0, len(samples)):
        return {}
    return {"events without boxes, left out of m_vIoU, m_sIoU and vIoU@R": (len(without), f"row {without[0].id}")}


def _without_area(samples: Sequence[Sample]) -> dict[str, tuple[int, str]]:
    """Samples whose annotation holds boxes that score 0 even against themselves."""
    owner = np.repeat(np.arange(len(samples)), [len(s.tube_frames) for s in samples])
    sizes_wh = np.array([s.size_wh for s in samples], dtype=np.float64)[owner]  # (K, 2)
    areas = box_areas(clip_boxes(np.concatenate([s.tube_xyxy for s in samples]), sizes_wh))
    poor = np.unique(owner[areas <= 0])
    if len(poor) == 0:
        return {}
    return {"events with annotated boxes that have no area in the frame": (len(poor), f"row {samples[poor[0]].id}")}
