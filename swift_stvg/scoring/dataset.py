"""Statistics of the rows of a dataset, to look at before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.records import VideoInfo
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.ground_truth import box_area, event_s


def distribution(values: FloatArray | IntArray) -> list[float]:
    """[lowest, 5%, median, mean, 95%, highest] of numbers (N,)."""
    low, fifth, median, most, high = np.quantile(values, [0, 0.05, 0.5, 0.95, 1]).tolist()
    return [low, fifth, median, float(np.mean(values)), most, high]


def row_distributions(row_truths: Sequence[RowTruth]) -> dict[str, list[float]]:
    """Distributions over N >= 1 rows: of sentences, clips, events, boxes and exact answers."""
    answers = [row_truth.format.render(row_truth.answer) for row_truth in row_truths]
    lengths = np.array([c.span[1] - c.span[0] + 1 for c in row_truths])
    columns = {
        "sentence, words": [len(row_truth.sentence.split()) for row_truth in row_truths],
        "clip, s": [float(c.timeline.times_s[-1]) + c.timeline.interval_s for c in row_truths],
        "clip, sampled frames": [len(c.timeline.frames) for c in row_truths],
        "clip, indices": [c.timeline.size for c in row_truths],
        "event, s": list(map(event_s, row_truths)),
        "event, indices": lengths,
        "event, share of the clip": lengths / np.array([c.timeline.size for c in row_truths]),
        "box, share of the frame": list(map(box_area, row_truths)),
        "exact answer, characters": [len(answer) for answer in answers],
    }
    return {name: distribution(np.asarray(values, dtype=np.float64)) for name, values in columns.items()}


def row_counts(row_truths: Sequence[RowTruth]) -> dict[str, Any]:
    """Counts over N rows, beside the distributions."""
    rare = sum(c.timeline.interval_s > 1 / c.settings.fps + 1e-9 for c in row_truths)
    return {
        "questions": ", ".join(f"{count} {kind}" for kind, count in Counter(c.query for c in row_truths).most_common()),
        "events of one index": sum(c.span[0] == c.span[1] for c in row_truths),
        "events with indices that have no box": sum(len(c.index) <= c.span[1] - c.span[0] for c in row_truths),
        "clips with STVG_MAX_FRAMES frames, more than 1 / STVG_FPS s apart": rare,
    }


def frame_sizes(row_truths: Sequence[RowTruth]) -> dict[str, int]:
    """Rows by the size of their frames, the most frequent first."""
    return dict(Counter("{} x {}".format(*row_truth.size_wh) for row_truth in row_truths).most_common())


LARGE_GROUP = 300
"""A group with more frames than this is slow to decode; encoders usually make smaller ones."""
REENCODE_COMMAND = (
    "ffmpeg -i OLD -map 0:v:0 -map '0:a?' -fps_mode passthrough -c:v libx264 -crf 17 -g 48 -c:a aac NEW.mp4"
)
"""Re-encodes a file with small groups. The number of frames and their times stay the same. The sound stays too, because
frames of an annotation may count from its start (see `VideoInfo.lead_s`)."""


def file_kinds(row_truths: Sequence[RowTruth], videos: Sequence[VideoInfo]) -> list[dict[str, Any]]:
    """The kinds of the video files of N rows, the most frequent first, and the cost of reading them.

    `slow` counts files with groups of more than `LARGE_GROUP` frames. `clip` and `decoded` are means over the rows:
    the frames from the first to the last sampled one, and the most frames that must be decoded for these.
    """
    found: dict[str, list[tuple[VideoInfo, IntArray]]] = {}
    for row_truth, video in zip(row_truths, videos, strict=True):
        found.setdefault(video.kind, []).append((video, row_truth.timeline.frames))
    lines = []
    for kind, members in sorted(found.items(), key=lambda item: -len(item[1])):
        files = {video.path: video.group for video, _ in members}
        clips = [int(frames[-1] - frames[0]) + 1 for _, frames in members]
        before = [min(int(frames[0]), video.group) for video, frames in members]
        line = {"kind": kind, "rows": len(members), "videos": len(files)}
        line |= {"slow": sum(group > LARGE_GROUP for group in files.values())}
        lines.append(line | {"clip": float(np.mean(clips)), "decoded": float(np.mean(clips) + np.mean(before))})
    return lines


def too_long(
    row_truths: Sequence[RowTruth],
    prompt: IntArray,
    answer: IntArray,
    max_length: int | None,
    max_completion: int | None,
) -> list[str]:
    """Messages about token lengths beyond the limits.

    Args:
        row_truths: the truths of N rows.
        prompt, answer: (N,) tokens of the prompts and of the exact answers.
        max_length: ms-swift's --max_length. GRPO (`max_completion` is given) compares it with the prompt; SFT
            compares it with prompt and answer.
        max_completion: ms-swift's --max_completion_length.
    """
    checks = []
    if max_completion is not None:
        checks.append(("exact answers are longer than --max_completion_length", answer, max_completion))
    if max_length is not None and max_completion is not None:
        checks.append(("prompts are longer than --max_length", prompt, max_length))
    elif max_length is not None:
        checks.append(("prompts with their answers are longer than --max_length", prompt + answer, max_length))
    return [
        f"{over} of {len(tokens)} {text} {limit}, up to {tokens.max()} tokens, "
        f"row {row_truths[int(tokens.argmax())].id}"
        for text, tokens, limit in checks
        if (over := int((tokens > limit).sum()))
    ]


def bounds_of_tokens(row_truths: Sequence[RowTruth], max_completion: int | None) -> tuple[str, list[str]]:
    """Bounds of the exact answers' token counts without a tokenizer, and messages about certain excess.

    Qwen's tokenizers make a token of each digit, and no more tokens than there are characters in plain text.
    """
    answers = [row_truth.format.render(row_truth.answer) for row_truth in row_truths]
    fewest = np.array([sum(map(str.isdigit, answer)) for answer in answers])
    known = f"Qwen's tokenizers need {fewest.max()} to {max(map(len, answers))} for the longest exact answer"
    return known, [
        f"{what}, counting digits alone" for what in too_long(row_truths, fewest, fewest, None, max_completion)
    ]
