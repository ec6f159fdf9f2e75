"""The five rewards of a GRPO step, with parsing, compared with a loop over boxes in Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from swift_stvg.answers.format import Answer, BoxList
from swift_stvg.bench.loops import five_rewards
from swift_stvg.bench.measure import Result, Scale, medians
from swift_stvg.errors import StvgError
from swift_stvg.records import Sample, VideoInfo
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import REWARDS, WEIGHTS
from swift_stvg.rows.making import make_row_truth
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings

COMPLETIONS, BOXES = 1024, 24
"""Size of a step: 128 prompts with 8 completions each, and 12 think boxes and 12 final boxes per completion."""


def measure(folder: Path, scale: Scale) -> Iterator[Result]:
    """A step of 1,024 completions."""
    row_truths, texts = _completions()
    truths = [dict(zip(c.index.tolist(), c.boxes_xyxy.tolist(), strict=True)) for c in row_truths]

    def ours() -> list[list[float]]:
        batch = Batch(texts, row_truths)
        return [REWARDS[name](batch).tolist() for name in WEIGHTS]

    def theirs() -> list[list[float]]:
        return [
            five_rewards(text, row_truth.span, truth, row_truth.scale_wh)
            for text, row_truth, truth in zip(texts, row_truths, truths, strict=True)
        ]

    if not np.allclose(np.array(ours()).T, np.array(theirs())):
        raise StvgError("the rewards differ from those of the loop")
    seconds = medians({"ours": ours, "theirs": theirs}, scale.rounds)
    baseline = "regular expressions and a loop over boxes"
    yield Result(
        f"the five rewards of {COMPLETIONS:,} completions of {BOXES} boxes",
        1e3 * seconds["ours"],
        "ms",
        baseline,
        1e3 * seconds["theirs"],
    )
    per_box = 1e6 / (COMPLETIONS * BOXES)
    yield Result("the same, per box", per_box * seconds["ours"], "us", baseline, per_box * seconds["theirs"])


def _completions() -> tuple[list[RowTruth], list[str]]:
    """Rows with an event of 6 s in a clip of 20 s, and answers with boxes that are some pixels off."""
    rng = np.random.default_rng(0)
    row_truths, texts = [], []
    frames = np.arange(250, 400)
    for i in range(COMPLETIONS):
        corner = rng.integers(0, 300, 2)
        sample = Sample(
            id=str(i),
            dataset="made",
            split="up",
            sentence="the man in the dark coat walks to the door",
            video=Path(f"{i}.mp4"),
            annotated_frames=500,
            annotated_fps=25.0,
            size_wh=(640, 480),
            span_frames=(250, 400),
            tube_frames=frames,
            tube_xyxy=np.tile([*corner, *(corner + 150)], (len(frames), 1)).astype(np.float64),
        )
        row_truth = make_row_truth(sample, VideoInfo.nominal(sample), Settings())
        exact = row_truth.answer.pred
        if exact is None:
            raise StvgError("an exact answer has boxes")
        off = np.abs(exact.boxes_xyxy + rng.integers(-5, 6, (2, len(exact.index), 4)))  # (2, M, 4)
        think, pred = (BoxList(exact.index, boxes_xyxy) for boxes_xyxy in off)
        texts.append(row_truth.format.render(Answer(row_truth.span, think, pred)))
        row_truths.append(row_truth)
    return row_truths, texts
