"""The CPU's video work of a GRPO step: encoding prompts, with the stock template and with ours.

For one prompt and G completions, a step encodes 2 G times: for generation and for training. This benchmark uses one
thread, the processor of Qwen2.5-VL and the same frames for both templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.bench.clips import FILM, HOME, Clip, encode
from swift_stvg.bench.measure import Result, Scale, medians
from swift_stvg.errors import StvgError
from swift_stvg.records import Sample
from swift_stvg.rows.making import make_row
from swift_stvg.settings import Settings
from swift_stvg.synthetic.tiny import TinyConfig, build
from swift_stvg.video.reader import probe
from swift_stvg.video.request import VIDEO_KEY, VideoRequest

GENERATIONS = (2, 4, 8, 16)
LENGTHS_S = (10, 60, 180)


def measure(folder: Path, scale: Scale) -> Iterator[Result]:
    """Measured steps: a film with several numbers of generations, and home videos of several lengths with 8."""
    import torch

    torch.set_num_threads(1)
    templates = _templates(folder)
    film = encode(FILM, folder, 6 if scale.quick else None)
    for generations in (8,) if scale.quick else GENERATIONS:
        yield _compare(FILM, film, generations, templates)
    for seconds in () if scale.quick else LENGTHS_S:
        yield _compare(HOME, encode(HOME, folder, seconds), 8, templates)


def _compare(clip: Clip, path: Path, generations: int, templates: dict[str, Any]) -> Result:
    from swift_stvg.adapters import templates as adapters

    rows = rows_of(path)
    grids = {name: templates[name].encode(dict(rows[name]))["video_grid_thw"].tolist() for name in templates}
    if grids["ours"] != grids["stock"]:
        raise StvgError(f"the templates give the model different frames: {grids}")

    def step(name: str) -> Callable[[], None]:
        def run() -> None:
            adapters.FRAMES.memory.clear()  # a step sees new prompts
            for _ in range(2 * generations):
                templates[name].encode(dict(rows[name]))

        return run

    seconds = medians({name: step(name) for name in templates}, 1)  # each is many encodings
    length_s = round(probe(path).end_s)
    return Result(
        f"encode one prompt for {generations} completions, {clip.name}, {length_s} s",
        seconds["ours"],
        "s",
        "template qwen2_5_vl",
        seconds["stock"],
        at={"generations": generations, "length_s": length_s},
    )


def _templates(folder: Path) -> dict[str, Any]:
    from swift.model import get_processor
    from swift.template import get_template

    import swift_stvg.adapters  # noqa: F401 - registers ours

    build(folder / "tiny", TinyConfig())
    made = {}
    for name, kind in (("ours", "stvg_qwen2_5_vl"), ("stock", "qwen2_5_vl")):
        template = get_template(get_processor(str(folder / "tiny"), model_type="qwen2_5_vl"), template_type=kind)
        template.set_mode("train")
        made[name] = template
    return made


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    """Our row about the whole video, and a row for the stock template with frames of the same rate and size."""
    info = probe(path)
    sample = Sample(
        id="clip",
        dataset="made",
        split="up",
        sentence="the man in the dark coat walks to the door",
        video=path,
        annotated_frames=info.n_frames,
        annotated_fps=info.n_frames / info.end_s,
        size_wh=info.size_wh,
        span_frames=(0, info.n_frames),
        tube_frames=np.arange(info.n_frames),
        tube_xyxy=np.tile([10.0, 10.0, 100.0, 100.0], (info.n_frames, 1)),
    )
    settings = Settings()
    row = make_row(sample, info, settings)
    request = VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY])
    width, height = request.size_wh
    frames = len(request.frames) // 2 * 2
    stock = {"nframes": frames, "resized_height": height, "resized_width": width}
    return {"ours": row, "stock": {**row, "chat_template_kwargs": stock}}
