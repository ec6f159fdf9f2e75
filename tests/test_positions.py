"""Positions of text and frames: the rule, and the installed transformers as corrected, against the models' own code.

tests/data/positions.json.gz holds the positions of the versions that were released with the models
(tests/goldens/make_positions.py).
"""

from __future__ import annotations

import gzip
import inspect
import json
import math
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytestmark = [pytest.mark.swift, pytest.mark.filterwarnings("default")]  # importing torch and ms-swift warns
GOLDEN = json.loads(gzip.decompress((Path(__file__).parent / "data" / "positions.json.gz").read_bytes()))
CORRECTED = ("qwen2_vl", "qwen2_5_vl")
MODELS = {
    "qwen2_vl": ("transformers.models.qwen2_vl", "Qwen2VL"),
    "qwen2_5_vl": ("transformers.models.qwen2_5_vl", "Qwen2_5_VL"),
    "qwen3_vl": ("transformers.models.qwen3_vl", "Qwen3VL"),
    "qwen3_5": ("transformers.models.qwen3_5", "Qwen3_5"),
    "qwen3_vl_moe": ("transformers.models.qwen3_vl_moe", "Qwen3VLMoe"),
    "qwen3_5_moe": ("transformers.models.qwen3_5_moe", "Qwen3_5Moe"),
    "qwen4_exp": ("transformers.models.qwen4_exp", "Qwen4Exp"),
}
LIKE = {"qwen3_vl_moe": "qwen3_vl", "qwen3_5_moe": "qwen3_5", "qwen4_exp": "qwen3_5"}
"""Models that are given the positions of another one."""
CASES = [(name, layout["title"], layout) for name in MODELS for layout in GOLDEN[LIKE.get(name, name)]["layouts"]]


@pytest.fixture(scope="module")
def positions() -> Any:
    """The module, imported late because its import takes long."""
    return import_module("swift_stvg.adapters.positions")


def test_the_models_that_are_corrected_are_these(positions: Any) -> None:
    assert {name: MODELS[name] for name in CORRECTED} == positions.MODELS


def given_of(positions: Any, name: str, layout: dict[str, Any]) -> tuple[Any, torch.Tensor, dict[str, Any]]:
    """A model without weights, the tokens, and the other arguments of its `get_rope_index`."""
    package, beginning = MODELS[name]
    kind = getattr(pytest.importorskip(f"{package}.modeling_{name}"), f"{beginning}Model")
    model = kind.__new__(kind)
    torch.nn.Module.__init__(model)
    model.config = getattr(import_module(f"{package}.configuration_{name}"), f"{beginning}Config")()
    for token, number in GOLDEN[LIKE.get(name, name)]["token_ids"].items():
        setattr(model.config, token, number)
    input_ids = torch.tensor(layout["input_ids"])
    tensors = {key: layout[key] for key in ("attention_mask", "image_grid_thw", "video_grid_thw")}
    given = {key: None if value is None else torch.tensor(value) for key, value in tensors.items()}
    given["mm_token_type_ids"] = positions.kinds_of(input_ids, model.config)
    if name == "qwen2_5_vl":
        given["second_per_grid_ts"] = layout["second_per_grid_ts"]
    return model, input_ids, given


@pytest.mark.parametrize(("name", "title", "layout"), CASES, ids=[f"{name}: {title}" for name, title, _ in CASES])
def test_positions_are_those_of_the_release(positions: Any, name: str, title: str, layout: dict[str, Any]) -> None:
    """Positions of the installed version after the correction, and deltas, which place generated tokens."""
    positions.correct_positions(name)
    model, input_ids, given = given_of(positions, name, layout)
    found, deltas = model.get_rope_index(input_ids, **given)
    used = torch.tensor(layout["attention_mask"]).bool()
    expected = torch.tensor(layout["positions"])
    assert torch.equal(found[:, used], expected[:, used]), title
    following = expected.masked_fill(~used, 0).amax((0, 2)) + 1  # of the first token that is generated
    counted = [used.sum(1), torch.full_like(following, used.shape[1])]  # versions count padding, or do not
    assert any(torch.equal(deltas[:, 0] + count, following) for count in counted)


@pytest.mark.parametrize("name", CORRECTED)
def test_a_right_version_is_left_alone(positions: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its results decide, not its version number."""
    kind = positions._model_class(name)
    installed = getattr(kind.get_rope_index, positions.THEIRS, kind.get_rope_index)

    def right(self: Any, input_ids: torch.Tensor, mm_token_type_ids: Any = None, **given: Any) -> Any:
        made = positions.rope_index(self.config, input_ids, mm_token_type_ids=mm_token_type_ids, **given)
        return made, (made.amax((0, 2)) + 1 - input_ids.shape[1]).unsqueeze(1)

    monkeypatch.setattr(kind, "get_rope_index", right)
    assert positions.faults_of(name) == []
    assert positions.correct_positions.__wrapped__(name) == ()
    assert kind.get_rope_index is right

    def wrong(self: Any, input_ids: torch.Tensor, **given: Any) -> Any:
        made, deltas = installed(self, input_ids, **given)
        return made.clamp_max(8), deltas

    monkeypatch.setattr(kind, "get_rope_index", wrong)
    assert positions.faults_of(name)[0] == "text gets positions among the frames of the video before it"
    assert positions.correct_positions.__wrapped__(name) == tuple(positions.faults_of(name))
    assert getattr(kind.get_rope_index, positions.THEIRS) is wrong


@pytest.mark.parametrize("name", CORRECTED)
def test_a_delta_that_is_never_negative_is_corrected(
    positions: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers 5.2.0 has this fault for Qwen2-VL."""
    kind = positions._model_class(name)

    def never_negative(self: Any, input_ids: torch.Tensor, attention_mask: Any = None, **kwargs: Any) -> Any:
        made = positions.rope_index(self.config, input_ids, attention_mask=attention_mask, **kwargs)
        used = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return made, ((made * used).amax((0, 2)) + 1 - input_ids.shape[1]).clamp_min(0).unsqueeze(1)

    monkeypatch.setattr(kind, "get_rope_index", never_negative)
    assert positions.faults_of(name) == ["generated tokens do not begin after the largest position"]
    assert positions.correct_positions.__wrapped__(name) == tuple(positions.faults_of(name))
    _, title, layout = next(case for case in CASES if case[:2] == (name, "left padding"))
    model, input_ids, given = given_of(positions, name, layout)
    _, deltas = model.get_rope_index(input_ids, **given)
    used = torch.tensor(layout["attention_mask"]).bool()
    largest = torch.tensor(layout["positions"]).masked_fill(~used, 0).amax((0, 2))
    assert torch.equal(deltas[:, 0] + used.shape[1], largest + 1), title


def test_the_correction_is_still_needed(positions: Any) -> None:
    """Once this fails, the installed version and all later ones may be right: then the correction can go."""
    assert any(positions.faults_of(name) for name in CORRECTED)


def test_times_are_cut_after_the_multiplication(positions: Any) -> None:
    """floor(i * seconds * tokens per second): 2.8 s a pair are 0, 5, 11, 16, not the 0, 4, 8, 12 of 2 s."""
    kinds = [0, 2, 2, 2, 2, 0]
    found = positions.positions_of(kinds, iter([]), iter([((4, 2, 2), 2.8 * 2)]), merge_size=2)
    assert found.tolist() == [[0, 1, 6, 12, 17, 18], [0, 1, 1, 1, 1, 18], [0, 1, 1, 1, 1, 18]]


def test_a_placeholder_in_an_answer_is_text(positions: Any) -> None:
    """`mm_token_type_ids` marks the placeholders of pixels; without it, a video with too few tokens is an error."""
    config = SimpleNamespace(
        image_token_id=1, video_token_id=2, vision_config=SimpleNamespace(spatial_merge_size=2, tokens_per_second=2)
    )
    input_ids, grid = torch.tensor([[5, 2, 2, 5, 2]]), torch.tensor([[2, 2, 2]])
    kinds = torch.tensor([[0, 2, 2, 0, 0]])
    found = positions.rope_index(config, input_ids, mm_token_type_ids=kinds, video_grid_thw=grid)
    assert found[0, 0].tolist() == [0, 1, 3, 4, 5]
    with pytest.raises(ValueError, match="1 tokens are missing of a picture or video of 3 x 1 x 1"):
        positions.rope_index(config, input_ids, mm_token_type_ids=kinds, video_grid_thw=torch.tensor([[3, 2, 2]]))


@pytest.mark.parametrize("fps", [4.0, 2.0, 1.25, 2 / 2.8, 2 / 0.7, 1 / 3, 0.1])
def test_the_rate_that_models_are_given_survives_float32(fps: float) -> None:
    """Rounding does not change an exact whole number of positions, for both ways to compute it."""
    from swift_stvg.adapters.templates import rate_of

    seconds = 2 / rate_of(fps)
    exact = [math.floor(round(i * 2 / fps * 2, 6)) for i in range(64)]
    kept = torch.tensor(seconds)  # float32, as a tensor of vLLM
    assert [math.floor(i * (kept.item() * 2)) for i in range(64)] == exact
    assert (torch.arange(64) * seconds * 2).long().tolist() == exact


@pytest.mark.parametrize("name", CORRECTED)
def test_generation_goes_on_after_the_largest_position(positions: Any, name: str, tmp_path: Path) -> None:
    """With and without a cache, the text is the same for positions from ms-swift and for positions from the model."""
    from transformers import AutoModelForImageTextToText

    from swift_stvg.synthetic.tiny import TinyConfig, build

    build(tmp_path / name, TinyConfig(architecture=name))
    positions.correct_positions(name)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / name).eval()
    config, merge = model.config, model.config.vision_config.spatial_merge_size
    patch = 3 * 2 * config.vision_config.patch_size**2
    video = [config.vision_start_token_id, *[config.video_token_id] * 12, config.vision_end_token_id]
    input_ids = torch.tensor([[5, 6, 7, *video, 8, 9]])
    given = {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "pixel_values_videos": torch.randn(12 * merge**2, patch, generator=torch.Generator().manual_seed(0)),
        "video_grid_thw": torch.tensor([[12, merge, merge]]),
        "mm_token_type_ids": positions.kinds_of(input_ids, config),
    }
    if "mm_token_type_ids" not in inspect.signature(type(model).forward).parameters:
        del given["mm_token_type_ids"]  # versions before 5.3
    if name == "qwen2_5_vl":
        given["second_per_grid_ts"] = [1.6]
    known = {key: value for key, value in given.items() if "pixel" not in key}
    found = positions.rope_index(config, **known)
    handed = {"position_ids": torch.cat([torch.arange(input_ids.shape[1])[None, None], found])}
    seen: list[Any] = []

    def note(_: Any, args: Any, kwargs: Any) -> None:
        seen.append(kwargs.get("position_ids", args[-1])[:, 0, -1].tolist())

    model.model.language_model.rotary_emb.register_forward_pre_hook(note, with_kwargs=True)
    texts = []
    for more in ({}, handed):
        for use_cache in (True, False):
            seen.clear()
            with torch.no_grad():
                made = model.generate(**given, **more, use_cache=use_cache, do_sample=False, max_new_tokens=6)
            texts.append(made[0, input_ids.shape[1] :].tolist())
            first = int(found[0, 0, -1])
            assert seen == [[first + k] * 3 for k in range(len(texts[-1]))], (more.keys(), use_cache)
    assert texts[1:] == texts[:1] * 3
