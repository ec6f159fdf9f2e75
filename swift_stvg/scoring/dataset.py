"""What is worth knowing of a dataset's rows before training on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.records import VideoInfo
from swift_stvg.rows.contract import Contract
from swift_stvg.scoring.score import box_area, event_s


def distribution(values: FloatArray | IntArray) -> list[float]:
    """[lowest, 5%, median, mean, 95%, highest] of numbers (N,)."""
    low, fifth, median, most, high = np.quantile(values, [0, 0.05, 0.5, 0.95, 1]).tolist()
    return [low, fifth, median, float(np.mean(values)), most, high]


def figures(contracts: Sequence[Contract]) -> dict[str, list[float]]:
    """Distributions over N >= 1 rows: of sentences, clips, events, boxes and exact answers."""
    answers = [contract.format.render(contract.answer) for contract in contracts]
    lengths = np.array([c.span[1] - c.span[0] + 1 for c in contracts])
    columns = {
        "sentence, words": [len(contract.sentence.split()) for contract in contracts],
        "clip, s": [float(c.timeline.times_s[-1]) + c.timeline.interval_s for c in contracts],
        "clip, sampled frames": [len(c.timeline.frames) for c in contracts],
        "clip, indices": [c.timeline.size for c in contracts],
        "event, s": list(map(event_s, contracts)),
        "event, indices": lengths,
        "event, share of the clip": lengths / np.array([c.timeline.size for c in contracts]),
        "box, share of the frame": list(map(box_area, contracts)),
        "exact answer, characters": [len(answer) for answer in answers],
    }
    return {name: distribution(np.asarray(values, dtype=np.float64)) for name, values in columns.items()}


def facts(contracts: Sequence[Contract]) -> dict[str, Any]:
    """Counts over N rows that no distribution shows."""
    rare = sum(c.timeline.interval_s > 1 / c.settings.fps + 1e-9 for c in contracts)
    return {
        "questions": ", ".join(f"{count} {kind}" for kind, count in Counter(c.query for c in contracts).most_common()),
        "events of one index": sum(c.span[0] == c.span[1] for c in contracts),
        "events with indices that have no box": sum(len(c.index) <= c.span[1] - c.span[0] for c in contracts),
        "clips with STVG_MAX_FRAMES frames, more than 1 / STVG_FPS s apart": rare,
    }


def frame_sizes(contracts: Sequence[Contract]) -> dict[str, int]:
    """Rows by the size of their frames, the most frequent first."""
    return dict(Counter("{} x {}".format(*contract.size_wh) for contract in contracts).most_common())


LARGE = 300
"""Frames of a group; encoders' usual bounds are below."""
QUICK = "ffmpeg -i OLD -map 0:v:0 -fps_mode passthrough -c:v libx264 -crf 17 -g 48 NEW.mp4"
"""Makes any file one of which few frames need be decoded, with as many frames at the same times."""


def file_kinds(contracts: Sequence[Contract], videos: Sequence[VideoInfo]) -> list[dict[str, Any]]:
    """What kinds of files the videos of N rows are, the most frequent first, and what reading them takes.

    `slow` counts files with groups of more than `LARGE` frames; `clip` and `decoded` are means over the rows: frames
    from the first to the last one that is sampled, and at most to be decoded for these.
    """
    found: dict[str, list[tuple[VideoInfo, IntArray]]] = {}
    for contract, video in zip(contracts, videos, strict=True):
        found.setdefault(video.kind, []).append((video, contract.timeline.frames))
    lines = []
    for kind, members in sorted(found.items(), key=lambda item: -len(item[1])):
        files = {video.path: video.group for video, _ in members}
        clips = [int(frames[-1] - frames[0]) + 1 for _, frames in members]
        before = [min(int(frames[0]), video.group) for video, frames in members]
        line = {"kind": kind, "rows": len(members), "videos": len(files)}
        line |= {"slow": sum(group > LARGE for group in files.values())}
        lines.append(line | {"clip": float(np.mean(clips)), "decoded": float(np.mean(clips) + np.mean(before))})
    return lines


def too_long(
    contracts: Sequence[Contract],
    prompt: IntArray,
    answer: IntArray,
    max_length: int | None,
    max_completion: int | None,
) -> list[str]:
    """What is wrong with token lengths.

    Args:
        contracts: of N rows.
        prompt, answer: (N,) tokens of the prompts and of the exact answers.
        max_length: as for ms-swift; GRPO, for which `max_completion` is given, holds it against the prompt, SFT against
            prompt and answer.
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
        f"{over} of {len(tokens)} {text} {limit}, up to {tokens.max()} tokens, row {contracts[int(tokens.argmax())].id}"
        for text, tokens, limit in checks
        if (over := int((tokens > limit).sum()))
    ]


def bounds_of_tokens(contracts: Sequence[Contract], max_completion: int | None) -> tuple[str, list[str]]:
    """What is known of the exact answers' tokens without a tokenizer, and what is wrong with them for certain.

    Qwen's tokenizers make a token of each digit, and no more tokens than there are characters in plain text.
    """
    answers = [contract.format.render(contract.answer) for contract in contracts]
    fewest = np.array([sum(map(str.isdigit, answer)) for answer in answers])
    known = f"Qwen's tokenizers need {fewest.max()} to {max(map(len, answers))} for the longest exact answer"
    return known, [
        f"{what}, counting digits alone" for what in too_long(contracts, fewest, fewest, None, max_completion)
    ]
