"""Tracks of all objects in synthetic clips, as a detector and tracker with a given error would find them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from swift_stvg.errors import DataError
from swift_stvg.geometry import clip_boxes
from swift_stvg.synthetic.clips import SynthConfig, make_scene
from swift_stvg.util.writing import write_text_atomic


def write_tracks(
    path: Path, splits: Mapping[str, int], config: SynthConfig, *, noise: float = 0.0, missing: float = 0.0
) -> None:
    """Write the tracks of all things in the clips that `generate` makes from the same arguments.

    Args:
        path: the file, in the form by video that `swift_stvg.sources.proposals` describes.
        splits: number of clips of each split by name.
        config: the settings of the clips.
        noise: deviation of a box's place and size, as a share of its sides; drawn again for each frame.
        missing: probability that the tracker misses a thing in the whole clip.

    Raises:
        DataError: an argument is impossible, or the file cannot be written.
    """
    if not 0 <= noise <= 1 or not 0 <= missing <= 1:
        raise DataError(f"noise and missing must lie in [0, 1], got {noise:g} and {missing:g}")
    videos = {}
    for split, count in splits.items():
        for number in range(count):
            name = f"{split}_{number:06d}"
            videos[f"{name}.mp4"] = {
                "size_wh": list(config.size_wh),
                "tracks": _tracks(config, split, number, noise, missing),
            }
    write_text_atomic(path, json.dumps(videos, separators=(",", ":")))


def _tracks(
    config: SynthConfig, split: str, number: int, noise: float, missing: float
) -> dict[str, dict[str, list[float]]]:
    seed = f"tracks/{config.seed}/{split}/{number}"
    rng, normal = random.Random(seed), np.random.default_rng([*seed.encode()])
    things = list(make_scene(config, split, number).things)
    rng.shuffle(things)  # a scene draws large things first
    tracks = {}
    for place, thing in enumerate(things, 1):
        error = normal.normal(0.0, 1.0, (len(thing.visible), 4))
        missed = rng.random() < missing
        frames = np.flatnonzero(thing.visible)
        if missed or len(frames) == 0:
            continue
        boxes = thing.boxes_xyxy[frames]
        sides = boxes[:, 2:] - boxes[:, :2]
        boxes = boxes + noise * error[frames] * np.tile(sides, 2) / 2
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
        boxes = clip_boxes(boxes, config.size_wh).round(1)
        tracks[str(place)] = dict(zip(map(str, frames.tolist()), boxes.tolist(), strict=True))
    return tracks
