"""The prompt of a video for Qwen3-VL and Qwen3.5, token by token, against the processors that came with the models.

tests/data/prompts.json holds their prompts for several layouts (tests/goldens/make_prompts.py).
"""

from __future__ import annotations

import json
import pickle
import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image

from swift_stvg.settings import Settings
from swift_stvg.synthetic.tiny import ARCHITECTURES, TinyConfig, build
from tests.running import run
from tests.templated import FITTING, row, skip_unknown

pytestmark = [pytest.mark.swift, pytest.mark.filterwarnings("default")]  # importing torch and ms-swift warns
GOLDEN = json.loads((Path(__file__).parent / "data" / "prompts.json").read_text())
CASES = [(name, layout["title"], layout) for name, made in GOLDEN.items() for layout in made["layouts"]]
VIDEO, PICTURE = (f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("video", "image"))
SIDE = 64
EXPERTS = {"qwen3_vl_moe": "qwen3_vl", "qwen3_5_moe": "qwen3_5", "qwen4_exp": "qwen3_5"}
"""Models of experts, each with a model without experts that has the same prompt."""


def encode(template: Any, layout: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A row in the layout, encoded by ms-swift with our template; only the frames come from the test."""

    def frames(media_type: str, index: int, inputs: Any) -> list[Any]:
        if media_type == "image":
            return [PICTURE]
        times = layout["videos_s"][index]
        inputs.videos[index] = torch.zeros(len(times), 3, SIDE, SIDE, dtype=torch.uint8)
        metadata = {"fps": 100.0, "frames_indices": [round(t * 100) for t in times], "total_num_frames": 1000}
        inputs.mm_processor_kwargs.setdefault("video_metadata", []).append(metadata)
        inputs.mm_processor_kwargs["do_sample_frames"] = False
        return [template.tag]

    monkeypatch.setattr(template, "replace_tag", frames)
    content = layout["prompt"].replace(VIDEO, "<video>").replace(PICTURE, "<image>")
    pictures = [Image.new("RGB", (SIDE, SIDE)) for _ in range(content.count("<image>"))]
    media = {"images": pictures, "videos": ["a"] * content.count("<video>")}
    asked = [{"role": "user", "content": content}, {"role": "assistant", "content": "it does"}]
    encoded: dict[str, Any] = template.encode({"messages": asked, **media})
    return encoded


@pytest.mark.parametrize(("name", "title", "layout"), CASES, ids=[f"{name}: {title}" for name, title, _ in CASES])
def test_the_prompt_is_that_of_the_release(
    templates: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str, title: str, layout: dict[str, Any]
) -> None:
    template = templates[name]
    expanded = layout["expanded"].strip() if name == "qwen3_5" else layout["expanded"]  # its messages are trimmed
    encoded = encode(template, layout, monkeypatch)
    expected = template.tokenizer.encode(f"<|im_start|>user\n{expanded}<|im_end|>\n", add_special_tokens=False)
    assert encoded["input_ids"][: len(expected)] == expected, title
    if Version(transformers.__version__) >= Version("5.3"):  # earlier ones find the kinds of tokens from the ids
        kinds, ids = encoded["mm_token_type_ids"], torch.tensor(encoded["input_ids"])
        assert torch.equal(kinds == 2, ids == template.video_token_id), "positions are those of the corrected tokens"
    assert len(encoded["labels"]) == len(encoded["input_ids"])


@pytest.mark.parametrize("keeps", [True, False], ids=["keeps the outer pair", "replaces all three tokens"])
@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_5"])
def test_vllm_of_both_kinds_makes_the_same_prompt(
    templates: dict[str, Any], video: Path, monkeypatch: pytest.MonkeyPatch, name: str, keeps: bool
) -> None:
    """A replacement updates prompts as vLLM's two kinds of processors do; tests/engines runs the real vLLM."""
    from swift_stvg.adapters import prompts
    from swift_stvg.adapters import templates as module

    template = templates[name]
    monkeypatch.setattr(module, "vllm_keeps_outer_pair", lambda *_: keeps)
    vars(template).pop("released_tag", None)
    made = row(video, **FITTING[name])
    asked = {"messages": made["messages"][:-1]} | {key: made[key] for key in ("videos", "chat_template_kwargs")}
    try:
        template.set_mode("transformers")
        expected = template.encode(asked)["input_ids"]
        template.set_mode("vllm")
        given = template.encode(asked)["input_ids"]
    finally:
        template.set_mode("train")
        vars(template).pop("released_tag", None)
    text, whole = (template.tokenizer.decode(ids) for ids in (given, expected))
    start = whole.index("<0.")
    replaced = whole[start : whole.rindex("<|vision_end|>") + len("<|vision_end|>")]
    target = prompts.PAD if keeps else VIDEO
    assert text.replace(target, replaced) == whole
    assert text.count(target) == 1


def test_vllm_is_asked_what_it_does(templates: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's own replacement decides, and transformers' behaviour if that cannot be found out."""
    from swift_stvg.adapters import prompts

    processor, config = templates["qwen3_vl"].processor, templates["qwen3_vl"].config
    kept = prompts.transformers_keeps_outer_pair(processor)

    def vllm(target: Any) -> Any:
        class Cutter:
            def _get_prompt_updates(self, *_: Any) -> list[Any]:
                if target is None:
                    raise AttributeError("another vLLM")
                assert self.info.get_hf_processor() is processor
                return [SimpleNamespace(modality="image", target=[1]), SimpleNamespace(modality="video", target=target)]

        return SimpleNamespace(Qwen3VLMultiModalProcessor=Cutter)

    three = processor.tokenizer.convert_tokens_to_ids(list(prompts.VIDEO))
    for target, expected in [([config.video_token_id], True), (three, False), (VIDEO, False), (None, kept)]:
        monkeypatch.setitem(sys.modules, "vllm.model_executor.models.qwen3_vl", vllm(target))
        assert prompts.vllm_keeps_outer_pair(processor, config) is expected, target


def test_only_a_doubled_pair_is_taken_away() -> None:
    start, pad, end, time = 1, 2, 3, 9
    cases = [
        ([start, time, start, pad, end, end], [time, start, pad, end], "one pair"),
        ([start, time, start, pad, end, time, start, pad, end, end], [time, start, pad, end] * 2, "two pairs"),
        ([time, start, pad, end], [time, start, pad, end], "as released"),
        ([start, pad, pad, end], [start, pad, pad, end], "no times: Qwen2.5-VL"),
        ([pad, pad], [pad, pad], "a picture"),
        ([], [], "nothing"),
    ]
    from swift_stvg.adapters.prompts import without_outer_pair

    for tokens, expected, why in cases:
        assert without_outer_pair(tokens, start, end, pad) == expected, why


@pytest.mark.parametrize("fps", [1.25, 2.0, 4.0, 0.7])
@pytest.mark.parametrize("name", FITTING)
def test_a_check_finds_that_models_are_asked_as_they_were_pretrained(
    templates: dict[str, Any], video: Path, name: str, fps: float
) -> None:
    """Prompts and positions follow from the row's times, and a wrong prompt or position is found."""
    from swift_stvg.adapters.lengths import disagreements
    from swift_stvg.adapters.prompts import transformers_keeps_outer_pair

    template, made = templates[name], row(video, fps=fps, **FITTING[name])
    model = template.model
    try:
        assert disagreements(template, [made], Settings()) == []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(template), "_get_position_ids", lambda self, inputs: _shifted(self, inputs))
            (found,) = disagreements(template, [made], Settings())
        assert found.startswith("a: token 0 is at position [1, 1, 1], but the model was pretrained with [0, 0, 0]")
        if name.startswith("qwen3"):
            with pytest.MonkeyPatch.context() as patch:  # a prompt as transformers 5.12 and later expand it
                patch.setattr("swift_stvg.adapters.templates.without_outer_pair", lambda tokens, *_: tokens)
                found = disagreements(template, [made], Settings())
            if transformers_keeps_outer_pair(template.processor):
                assert found[0].endswith("is '<|vision_start|>', but the model's release has nothing there"), found
            else:
                assert found == []
            with pytest.MonkeyPatch.context() as patch:  # other times
                stock = type(template.processor)._calculate_timestamps
                patch.setattr(
                    type(template.processor),
                    "_calculate_timestamps",
                    lambda self, *given: [t + 1 for t in stock(self, *given)],
                )
                found = disagreements(template, [made], Settings())
            assert "but the model's release has '0'" in found[0], found
    finally:
        template.model = model


@pytest.mark.parametrize(("name", "like"), EXPERTS.items())
def test_models_of_experts_are_asked_as_those_without(
    templates: dict[str, Any], video: Path, tmp_path: Path, name: str, like: str
) -> None:
    """Their template is found without being named, in the command line too; tokens, pixels and positions."""
    from swift_stvg.adapters.engine import swift_arguments
    from swift_stvg.adapters.lengths import disagreements, prepare

    skip_unknown(name)
    build(tmp_path / name, TinyConfig(architecture=name))
    (tmp_path / name / "args.json").unlink()  # which a model from a hub has not
    template = prepare(str(tmp_path / name), None, None)
    assert template.template_meta.template_type == ARCHITECTURES[name]
    words = ["--model", str(tmp_path / name), "--stream", "false"]
    assert swift_arguments(str(tmp_path / name), words).template == ARCHITECTURES[name]
    made = row(video, **FITTING[like])
    wanted, found = (one.encode(deepcopy(made)) for one in (templates[like], template))
    assert (found["input_ids"], found["labels"]) == (wanted["input_ids"], wanted["labels"])
    assert found["pixel_values_videos"].equal(wanted["pixel_values_videos"])
    assert disagreements(template, [made], Settings()) == []


def _shifted(template: Any, inputs: Any) -> Any:
    stock = next(kind for kind in type(template).__mro__ if kind.__module__.startswith("swift.template"))
    positions = stock._get_position_ids(template, inputs)["position_ids"]
    positions[1:] += 1  # the first are the places in the sequence
    return {"position_ids": positions}


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_positions_are_right_in_workers_too(templates: dict[str, Any], video: Path, tmp_path: Path, name: str) -> None:
    """A spawned worker unpickles the template, in a process where no model's class was corrected."""
    template = templates[name]
    encoded = template.encode(
        {key: row(video, **FITTING[name])[key] for key in ("messages", "videos", "chat_template_kwargs")}
    )
    expected = template.data_collator([deepcopy(encoded)])["position_ids"]
    (tmp_path / "sent").write_bytes(pickle.dumps((template.data_collator, encoded, expected)))
    script = "import pickle, sys, torch\n" + (
        "from swift.model import get_model_processor\n"
        "collate, encoded, expected = pickle.load(open(sys.argv[1], 'rb'))\n"
        "template = collate.__self__  # what a worker makes itself where a model's folder says its type\n"
        "folder = template.model_info.model_dir\n"
        "template.dummy_model = get_model_processor(folder, model_type=sys.argv[2], return_dummy_model=True)[0]\n"
        "assert torch.equal(collate([encoded])['position_ids'], expected)\n"
        "print('SAME')\n"
    )
    assert "SAME" in run([sys.executable, "-c", script, str(tmp_path / "sent"), name], tmp_path, {})


@pytest.mark.parametrize("mode", ["train", "transformers", "vllm"])
@pytest.mark.parametrize("name", FITTING)
def test_a_folder_of_pictures_is_the_film(
    templates: dict[str, Any], video: Path, tmp_path: Path, name: str, mode: str
) -> None:
    """Every template gives the model, and vLLM, the same inputs for both, in training, inference and rollouts."""
    folder = tmp_path / "frames"
    folder.mkdir()
    with av.open(str(video)) as film:
        for number, frame in enumerate(film.decode(video=0)):
            frame.to_image().save(folder / f"{number:06d}.png")
    template, made = templates[name], row(video, max_side=96, **FITTING[name])
    try:
        template.set_mode(mode)
        asked = {key: made[key] for key in ("messages", "videos", "chat_template_kwargs")}
        of_film = template.encode(asked)
        of_folder = template.encode(asked | {"videos": [str(folder)]})
    finally:
        template.set_mode("train")
    assert of_folder["input_ids"] == of_film["input_ids"]
    if mode == "vllm":
        (frames, metadata), (film_frames, film_metadata) = of_folder["videos"][0], of_film["videos"][0]
        assert metadata == film_metadata
    else:
        frames, film_frames = of_folder["pixel_values_videos"], of_film["pixel_values_videos"]
    assert torch.equal(frames, film_frames)
