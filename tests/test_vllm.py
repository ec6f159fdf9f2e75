"""vLLM's own processors give the inputs of training for a prompt. Needs vLLM, but no GPU.

Neither vLLM's engine nor a model runs here, so vLLM works without the torch version that its kernels need:

    python -m venv ENV && ENV/bin/pip install -c constraints.txt -e '.[dev]'
    ENV/bin/pip install --no-deps vllm==0.33.0   # and what importing it then misses
    ENV/bin/pytest tests/test_vllm.py
"""

from __future__ import annotations

import runpy
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from swift_stvg import register
from swift_stvg.video.request import VIDEO_KEY, VideoRequest
from tests.fresh import fresh
from tests.internvl import build_internvl
from tests.templated import FITTING, row

pytest.importorskip("vllm")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize("name", FITTING)
def test_vllm_sees_what_training_sees(templates: dict[str, Any], video: Path, name: str) -> None:
    """Tokens, positions, grid, times and pixels, of a clip sampled at an odd rate."""
    from vllm import ModelRegistry

    template = templates[name]
    expected, seen, config = seen_by_vllm(template, row(video, fps=1.7, **FITTING[name]))
    data = seen["mm_kwargs"].get_data()
    assert list(seen["prompt_token_ids"]) == expected["input_ids"]
    media = zip(seen["mm_kwargs"]["video"], seen["mm_placeholders"]["video"], strict=True)
    features = [SimpleNamespace(modality="video", data=item, mm_position=place) for item, place in media]
    kind, _ = ModelRegistry.resolve_model_cls(config.architectures, config)
    model = kind.__new__(kind)  # positions need no weights
    torch.nn.Module.__init__(model)
    model.config = config.hf_config
    positions, _ = model.get_mrope_input_positions(expected["input_ids"], features)
    template.set_mode("transformers")
    try:
        assert torch.equal(template.data_collator([deepcopy(expected)])["position_ids"][-3:, 0], positions)
    finally:
        template.set_mode("train")
    assert torch.equal(data["video_grid_thw"].reshape(-1, 3), expected["video_grid_thw"])
    assert data.get("second_per_grid_ts", torch.tensor([])).tolist() == pytest.approx(
        expected.get("second_per_grid_ts", [])
    )
    pixels = data["pixel_values_videos"]
    if pixels.dtype == torch.uint8:  # vLLM normalises on the device
        images = template.processor.video_processor
        mean, std = (torch.tensor(values).reshape(1, 3, 1) for values in (images.image_mean, images.image_std))
        pixels = ((pixels.reshape(len(pixels), 3, -1) / 255 - mean) / std).reshape(pixels.shape)
    assert torch.allclose(pixels, expected["pixel_values_videos"], atol=1e-5)


@pytest.fixture(scope="module")
def internvl(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The template of the example, over a tiny model."""
    register()
    runpy.run_path(str(Path(__file__).parents[1] / "examples/add_a_backbone/internvl.py"))
    from swift.model import get_processor
    from swift.template import get_template

    folder = tmp_path_factory.mktemp("internvl") / "tiny"
    build_internvl(folder)
    return get_template(get_processor(str(folder), model_type="internvl"), template_type="stvg_internvl")


@pytest.mark.parametrize("query_first", [False, True], ids=["query after", "query before"])
@pytest.mark.parametrize("fps", [2.0, 1.25, 4.0, 1.7])
def test_vllm_sees_of_internvl_what_training_sees(internvl: Any, video: Path, fps: float, query_first: bool) -> None:
    """Tokens except the placeholders, pixels, and consecutive positions; odd and even counts of frames."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.interfaces import supports_mrope

    made = row(video, coords="norm1000", side_multiple=56, max_side=56, fps=fps, query_first=query_first)
    expected, seen, config = seen_by_vllm(internvl, made)
    prompt = list(seen["prompt_token_ids"])
    assert prompt != expected["input_ids"]
    assert internvl.as_trained(prompt) == expected["input_ids"]
    assert len(expected["pixel_values"]) == len(VideoRequest.from_json(made["chat_template_kwargs"][VIDEO_KEY]).frames)
    assert torch.allclose(seen["mm_kwargs"].get_data()["pixel_values_videos"], expected["pixel_values"], atol=1e-5)
    kind, _ = ModelRegistry.resolve_model_cls(config.architectures, config)
    assert not config.uses_mrope
    assert not supports_mrope(kind)


def seen_by_vllm(template: Any, made: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    """A row without its answer: the inputs for transformers, the inputs of vLLM's processor, and vLLM's config."""
    from vllm.config import ModelConfig
    from vllm.multimodal import MULTIMODAL_REGISTRY
    from vllm.multimodal.processing import ProcessorInputs, TimingContext

    asked = {"messages": made["messages"][:-1]} | {key: made[key] for key in ("videos", "chat_template_kwargs")}
    encoded = {}
    try:
        for mode in ("transformers", "vllm"):
            template.set_mode(mode)
            encoded[mode] = template.encode(asked)
    finally:
        template.set_mode("train")
    given = encoded["vllm"]
    config = ModelConfig(model=template.model_info.model_dir, dtype="float32", enforce_eager=True)
    processor = MULTIMODAL_REGISTRY.create_processor(config)
    media = processor.info.parse_mm_data({"video": given["videos"]})  # as ms-swift's engine hands over pairs
    inputs = ProcessorInputs(
        prompt=given["input_ids"], mm_data_items=media, hf_processor_mm_kwargs=given["mm_processor_kwargs"]
    )
    return encoded["transformers"], processor.apply(inputs, TimingContext(enabled=False)), config


@pytest.mark.parametrize("name", FITTING)
def test_no_placeholder_can_be_written(templates: dict[str, Any], name: str) -> None:
    """For both of vLLM's model runners, with the name that the template gives to the engine."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.sample.logits_processor import _load_logitsprocs_by_fqcns
    from vllm.v1.worker.gpu.sample.logits_processor.loader import _load_v2_logitsprocs_by_fqcns

    template = templates[name]
    template.set_mode("vllm")
    try:
        given = template.prepare_engine_kwargs()
    finally:
        template.set_mode("train")
    names = given["logits_processors"]
    taken = EngineArgs(model=template.model_info.model_dir, **given)
    config = SimpleNamespace(additional_config=taken.additional_config)  # a whole VllmConfig wants a device
    unwanted = template.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
    for load, more in ((_load_logitsprocs_by_fqcns, ("cpu", False)), (_load_v2_logitsprocs_by_fqcns, (None,))):
        (kind,) = load(names)
        processor = kind(config, *more)
        logits = processor.apply(torch.zeros(3, len(template.tokenizer)))
        assert logits.isneginf().sum() == 3 * len(unwanted)
        assert logits[:, unwanted].isneginf().all()


OLDER = """
import sys
from types import SimpleNamespace

import torch

sys.modules["vllm.v1.worker.gpu.sample.logits_processor"] = None  # as where there is none
from vllm.v1.sample.logits_processor import _load_logitsprocs_by_fqcns

(kind,) = _load_logitsprocs_by_fqcns(["swift_stvg.serving.vllm_no_pixels:NoPixels"])
config = SimpleNamespace(additional_config={"swift_stvg_unwanted": [1, 3]})
print("LOGITS", kind(config, "cpu", False).apply(torch.zeros(1, 4)).tolist())
"""


def test_a_vllm_whose_second_runner_takes_no_processors(tmp_path: Path) -> None:
    assert "LOGITS [[0.0, -inf, 0.0, -inf]]" in fresh(OLDER, tmp_path)


def test_the_users_options_of_the_engine_stay(templates: dict[str, Any]) -> None:
    """Checked in the engine's arguments from ms-swift."""
    from swift.infer_engine.vllm_engine import VllmEngine
    from vllm.engine.arg_utils import EngineArgs

    template = templates["qwen2_5_vl"]
    engine = VllmEngine.__new__(VllmEngine)
    for name in ("use_async_engine", "enable_lora", "limit_mm_per_prompt", "trust_remote_code"):
        setattr(engine, name, False)
    for name in ("task_type", "seed", "enable_prefix_caching", "distributed_executor_backend"):
        setattr(engine, name, None)
    for name in ("gpu_memory_utilization", "tensor_parallel_size", "pipeline_parallel_size", "max_num_seqs"):
        setattr(engine, name, 1)
    engine.disable_custom_all_reduce = engine.enforce_eager = True
    engine.template, engine.model_info, engine.model_meta = template, template.model_info, template.model_meta
    engine.model_dir, engine.config = template.model_info.model_dir, template.model_info.config
    try:
        engine._prepare_engine_kwargs(512, {"logits_processors": ["their:Own"], "additional_config": {"b": 2}})
    finally:
        template.set_mode("train")
    made = engine.engine_args
    assert isinstance(made, EngineArgs)
    assert made.logits_processors == ["their:Own", "swift_stvg.serving.vllm_no_pixels:NoPixels"]
    assert made.additional_config == {"b": 2, "swift_stvg_unwanted": template.unwanted}
