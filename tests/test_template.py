"""The template in one process: pixels, tokens and refusals, against independent computations."""

from __future__ import annotations

import json
import pickle
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, Qwen2VLVideoProcessor

from swift_stvg.errors import TemplateMismatch, VideoError
from swift_stvg.settings import Settings
from swift_stvg.video.image_folders import as_path
from tests.templated import FITTING, encode, row
from tests.videos import write_video

pytestmark = [pytest.mark.swift, pytest.mark.filterwarnings("default")]  # importing torch and ms-swift warns


def test_qwen3_8_is_asked_as_qwen3_5(templates: dict[str, Any], video: Path) -> None:
    """Whose architecture it has; thinking, its stock template would say in the system prompt how much."""
    from swift.template import get_template

    other = get_template(deepcopy(templates["qwen3_5"].processor), template_type="stvg_qwen3_8")
    other.model = templates["qwen3_5"].model
    other.set_mode("train")
    made = row(video, **FITTING["qwen3_5"])
    wanted, found = (one.encode(dict(made)) for one in (templates["qwen3_5"], other))
    assert (found["input_ids"], found["labels"]) == (wanted["input_ids"], wanted["labels"])
    assert found["pixel_values_videos"].equal(wanted["pixel_values_videos"])


def test_a_folder_of_pictures_is_a_video(template: Any, video: Path, tmp_path: Path) -> None:
    """Its pixels and tokens equal the film's; so do those of a long list of its pictures."""
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            Image.fromarray(frame.to_ndarray(format="rgb24")).save(tmp_path / f"{number:04d}.png", compress_level=0)
    of_film = encode(template, row(video))
    from swift_stvg.adapters.templates import LONGEST_PATH

    files = as_path(sorted(tmp_path.iterdir()))
    assert len(str(files)) > LONGEST_PATH
    for path in (tmp_path, tmp_path / "%04d.png", files):
        encoded = encode(template, row(path))
        assert encoded["input_ids"] == of_film["input_ids"]
        assert torch.equal(encoded["pixel_values_videos"], of_film["pixel_values_videos"])


def by_transformers(template: Any, video: Path, asked: list[dict[str, Any]]) -> Any:
    """The inputs from transformers' own processor, with frames that PyAV decoded and Pillow resized."""
    wanted = [round(25 * 0.5 * k - 1e-6) for k in range(10)]  # 4.52 s: 10 samples
    with av.open(str(video)) as container:
        frames = [frame.to_image() for i, frame in enumerate(container.decode(video=0)) if i in wanted]
    side = template.processor.video_processor.patch_size * 2
    size_wh = (336 // side * side, round(189 / side) * side)
    resized = np.stack([np.asarray(f.resize(size_wh, Image.Resampling.BICUBIC)) for f in frames])
    system, user = (message["content"] for message in asked[:2])
    content = [{"type": "video"}, {"type": "text", "text": user.removeprefix("<video>")}]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    return template.processor(
        text=[template.processor.apply_chat_template(messages, add_generation_prompt=True)],
        videos=[torch.from_numpy(resized).permute(0, 3, 1, 2)],
        # the rate of the samples, from which Qwen2.5-VL takes it; Qwen3-VL dates frames by their numbers in the file
        video_metadata=[{"fps": 25.0, "frames_indices": wanted, "total_num_frames": 125, "duration": 5.0}],
        do_resize=False,
        do_sample_frames=False,
        return_tensors="pt",
    )


def released(template: Any, ids: list[int]) -> list[int]:
    """A prompt without the outer markers of current transformers around a video with times (test_prompts.py)."""
    text = template.tokenizer.decode(ids)
    times = re.compile(r"<\|vision_start\|>(<[0-9.]+ seconds>.*<\|vision_end\|>)<\|vision_end\|>", re.DOTALL)
    made: list[int] = template.tokenizer.encode(times.sub(r"\1", text), add_special_tokens=False)
    return made


@pytest.mark.parametrize("name", FITTING)
def test_the_model_receives_what_transformers_gives_it(templates: dict[str, Any], video: Path, name: str) -> None:
    """The same grid, pixels within rounding, tokens, times, and positions."""
    template, made = templates[name], row(video, **FITTING[name])
    expected = by_transformers(template, video, made["messages"])
    encoded = encode(template, made)
    assert encoded["video_grid_thw"].tolist() == expected["video_grid_thw"].tolist()
    assert encoded["video_grid_thw"].tolist() == ([[5, 14, 24]] if "2" in name else [[5, 12, 20]])
    difference = (encoded["pixel_values_videos"] - expected["pixel_values_videos"]).abs()
    assert difference.mean() < 0.02
    assert difference.max() < 0.25  # of values that span 4: Pillow and torchvision resize differently
    prompt = released(template, expected["input_ids"][0].tolist())
    assert encoded["input_ids"][: len(prompt)] == prompt
    assert encoded.get("second_per_grid_ts") == ([1.0] if name == "qwen2_5_vl" else None)

    facts = ["video_grid_thw", "second_per_grid_ts"]  # as far as there are; positions: test_positions.py
    ids = torch.tensor([prompt])
    positions, _ = template.model.model.get_rope_index(
        ids,
        mm_token_type_ids=(ids == template.video_token_id) * 2,
        **{key: expected[key] for key in facts if key in expected},
    )
    collated = template.data_collator([deepcopy(encoded)])
    assert torch.equal(collated["position_ids"][..., : len(prompt)], positions)


@pytest.mark.parametrize("name", FITTING)
def test_prompt_and_answer(templates: dict[str, Any], video: Path, name: str) -> None:
    """The model learns the answer only. The prompt in inference equals the tokens before the answer in training."""
    template, made = templates[name], row(video, **FITTING[name])
    encoded = encode(template, made)
    learned = [i for i, label in zip(encoded["input_ids"], encoded["labels"], strict=True) if label != -100]
    answer = made["messages"][-1]["content"]
    end = learned.index(template.tokenizer.eos_token_id)
    assert template.tokenizer.decode(learned[end:]) in ("<|im_end|>", "<|im_end|>\n")
    template.set_mode("transformers")
    try:
        asked = encode(template, made | {"messages": made["messages"][:-1]})["input_ids"]
    finally:
        template.set_mode("train")
    assert asked == encoded["input_ids"][: len(asked)]
    assert encoded["input_ids"][len(asked) : len(asked) + len(learned)] == learned
    assert template.decode_generate_ids(learned[: end + 1]) == answer
    thoughtless = "<think>\n\n</think>\n\n" if name == "qwen3_5" else ""
    assert template.tokenizer.decode(asked).endswith(f"<|im_end|>\n<|im_start|>assistant\n{thoughtless}")
    assert re.findall(r"\[.*?\]", answer)[0] == (
        "[52, 27, 158, 109]" if name == "qwen2_5_vl" else "[156, 139, 469, 556]"
    )
    facts = ", 336 x 196 pixels" if name == "qwen2_5_vl" else ""
    assert f"(frames 0 - 9, 2 per second{facts})" in template.tokenizer.decode(asked)


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_5"])
def test_times_in_the_text_are_the_true_ones(templates: dict[str, Any], tmp_path: Path, name: str) -> None:
    """For a file with 25 and then 4 frames per second, and for an odd number of frames."""
    times_s = np.concatenate([np.arange(50) / 25, 2 + np.arange(13) / 4])
    path = write_video(tmp_path / "varying.mp4", times_s, size_wh=(640, 360))
    made = row(path, fps=1.6, **FITTING[name])
    sampled = np.array(json.loads(made["stvg"])["times_s"])
    assert len(sampled) % 2 == 1
    assert np.ptp(np.diff(sampled)) > 0.1, "the true times are not evenly spaced"
    firsts, lasts = sampled[::2], np.append(sampled[1::2], sampled[-1])
    text = templates[name].tokenizer.decode(encode(templates[name], made)["input_ids"])
    assert re.findall(r"<([0-9.]+) seconds>", text) == [f"{t:.1f}" for t in (firsts + lasts) / 2]


@pytest.mark.parametrize("name", FITTING)
def test_vllm_is_handed_what_gives_the_same(templates: dict[str, Any], video: Path, name: str) -> None:
    """transformers' processor, which vLLM calls, gives the inputs of training; test_vllm.py uses vLLM itself."""
    template = templates[name]
    made = row(video, fps=1.7, **FITTING[name])
    asked = {"messages": made["messages"][:-1]} | {key: made[key] for key in ("videos", "chat_template_kwargs")}
    encoded, engine = {}, {}
    try:
        for mode in ("transformers", "vllm"):
            template.set_mode(mode)
            encoded[mode] = template.encode(asked)
            engine[mode] = template.prepare_engine_kwargs()
    finally:
        template.set_mode("train")
    expected, given = encoded["transformers"], encoded["vllm"]
    pixels = template.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
    assert engine["transformers"] == {}
    assert engine["vllm"]["additional_config"] == {"swift_stvg_unwanted": pixels}, (
        "read by swift_stvg.serving.vllm_no_pixels"
    )
    assert engine["vllm"]["logits_processors"] == ["swift_stvg.serving.vllm_no_pixels:NoPixels"]
    ((frames, metadata),) = given["videos"]
    seen = template.processor(
        text=[template.tokenizer.decode(given["input_ids"])],
        videos=[frames],
        video_metadata=[metadata],
        return_tensors="pt",
        **given["mm_processor_kwargs"],
    )
    assert seen["input_ids"][0].tolist() == expected["input_ids"]
    for key in ("pixel_values_videos", "video_grid_thw"):
        assert torch.equal(seen[key], expected[key])
    seconds = [float(s) for s in seen.get("second_per_grid_ts", [])]
    assert seconds == pytest.approx(expected.get("second_per_grid_ts", []))


@pytest.mark.parametrize("name", FITTING)
def test_rows_in_one_sequence_keep_their_positions(templates: dict[str, Any], video: Path, name: str) -> None:
    """The inputs of FlashAttention without padding (padding_free, packing), which ms-swift allows only with it."""
    template = templates[name]
    rows = [row(video, max_side=side, **FITTING[name]) for side in (140, 70)]
    rows = [{key: made[key] for key in ("messages", "videos", "chat_template_kwargs")} for made in rows]
    encoded = [template.encode(made, return_length=True) for made in rows]
    alone = [template.data_collator([template.encode(made)]) for made in rows]
    template.padding_free = True
    try:
        packed = template.data_collator(deepcopy(encoded))
        template.use_megatron = True
        in_megatron = template.data_collator(encoded)
    finally:
        template.padding_free = template.use_megatron = False
    assert in_megatron.pop("seq_lens") == [len(one["input_ids"][0]) for one in alone]
    assert set(in_megatron) == set(packed)
    assert all(torch.equal(torch.as_tensor(in_megatron[key]), torch.as_tensor(packed[key])) for key in packed)
    for key in ("input_ids", "labels", "position_ids", "text_position_ids"):
        assert torch.equal(packed[key], torch.cat([one[key] for one in alone], dim=-1)), key
    for key in ("pixel_values_videos", "video_grid_thw"):
        assert torch.equal(packed[key], torch.cat([one[key] for one in alone])), key
    ends = np.cumsum([0, *(one["input_ids"].shape[1] for one in alone)])
    assert packed["cu_seq_lens_q"].tolist() == ends.tolist()

    if name == "qwen3_5":  # whose linear attention tells rows apart only on a GPU
        return
    model = AutoModelForImageTextToText.from_pretrained(template.model_info.model_dir)

    def logits(batch: dict[str, Any]) -> torch.Tensor:
        """With torch's attention, which separates rows if it receives the positions in the text."""
        positions = torch.cat([batch["text_position_ids"][None], batch["position_ids"]])
        given = {key: batch[key] for key in ("input_ids", "pixel_values_videos", "video_grid_thw")}
        with torch.no_grad():
            made: torch.Tensor = model(**given, position_ids=positions, use_cache=False).logits
        return made

    assert torch.allclose(logits(packed), torch.cat([logits(one) for one in alone], dim=1), atol=1e-4)
    shifted = packed | {"text_position_ids": torch.arange(ends[-1])[None]}
    assert not torch.allclose(logits(shifted), logits(packed), atol=1e-2), "as one row"


def test_odd_numbers_of_frames(template: Any, tmp_path: Path) -> None:
    path = write_video(tmp_path / "odd.mp4", np.arange(75) / 25, size_wh=(640, 360))
    encoded = encode(template, row(path, fps=1.0))
    assert encoded["video_grid_thw"].tolist() == [[2, 14, 24]]
    assert encoded["second_per_grid_ts"] == [2.0]


def test_other_rows_are_the_stock_templates(template: Any, video: Path) -> None:
    plain = {
        "messages": [{"role": "user", "content": "<video>what?"}, {"role": "assistant", "content": "yes"}],
        "videos": [str(video)],
        "chat_template_kwargs": {},
    }
    encoded = encode(template, plain)
    assert encoded["video_grid_thw"].shape == (1, 3)
    assert template.tokenizer.decode(encoded["input_ids"]).startswith(
        "<|im_start|>system\nYou are a helpful assistant."
    )


def test_a_run_with_another_template_is_warned(
    template: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from swift_stvg.adapters import templates

    monkeypatch.setattr(templates.logger, "propagate", True)
    monkeypatch.setattr(templates.StvgTemplate, "in_use", template)
    templates.check_settings(Settings())
    assert not caplog.records
    monkeypatch.setattr(templates.StvgTemplate, "in_use", None)
    templates.check_settings(Settings())
    assert "Pass --template stvg_qwen2_vl or stvg_qwen2_5_vl or" in caplog.text


def test_rows_for_another_backbone_are_refused(template: Any, video: Path) -> None:
    with pytest.raises(
        TemplateMismatch,
        match=r"norm1000 coordinates, but the backbone of stvg_qwen2_5_vl needs pixel: set STVG_COORDS=pixel, or",
    ):
        encode(template, row(video, coords="norm1000"))
    with pytest.raises(TemplateMismatch, match=r"sides of 320 and 192 pixels.* STVG_SIDE_MULTIPLE=28"):
        encode(template, row(video, side_multiple=32))


def test_a_vanished_video_is_an_error(template: Any, tmp_path: Path) -> None:
    path = write_video(tmp_path / "gone.mp4", np.arange(113) / 25, size_wh=(640, 360))
    made = row(path)
    path.unlink()
    with pytest.raises(VideoError, match=r"video missing: no file .*gone\.mp4"):
        encode(template, made)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_a_clip_is_cut_into_patches_once(
    templates: dict[str, Any], video: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    template, fitting = templates[name], FITTING[name]
    processor = template.processor.video_processor
    processor.loader.memory.clear()
    made = []
    whole = type(processor).__mro__[2].preprocess
    monkeypatch.setattr(
        type(processor).__mro__[2], "preprocess", lambda self, *a, **k: made.append(1) or whole(self, *a, **k)
    )
    rows = [row(video, max_side=112, **fitting) for _ in range(3)]
    first = template.encode(rows[0])["pixel_values_videos"]
    kept = first.clone()
    with torch.inference_mode():
        first.zero_()  # what a caller does with it is its own affair
    assert all(torch.equal(template.encode(other)["pixel_values_videos"], kept) for other in rows[1:])
    assert len(made) == 1
    template.encode(row(video, max_side=84, **fitting))
    assert len(made) == 2, "another size is another clip"


def test_a_processor_that_remembers_is_saved_and_sent_as_it_was(template: Any, tmp_path: Path) -> None:
    processor = template.processor.video_processor
    template.processor.save_pretrained(tmp_path)
    assert (
        json.loads((tmp_path / "processor_config.json").read_text())["video_processor"]["video_processor_type"]
        == "Qwen2VLVideoProcessor"
    )
    for copied in (pickle.loads(pickle.dumps(processor)), deepcopy(processor)):
        assert type(copied) is Qwen2VLVideoProcessor
        assert copied.to_dict() == processor.to_dict()


@pytest.mark.parametrize("token", ["<|video_pad|>", "<|image_pad|>"])
def test_an_answer_holds_no_placeholder_of_pixels(template: Any, video: Path, token: str) -> None:
    """Even if the model prefers such a token. In GRPO, an answer with a placeholder cannot be encoded again."""
    from swift.infer_engine import InferRequest, RequestConfig, TransformersEngine
    from swift.model import get_model_processor

    kept = template.model
    template.set_mode("transformers")
    try:
        model, _ = get_model_processor(template.processor.tokenizer.name_or_path, model_type="qwen2_5_vl")
        engine = TransformersEngine(model, template=template)
        unwanted = template.tokenizer.convert_tokens_to_ids(token)
        model.lm_head.register_forward_hook(
            lambda module, args, logits: logits.index_fill(-1, torch.tensor([unwanted]), 1e4)
        )
        made = row(video, max_side=84)
        request = InferRequest(made["messages"][:-1], videos=made["videos"])
        request.chat_template_kwargs = made["chat_template_kwargs"]
        for temperature in (0.0, 1.0):
            answer = engine.infer([request], RequestConfig(max_tokens=8, temperature=temperature), use_tqdm=False)[0]
            assert answer.usage.completion_tokens > 0
            assert token not in answer.choices[0].message.content
    finally:
        template.set_mode("train")
        template.model = kept
