"""What predictions are scored against, and the groups of samples in a breakdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from swift_stvg.errors import DataError, RowError
from swift_stvg.geometry import box_areas, clip_boxes
from swift_stvg.records import Sample
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.metrics import BoolArray
from swift_stvg.scoring.problems import Key, subset
from swift_stvg.settings import Settings
from swift_stvg.sources.load_report import LoadReport
from swift_stvg.sources.registry import load_samples
from swift_stvg.util import validation

FACETS = ("query", "area", "length", "category")
AREA_EDGES = (0.0, 0.01, 0.04, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81, 1.0)
"""Bins of box area over frame area, those of the paper's Fig. 4."""
LENGTH_EDGES_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, float("inf"))
"""Bins of event length in seconds."""


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
            different = different_settings(systems[0], system)
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
    def with_boxes(self) -> BoolArray:
        """(N,) which samples have boxes; vIoU and sIoU are means over these samples."""
        if self.samples is not None:
            return np.array([not sample.time_only for sample in self.samples], dtype=bool)
        return np.array([row_truth.format.boxes for row_truth in self.row_truths or ()], dtype=bool)

    @property
    def splits(self) -> list[str]:
        """Dataset and subset of the samples, as a row names them."""
        known: Iterable[Sample | RowTruth] = self.samples or self.row_truths or ()
        return sorted({f"{s.dataset}:{s.split}" for s in known})

    def facet(self, name: str) -> list[tuple[str, BoolArray]]:
        """(label, members (N,)) of each group of a facet that has members."""
        if name in ("query", "category"):
            kinds = np.array(self.query if name == "query" else self.category)
            return [(kind, kinds == kind) for kind, _ in Counter(kinds.tolist()).most_common()]
        edges, measure = (AREA_EDGES, box_area) if name == "area" else (LENGTH_EDGES_S, event_s)
        values = np.array([measure(sample) for sample in self.samples or self.row_truths or ()])
        bins = np.clip(np.digitize(values, edges) - 1, 0, len(edges) - 2)
        labels = bin_labels(edges, "" if name == "area" else " s")
        return [(label, bins == i) for i, label in enumerate(labels) if (bins == i).any()]


def read_dataset(name: str, settings: Settings) -> tuple[list[Sample], GroundTruth]:
    """The samples of NAME:SUBSET, and the ground truth made from them.

    Raises:
        DataError: as `load_samples`, or no sample can be scored.
    """
    dataset, _, split = name.partition(":")
    report = LoadReport(name)
    samples = load_samples(dataset, split, settings, report)
    if not all(sample.time_only for sample in samples):
        for sample in samples:
            if sample.time_only:
                report.drop(RowError("no usable box", f"none annotated, row {sample.id}"))
        samples = [sample for sample in samples if not sample.time_only]
    return samples, GroundTruth.of_samples(name, samples, report)


def bin_labels(edges: Sequence[float], unit: str = "") -> list[str]:
    """Names of the bins between edges, for a report."""
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
    """Length of the event in seconds; for a row, the length of its span of indices."""
    if isinstance(sample, Sample):
        return (sample.span_frames[1] - sample.span_frames[0]) / sample.annotated_fps
    begin_s, end_s = sample.timeline.clip_span_s(sample.span)
    return end_s - begin_s


def different_settings(first: AnswerFile, other: AnswerFile) -> str:
    """Names of the settings that give two files different sampled grids."""
    texts, others = first.settings.to_texts(), other.settings.to_texts()
    names = ("fps", "max_frames", "index_unit", "max_side", "side_multiple", "coords", "boxes")
    return ", ".join(name for name in names if texts[name] != others[name])


def _without_boxes(samples: Sequence[Sample]) -> dict[str, tuple[int, str]]:
    """A note on samples without boxes among samples with boxes."""
    without = [sample for sample in samples if sample.time_only]
    if len(without) in (0, len(samples)):
        return {}
    return {"events without boxes, left out of m_vIoU, m_sIoU and vIoU@R": (len(without), f"row {without[0].id}")}


def _without_area(samples: Sequence[Sample]) -> dict[str, tuple[int, str]]:
    """A note on samples with annotated boxes that score 0 even against themselves."""
    owner = np.repeat(np.arange(len(samples)), [len(s.tube_frames) for s in samples])
    sizes_wh = np.array([s.size_wh for s in samples], dtype=np.float64)[owner]  # (K, 2)
    areas = box_areas(clip_boxes(np.concatenate([s.tube_xyxy for s in samples]), sizes_wh))
    poor = np.unique(owner[areas <= 0])
    if len(poor) == 0:
        return {}
    return {"events with annotated boxes that have no area in the frame": (len(poor), f"row {samples[poor[0]].id}")}
