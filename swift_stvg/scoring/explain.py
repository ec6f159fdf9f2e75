"""One answer in detail: what the reader found, and the terms of each reward and metric."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from swift_stvg.answers.format import BoxList
from swift_stvg.errors import DataError
from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.rewards.batch import Batch, BoxTerms
from swift_stvg.rewards.functions import REWARDS, spatial_term, total, usual_weights
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.diagnoses import Diagnoses
from swift_stvg.scoring.ground_truth import GroundTruth
from swift_stvg.scoring.problems import Key
from swift_stvg.scoring.score import score
from swift_stvg.scoring.tube_file import TubeFile
from swift_stvg.sources.load_report import LoadReport

BOX_LISTS = ("think", "pred")


def explain(
    systems: Sequence[AnswerFile | TubeFile], truth: GroundTruth, name: str, **how: Any
) -> list[dict[str, Any]]:
    """Explain the answers to the sample called `name`.

    Args:
        systems: files of answers; files of tubes cannot be explained.
        truth: the ground truth.
        name: the sample's id.
        how: `protocols`, `thresholds`, `partial` and `interpolate` as `scoring.score` takes them.

    Returns:
        One dictionary of JSON data for each answer; several if subsets or systems share the id.

    Raises:
        DataError: no system answers such a sample.
    """
    if any(isinstance(system, TubeFile) for system in systems):
        raise DataError("--explain takes answers apart: give .jsonl files of `swift infer`, no tubes")
    answers = [system for system in systems if isinstance(system, AnswerFile)]
    found = [
        _explain(system, i, key, truth, how)
        for system in answers
        for i, key in enumerate(system.keys(""))
        if key[1] == name
    ]
    if found:
        return found
    known = dict.fromkeys([key[1] for key in truth.keys] + [key[1] for system in answers for key in system.keys("")])
    if name in known:
        raise DataError(f"{' and '.join(s.name for s in answers)} hold no answer to {name}: it counts 0")
    close = get_close_matches(name, known, n=5)
    hint = f"close to it are {', '.join(close)}" if close else f"the first of {len(known)} is {next(iter(known))}"
    raise DataError(f"no sample is called {name!r}; {hint}")


def _explain(system: AnswerFile, i: int, key: Key, truth: GroundTruth, how: dict[str, Any]) -> dict[str, Any]:
    row_truth, answer = system.batch.row_truths[i], system.batch.answers[i]
    batch = system.batch.only(i)
    weights = usual_weights([row_truth])
    fault = batch.faults[0]
    terms = {part: _terms(batch, part) for part in BOX_LISTS}
    return {
        "system": system.name,
        "line": system.lines[i],
        "subset": key[0],
        "id": key[1],
        "sentence": system.batch.row_truths[i].sentence,
        "video": system.videos[i],
        "response": system.responses[i],
        "indices": row_truth.timeline.size,
        "unit": row_truth.timeline.unit,
        "coords": f"{row_truth.format.coords}, {row_truth.scale_wh[0]} x {row_truth.scale_wh[1]}",
        "well_formed": batch.valid[0],
        "span": answer.span,
        "true_span": row_truth.span,
        "boxes": {part: _in_words(getattr(answer, part)) for part in BOX_LISTS if _asked(row_truth, part)},
        "failures": dict(answer.failures),
        "fault": None if fault is None else ": ".join(fault),
        "rewards": {reward: float(compute(batch)[0]) for reward, compute in REWARDS.items()},
        "weights": weights,
        "total": float(total(batch, weights)[0]),
        "spatial": {
            part: {
                "frames": int(batch.spatial_frames(found)[0]),
                "mean": float(batch.spatial_mean(found, spatial_term)[0]),
            }
            for part, found in zip(BOX_LISTS, (batch.think_terms, batch.pred_terms), strict=True)
        },
        "floor": row_truth.settings.spatial_floor,
        "frames": _frames(batch, terms),
        "set_aside": [f"{p.where}: {p.reason}: {p.detail}" for p in system.set_aside if (p.subset, p.id) == key],
        **_metrics(system, i, key, truth, how),
    }


def _asked(row_truth: RowTruth, part: str) -> bool:
    return row_truth.format.think if part == "think" else row_truth.format.boxes


def _terms(batch: Batch, part: str) -> dict[int, dict[str, float]]:
    """IoU, GIoU, L1 and the clamped term of Eq. 7 by index, of the frames that are counted."""
    found: BoxTerms = getattr(batch, f"{part}_terms")
    term = np.maximum(spatial_term(found.giou, found.l1), batch.floors[found.owner])
    numbers = zip(found.index, found.iou, found.giou, found.l1, term, strict=True)
    names = ("iou", "giou", "l1", "term")
    return {int(index): dict(zip(names, map(float, values), strict=True)) for index, *values in numbers}


def _frames(batch: Batch, terms: dict[str, dict[int, dict[str, float]]]) -> list[dict[str, Any]]:
    """A dictionary for each index of either span."""
    row_truth, answer = batch.row_truths[0], batch.answers[0]
    (first, last), given = row_truth.span, answer.span or (0, -1)
    shown = [i for i in range(row_truth.timeline.size) if first <= i <= last or given[0] <= i <= given[1]]
    index = np.array(shown, dtype=np.int64)
    times_s = row_truth.timeline.seconds(index)
    true = _boxes(row_truth.index, row_truth.boxes_xyxy)
    lists = {part: _boxes_of(getattr(answer, part)) for part in BOX_LISTS}
    lines = []
    for i, time_s in zip(shown, times_s.tolist(), strict=True):
        line: dict[str, Any] = {"index": i, "s": round(time_s, 3), "frame": int(row_truth.annotated[i])}
        line["true"] = true.get(i)
        for part in BOX_LISTS:
            line[part] = lists[part].get(i)
            line[f"{part}_terms"] = terms[part].get(i)
        both = [line[f"{part}_terms"] for part in BOX_LISTS]
        line["gain"] = None if None in both else both[1]["term"] - both[0]["term"]
        line["note"] = _note(i, row_truth, given)
        lines.append(line)
    return lines


def _note(i: int, row_truth: RowTruth, given: tuple[int, int]) -> str:
    """The reason why a frame does not count."""
    if not row_truth.span[0] <= i <= row_truth.span[1]:
        return "outside the event"
    if not given[0] <= i <= given[1]:
        return "outside the answer"
    return "" if i in row_truth.index else "not annotated"


def _boxes_of(boxes: BoxList | None) -> dict[int, list[float] | None]:
    return {} if boxes is None else _boxes(*boxes.first_of_each())


def _boxes(index: IntArray, boxes_xyxy: FloatArray) -> dict[int, list[float] | None]:
    """Boxes by index, as written; None for one that could not be read."""
    rows = zip(index.tolist(), boxes_xyxy.tolist(), strict=True)
    return {i: None if np.isnan(box).any() else box for i, box in rows}


def _in_words(boxes: BoxList | None) -> str:
    if boxes is None:
        return "cannot be read"
    unreadable = int(np.isnan(boxes.boxes_xyxy).any(axis=1).sum())
    told = f"{len(boxes.index)} boxes" + (f", {unreadable} of them unreadable" if unreadable else "")
    return told + (f", and without an index {boxes.unplaced!r}" if boxes.unplaced else "")


def _metrics(system: AnswerFile, i: int, key: Key, truth: GroundTruth, how: dict[str, Any]) -> dict[str, Any]:
    """Metrics of one answer under each protocol, and why it counts 0 if it does."""
    if key not in truth.keys:
        return {"diagnosis": None, "metrics": {}, "counts_zero": f"it is not in {truth.name}"}
    one = system.only(i)
    alone = GroundTruth.of_rows([one])
    if truth.samples is not None:
        alone = GroundTruth.of_samples(str(truth.name), [truth.samples[truth.keys.index(key)]], LoadReport(system.name))
    report, (scored,) = score([one], alone, by=(), **how)
    metrics = {
        f"{table['protocol']}, {row['part']} boxes": {name: values[0] for name, values in row["metrics"].items()}
        for table in report["tables"]
        for row in table["rows"]
        if row["part"] in BOX_LISTS
    }
    diagnosis = Diagnoses.of(scored, alone).sample(0)
    return {
        "diagnosis": diagnosis,
        "metrics": metrics,
        "counts_zero": "; ".join(f"{p.reason}: {p.detail}" for p in scored.problems) or None,
    }
