"""Several answers to one question, joined to one answer.

Two rules. `medoid` chooses the answer that agrees most with the others, by vIoU (tIoU without boxes). `median` makes a
new answer: the median of the starts, of the ends, and of each side of the boxes; or the object that most answers name.
Answers that make no tube do not vote.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.answers.format import Answer, BoxList
from swift_stvg.errors import DataError
from swift_stvg.geometry import box_areas, span_iou
from swift_stvg.rewards.batch import Batch
from swift_stvg.rows.row_truth import PromptSpec, RowTruth
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.cost import Cost, recorded_cost
from swift_stvg.util.json_reading import PARSE_ERRORS, json_text


def vote(texts: Sequence[str], spec: PromptSpec, rule: str) -> str:
    """One text from several texts: an answer in the format of the question.

    Args:
        texts: at least one text of a model.
        spec: the prompt spec of the question.
        rule: one of `RULES`.

    Returns:
        The first text if none makes a tube.
    """
    read = [(text, spec.parse(text)) for text in texts]
    voters = [(text, a) for text, a in read if a.fault(spec.timeline.size, spec.scale_wh) is None]
    return RULES[rule](voters, spec) if voters else texts[0]


def _medoid(voters: Sequence[tuple[str, Answer]], spec: PromptSpec) -> str:
    agreement = [sum(answer_iou(mine, other) for _, other in voters) for _, mine in voters]
    return voters[int(np.argmax(np.round(agreement, 9)))][0]  # the first of equal ones


def answer_iou(one: Answer, other: Answer) -> float:
    """vIoU in [0, 1] of two answers that make tubes on the same grid; tIoU without boxes."""
    (a, b), (c, d) = _span(one), _span(other)
    if one.pred is None or other.pred is None:
        return span_iou((a, b), (c, d))
    _, at, there = np.intersect1d(one.pred.index, other.pred.index, return_indices=True)  # an index may lack a box
    ours, theirs = one.pred.boxes_xyxy[at], other.pred.boxes_xyxy[there]  # (S, 4)
    overlap = box_areas(
        np.concatenate([np.maximum(ours[:, :2], theirs[:, :2]), np.minimum(ours[:, 2:], theirs[:, 2:])], axis=1)
    )
    union = box_areas(ours) + box_areas(theirs) - overlap
    iou = np.divide(overlap, union, out=np.zeros(len(union)), where=union > 0)  # boxes may have no area
    return float(iou.sum()) / (max(b, d) - min(a, c) + 1)


def _median(voters: Sequence[tuple[str, Answer]], spec: PromptSpec) -> str:
    answers = [answer for _, answer in voters]
    middle = (len(answers) - 1) // 2  # of an even number the lower one, so that the span is one of indices
    first, last = (int(np.sort([_span(answer)[end] for answer in answers])[middle]) for end in (0, 1))
    if spec.format.names_object:
        named = Counter(answer.object for answer in answers).most_common(1)[0][0]
        return spec.format.render(Answer((first, last), None, None, object=named))
    wanted = np.arange(first, last + 1, dtype=np.int64)
    pred = _median_boxes([answer.pred for answer in answers], wanted)
    think = [a.think for a in answers if a.think is not None and a.think.covers(_span(a))] if spec.format.think else []
    guess = (_median_boxes(think, wanted) if think else pred) if spec.format.think else None
    return spec.format.render(Answer((first, last), _whole(guess, spec.scale_wh), _whole(pred, spec.scale_wh)))


def _median_boxes(lists: Sequence[BoxList | None], wanted: Any) -> BoxList | None:
    """The median box at each wanted index; linear between known indices where no list has the index."""
    found = [boxes for boxes in lists if boxes is not None]
    if not found:
        return None
    index = np.concatenate([boxes.index for boxes in found])
    boxes_xyxy = np.concatenate([boxes.boxes_xyxy for boxes in found])
    known = np.unique(index)  # (U,)
    medians = np.stack([np.median(boxes_xyxy[index == i], axis=0) for i in known])  # (U, 4)
    return BoxList(wanted, np.stack([np.interp(wanted, known, side) for side in medians.T], axis=1))


def _whole(boxes: BoxList | None, limit: tuple[int, int]) -> BoxList | None:
    """Boxes with whole numbers inside the picture, as a rendered answer has them."""
    return boxes and BoxList(boxes.index, np.rint(np.clip(boxes.boxes_xyxy, 0, np.array(limit * 2))))


def _span(answer: Answer) -> tuple[int, int]:
    if answer.span is None:
        raise ValueError("an answer that votes has a span")
    return answer.span


RULES: dict[str, Callable[[Sequence[tuple[str, Answer]], PromptSpec], str]] = {"medoid": _medoid, "median": _median}
"""The rules by name."""


def read_voted(path: Path, rule: str) -> AnswerFile:
    """Read a file of sampled answers, and join the answers to each row.

    Args:
        path: a file of `swift-stvg ground --samples` or `headroom --answers`: lines with `stvg` and `samples`.
        rule: one of `RULES`.

    Raises:
        DataError: the file cannot be read, a line has no samples, a row stands twice, or settings differ.
    """
    texts, row_truths, videos, cost = [], [], [], Cost()
    try:
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            data = json.loads(line)
            row_truth = RowTruth.from_json(json_text(data["stvg"]))
            samples = [json_text(text) for text in data["samples"]]
            video = data["video"] if "video" in data else data["videos"][0]
        except PARSE_ERRORS as error:
            raise DataError(
                f"line {number} of {path} has no sampled answers (`samples`), which --vote joins: {error!r:.200}. "
                "swift-stvg ground --samples and headroom --answers write such files"
            ) from None
        if not samples:
            raise DataError(f"line {number} of {path} has an empty list of samples")
        texts.append(vote(samples, row_truth, rule))
        row_truths.append(row_truth)
        videos.append(str(video))
        cost.add(row_truth, [row_truth.format.parse(text) for text in samples], *recorded_cost(data))
    keys = [(c.dataset, c.split, c.id) for c in row_truths]
    if not keys or len(set(keys)) < len(keys) or len({tuple(c.settings.to_texts().items()) for c in row_truths}) > 1:
        raise DataError(f"{path} must hold at least one row, each row once, and all rows made with the same settings")
    numbers = [*range(1, len(texts) + 1)]
    return AnswerFile(path.name, str(path), Batch(texts, row_truths), texts, numbers, videos, cost=cost)
