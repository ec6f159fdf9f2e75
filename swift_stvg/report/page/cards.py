"""The samples on a page: their data, and the choice of samples to draw."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.errors import RowError, VideoError
from swift_stvg.geometry import FloatArray
from swift_stvg.records import Sample, VideoInfo
from swift_stvg.report.drawing import Overlay
from swift_stvg.report.page.media import Job
from swift_stvg.report.text.explanation import diagnosis_lines
from swift_stvg.rows.making import make_row_truth
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.diagnoses import Diagnoses
from swift_stvg.scoring.ground_truth import GroundTruth, box_area, event_s
from swift_stvg.scoring.matching import Scored
from swift_stvg.scoring.problems import COUNT_ZERO
from swift_stvg.settings import Settings
from swift_stvg.sources.proposals import load_proposals

MOST_TEXT = 20_000
"""At most this many characters of an answer are shown."""
SCORED = "scored"
OF_SYSTEM = ("status", "detail", "tIoU", "vIoU", "think", "answer", "response", "line")
"""Data of a card that differ between systems."""


@dataclass(slots=True)
class Card:
    """One sample on a page.

    Attributes:
        data: the sample's data for the page, for JSON.
        job: what to draw; None if nothing can be drawn.
        problem: why it cannot be drawn; None if it can.
    """

    data: dict[str, Any]
    job: Job | None = None
    problem: str | None = field(default=None)


def cards_of_answers(scored: Scored, truth: GroundTruth, protocol: str) -> list[Card]:
    """A card for each sample of the ground truth (N), with its scores under a protocol."""
    system = scored.system
    if not isinstance(system, AnswerFile):
        raise TypeError("cards are made of answers")
    scores, thinking = scored.scores(protocol), scored.thinking()
    think = scored.scores(protocol, "think").viou if thinking.any() else np.zeros(len(truth))
    problems = {(p.subset, p.id): p for p in reversed(scored.problems) if p.reason in COUNT_ZERO}
    rows = {key: row for row, key in reversed(list(enumerate(system.keys(truth.keys[0][0]))))}
    cards, with_boxes, diagnoses = [], truth.with_boxes, Diagnoses.of(scored, truth)
    for i, key in enumerate(truth.keys):
        row, sample = rows.get(key), truth.samples[i] if truth.samples is not None else None
        problem = problems.get(key)
        data: dict[str, Any] = {
            "id": key[1],
            "query": truth.query[i],
            "category": truth.category[i],
            "status": problem.reason if problem else SCORED,
            "detail": problem.detail if problem else "",
            "tIoU": round(float(scores.tiou[i]), 4),
            "vIoU": round(float(scores.viou[i]), 4) if with_boxes[i] else None,
            "think": round(float(think[i]), 4) if thinking[i] else None,
            "diagnosis": diagnosis_lines(diagnoses.sample(i)),
        }
        if row is None:
            if sample is not None:
                data |= _annotated(sample)
            cards.append(Card(data, problem="there is no answer to draw"))
            continue
        row_truth, answer = system.batch.row_truths[row], system.batch.answers[row]
        shown = {name: data[name] for name in ("tIoU", "vIoU") if data[name] is not None}
        if thinking[i]:
            shown["think vIoU"] = data["think"]
        sentence = system.batch.row_truths[row].sentence
        overlay = Overlay.of(row_truth, sentence, answer, shown)
        video = Path(system.videos[row])
        if sample is not None and not os.path.exists(video):  # the answers come from another machine
            video = sample.video
        spans = {track.kind: track.span_s for track in overlay.tracks}
        data |= {
            "sentence": sentence,
            "length": round(event_s(row_truth), 2),
            "area": round(box_area(row_truth), 4),
            "duration": round(overlay.duration_s, 2),
            "truth": _rounded(spans.get("truth")),
            "answer": _rounded(spans.get("pred") or spans.get("think")),
            "response": _cut(system.responses[row]),
            "expected": row_truth.format.render(row_truth.answer),
            "video": str(video),
            "line": system.line(row),
        }
        cards.append(Card(data, Job(overlay, video)))
    return cards


def cards_of_two(first: Sequence[Card], second: Sequence[Card]) -> list[Card]:
    """A card for each sample of the ground truth (N), with the answers of two systems, A and B.

    Args:
        first, second: (N,) cards of `cards_of_answers` for the same ground truth.
    """
    cards = []
    for pair in zip(first, second, strict=True):
        base = next((card for card in pair if card.job is not None), pair[0])
        data = {name: value for name, value in base.data.items() if name not in OF_SYSTEM}
        data["systems"] = [{name: card.data[name] for name in OF_SYSTEM if name in card.data} for card in pair]
        if base.job is None:
            cards.append(Card(data, problem=base.problem))
            continue
        name = "tIoU" if base.data["vIoU"] is None else "vIoU"
        shown = {f"{name} {letter}": card.data[name] for letter, card in zip("AB", pair, strict=True)}
        a, b = (None if card.job is None else card.job.overlay for card in pair)
        cards.append(Card(data, Job(Overlay.of_two(a, b, shown), base.job.video)))
    return cards


def chosen_of_two(cards: Sequence[Card], count: int) -> list[int]:
    """Indices of at most `count` samples in each group: A wins, B wins, both good, both bad."""
    scores = both(cards)
    gain = scores[1] - scores[0]
    order, together = np.argsort(gain, kind="stable"), np.argsort(scores.sum(axis=0), kind="stable")
    kinds = (order[gain[order] < 0], order[gain[order] > 0][::-1], together[::-1], together)
    return sorted({int(i) for kind in kinds for i in kind[:count]})


def both(cards: Sequence[Card]) -> FloatArray:
    """(2, N) vIoU of two systems, or tIoU for samples without boxes."""
    systems = [[card.data["systems"][i] for card in cards] for i in (0, 1)]
    return np.array([[s["tIoU"] if s["vIoU"] is None else s["vIoU"] for s in of] for of in systems])


def cards_of_dataset(samples: Sequence[Sample]) -> list[Card]:
    """A card for each annotation. `prepare` gives a card its drawing job."""
    return [
        Card({"id": s.id, "query": s.query, "category": s.category or "unknown", "status": "annotated"} | _annotated(s))
        for s in samples
    ]


def prepare(card: Card, sample: Sample, video: VideoInfo | VideoError, settings: Settings) -> None:
    """Give an annotation's card its drawing job, with the frames of its row under these settings."""
    try:
        if isinstance(video, VideoError):
            raise video
        row_truth = make_row_truth(sample, video, settings, load_proposals(settings).of(sample.video))
        card.job = Job(Overlay.of(row_truth, sample.sentence), sample.video)
    except (RowError, VideoError) as error:
        card.problem = str(error)


def chosen_of_answers(cards: Sequence[Card], count: int) -> list[int]:
    """Indices of at most `count` samples in each group: best, worst, most improved, most damaged, and counted as 0."""
    tiou, viou, think = (column(cards, name) for name in ("tIoU", "vIoU", "think"))
    gain = viou - think  # NaN where there is none
    is_scored = np.array([card.data["status"] == SCORED for card in cards])
    order = np.lexsort((tiou, np.where(np.isnan(viou), tiou, viou)))
    order = order[is_scored[order]]
    by_gain = np.argsort(gain, kind="stable")
    by_gain = by_gain[~np.isnan(gain[by_gain])]
    kinds = (
        order[::-1],
        order,
        by_gain[gain[by_gain] > 0][::-1],
        by_gain[gain[by_gain] < 0],
        _in_turns(np.flatnonzero(~is_scored), [card.data["status"] for card in cards]),
    )
    return sorted({int(i) for kind in kinds for i in kind[:count]})


def improvement_by_area(table: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(bin of box area, mean vIoU of think boxes, of final boxes) from a report's table, for samples that have both."""
    rows = [row for row in table["rows"] if row.get("by") == "area"]
    think = {row["group"]: row["metrics"]["m_vIoU"][0] for row in rows if row["part"] == "think"}
    gain = {row["group"]: row["metrics"]["m_vIoU"][0] for row in rows if row["part"] == "pred - think"}
    return [(label, before, before + gain[label]) for label, before in think.items()]


def _in_turns(members: Any, labels: Sequence[str]) -> list[int]:
    """Members in turns by their label, so that each label comes early."""
    seen: dict[str, int] = {}
    turns = []
    for i in members.tolist():
        turns.append((seen.setdefault(labels[i], 0), i))
        seen[labels[i]] += 1
    return [i for _, i in sorted(turns)]


def _annotated(sample: Sample) -> dict[str, Any]:
    (first, end), (low, high) = sample.span_frames, sample.clip
    return {
        "sentence": sample.sentence,
        "length": round(event_s(sample), 2),
        "area": round(box_area(sample), 4),
        "duration": round((high - low) / sample.annotated_fps, 2),
        "truth": _rounded(
            ((max(first, low) - low) / sample.annotated_fps, (min(end, high) - low) / sample.annotated_fps)
        ),
        "video": str(sample.video),
    }


def column(cards: Sequence[Card], name: str) -> FloatArray:
    """(N,) values of a figure, NaN for cards without it."""
    return np.array([np.nan if (value := c.data.get(name)) is None else value for c in cards], dtype=np.float64)


def _rounded(span_s: tuple[float, float] | None) -> list[float] | None:
    return None if span_s is None else [round(span_s[0], 2), round(span_s[1], 2)]


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}… ({len(text)} characters)"
