"""Rows, videos and templates to encode them with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.records import Sample
from swift_stvg.rows.making import make_row
from swift_stvg.settings import Settings
from swift_stvg.synthetic.tiny import TinyConfig, build
from swift_stvg.video.reader import probe
from tests.videos import write_video

FITTING: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"coords": "norm1000", "side_multiple": 28},
    "qwen2_5_vl": {},
    "qwen3_vl": {"coords": "norm1000", "side_multiple": 32},
    "qwen3_5": {"coords": "norm1000", "side_multiple": 32},
}
"""The settings that each backbone needs."""


def skip_unknown(model_type: str) -> None:
    """Skip a test of a type of models that the installed ms-swift or transformers has not."""
    from swift.model import MODEL_MAPPING

    pytest.importorskip(f"transformers.models.{model_type}")
    if model_type not in MODEL_MAPPING:
        pytest.skip(f"this ms-swift has no models of type {model_type}")


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The template of each backbone, with a tiny model."""
    import swift_stvg

    swift_stvg.register()
    from swift.model import get_model_processor
    from swift.template import get_template

    made = {}
    for name in FITTING:
        folder = tmp_path_factory.mktemp("template") / name
        build(folder, TinyConfig(architecture=name))
        model, processor = get_model_processor(str(folder), model_type=name, return_dummy_model=True)  # no weights
        made[name] = get_template(processor, template_type=f"stvg_{name}")
        made[name].model = model
        made[name].set_mode("train")
    return made


@pytest.fixture(scope="session")
def template(templates: dict[str, Any]) -> Any:
    return templates["qwen2_5_vl"]


def row(path: Path, **settings: Any) -> dict[str, Any]:
    info = probe(path)
    sample = Sample(
        id="a",
        dataset="made",
        split="up",
        sentence="it moves",
        video=path,
        annotated_frames=info.n_frames,
        annotated_fps=25.0,
        size_wh=info.size_wh,
        span_frames=(25, 75),
        tube_frames=np.arange(25, 75),
        tube_xyxy=np.tile([100.0, 50.0, 300.0, 200.0], (50, 1)),
    )
    return make_row(sample, info, Settings(**settings))


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", np.arange(113) / 25, size_wh=(640, 360))


def encode(template: Any, row: dict[str, Any]) -> dict[str, Any]:
    encoded: dict[str, Any] = template.encode({k: row[k] for k in ("messages", "videos", "chat_template_kwargs")})
    return encoded
