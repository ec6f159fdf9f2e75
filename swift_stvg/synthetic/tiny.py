"""Small random models of the real architectures with a small tokenizer, for trials and tests without a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.errors import StvgError
from swift_stvg.settings import BACKBONES, UNITS
from swift_stvg.util.output_folder import new_folder

_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_MESSAGES = (
    "<|im_start|>{{ message['role'] }}\n{% set content %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' or 'video' in part %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{% endset %}"
)


INITIALIZER_RANGE = 0.06
"""Standard deviation of random weights. With the usual 0.02, models of this width learn less than half as fast."""


@dataclass(frozen=True, slots=True)
class _Architecture:
    """A backbone: its names in transformers, the side of a patch in pixels, and its configuration.

    `text` and `vision` compute the configuration entries that only this architecture has, from the size of the model.
    `template` is the template of swift_stvg, if it is not named after the architecture.
    """

    name: str
    video_processor: str
    patch: int
    text: Callable[[TinyConfig], dict[str, Any]]
    vision: Callable[[TinyConfig], dict[str, Any]]
    processor: str = ""
    template: str = ""


def _sections(*sections: int, **more: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "mrope_section": list(sections), "rope_theta": 10000.0}
    return {"rope_parameters": rope | more}


def _qwen3_vl(config: TinyConfig) -> dict[str, Any]:
    return _sections(6, 5, 5, mrope_interleaved=True) | {"head_dim": 32}


def _qwen3_5(config: TinyConfig) -> dict[str, Any]:
    return (
        _sections(2, 1, 1, mrope_interleaved=True, partial_rotary_factor=0.25)
        | {"head_dim": 32, "layer_types": _mixed_layers(config.layers)}
        | {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
        | {"linear_key_head_dim": 128, "linear_value_head_dim": 128}  # vLLM on a CPU does not accept 32
    )


def _experts(config: TinyConfig) -> dict[str, Any]:
    """Four narrow experts; each token goes to two of them.

    Their matrices are not square: transformers finds out from the sides whether a checkpoint holds them transposed.
    """
    return {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 3 * config.hidden // 4}


def _qwen3_5_moe(config: TinyConfig) -> dict[str, Any]:
    """As Qwen3.5, with experts, and one more that all tokens share."""
    return _qwen3_5(config) | _experts(config) | {"shared_expert_intermediate_size": config.hidden}


def _qwen4_exp(config: TinyConfig) -> dict[str, Any]:
    """Embeddings of pairs and triples of tokens in the first layer, and attention to chosen tokens in the last one."""
    ngrams = {"ple_layer_ids": [1], "ngram_vocab_size_base": 97, "heads_per_ngram": 2, "split_ngram_parts": 1}
    indexer = {"n_heads": 2, "kv_heads": 1, "head_dim": 32, "budget": 64, "compress_ratio": 4}
    more = {"hc_count": 2, "hc_lowrank": 16} | ngrams | {f"indexer_{name}": value for name, value in indexer.items()}
    return _qwen3_5_moe(config) | more


_LATER_VISION = {"num_position_embeddings": 2304}  # 48 x 48, interpolated
_ARCHITECTURES = {
    "qwen2_vl": _Architecture(
        "Qwen2VL",
        "Qwen2VLVideoProcessor",
        14,
        lambda config: _sections(4, 6, 6),
        lambda config: {"embed_dim": config.vision_hidden, "mlp_ratio": 2, "hidden_size": config.hidden},
    ),
    "qwen2_5_vl": _Architecture(
        "Qwen2_5_VL",
        "Qwen2VLVideoProcessor",
        14,
        lambda config: _sections(4, 6, 6),
        lambda config: {"fullatt_block_indexes": [config.vision_depth - 1], "tokens_per_second": 2},
    ),
    "qwen3_vl": _Architecture(
        "Qwen3VL",
        "Qwen3VLVideoProcessor",
        16,
        _qwen3_vl,
        lambda config: _LATER_VISION | {"deepstack_visual_indexes": [0]},
    ),
    "qwen3_vl_moe": _Architecture(
        "Qwen3VLMoe",
        "Qwen3VLVideoProcessor",
        16,
        lambda config: _qwen3_vl(config) | _experts(config) | {"norm_topk_prob": True},  # vLLM reads it
        lambda config: _LATER_VISION | {"deepstack_visual_indexes": [0]},
        "Qwen3VL",
        "stvg_qwen3_vl",
    ),
    "qwen3_5": _Architecture("Qwen3_5", "Qwen3VLVideoProcessor", 16, _qwen3_5, lambda config: _LATER_VISION, "Qwen3VL"),
    "qwen3_5_moe": _Architecture(
        "Qwen3_5Moe",
        "Qwen3VLVideoProcessor",
        16,
        _qwen3_5_moe,
        lambda config: _LATER_VISION,
        "Qwen3VL",
        "stvg_qwen3_5",
    ),
    "qwen4_exp": _Architecture(
        "Qwen4Exp",
        "Qwen3VLVideoProcessor",
        16,
        _qwen4_exp,
        lambda config: _LATER_VISION,
        "Qwen3VL",
        "stvg_qwen3_8",
    ),
}
ARCHITECTURES = {name: kind.template or f"stvg_{name}" for name, kind in _ARCHITECTURES.items()}
"""The architectures by name, each with its template of swift_stvg."""


def _mixed_layers(count: int) -> list[str]:
    """Linear attention in all layers but the last one, so that small models have both kinds."""
    return ["linear_attention"] * (count - 1) + ["full_attention"]


@dataclass(frozen=True, slots=True)
class TinyConfig:
    """Size of a tiny model.

    Attributes:
        architecture: one of qwen2_vl, qwen2_5_vl, qwen3_vl, qwen3_vl_moe, qwen3_5, qwen3_5_moe and qwen4_exp
            (Qwen3.8-Flash-Next), as in transformers and ms-swift.
        hidden: width of the language model, a multiple of 32.
        layers: layers of the language model.
        vision_hidden: width of the vision tower, a multiple of 32.
        vision_depth: layers of the vision tower.
        spatial_merge: side of a visual token in patches; frame sides must be multiples of this times 14 pixels, or
            times 16 pixels for Qwen3-VL and Qwen3.5.
        max_coordinate: largest coordinate that is a single token.
        max_index: largest index that is a single token.
        seed: seed of the random weights.
    """

    architecture: str = "qwen2_5_vl"
    hidden: int = 128
    layers: int = 3
    vision_hidden: int = 32
    vision_depth: int = 1
    spatial_merge: int = 2
    max_coordinate: int = 336
    max_index: int = 63
    seed: int = 0


def build(out: Path, config: TinyConfig | None = None) -> int:
    """Write a random model with tokenizer and processor to the new folder `out`. Returns its number of parameters.

    Raises:
        StvgError: the architecture is unknown, also to transformers, or `out` exists and is not an empty folder.
    """
    config = config or TinyConfig()
    if config.architecture not in _ARCHITECTURES:
        raise StvgError(f"unknown architecture {config.architecture!r}: give one of {', '.join(ARCHITECTURES)}")
    with new_folder(out) as folder:
        return _write(folder, config)


def _write(folder: Path, config: TinyConfig) -> int:
    import torch
    import transformers

    kind = _ARCHITECTURES[config.architecture]
    if not hasattr(transformers, f"{kind.name}Config"):
        raise StvgError(f"transformers {transformers.__version__} has no {kind.name}: update it")
    tokenizer = _tokenizer(config)
    ids = tokenizer.convert_tokens_to_ids
    heads = max(1, config.hidden // 32)
    model_config = getattr(transformers, f"{kind.name}Config")(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": config.hidden,
            "intermediate_size": 2 * config.hidden,
            "num_hidden_layers": config.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": max(1, heads // 2),
            "max_position_embeddings": 32768,
            "tie_word_embeddings": True,
            "initializer_range": INITIALIZER_RANGE,
            "bos_token_id": None,
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
            **kind.text(config),
        },
        vision_config={
            "depth": config.vision_depth,
            "hidden_size": config.vision_hidden,
            "intermediate_size": 2 * config.vision_hidden,
            "num_heads": config.vision_hidden // 16,
            "out_hidden_size": config.hidden,
            "spatial_merge_size": config.spatial_merge,
            "initializer_range": INITIALIZER_RANGE,
            **kind.vision(config),
        },
        tie_word_embeddings=True,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model: Any = getattr(transformers, f"{kind.name}ForConditionalGeneration")(model_config)
    model.generation_config.eos_token_id = ids("<|im_end|>")
    model.generation_config.pad_token_id = ids("<|endoftext|>")

    model.save_pretrained(folder)
    _processor(tokenizer, kind, config).save_pretrained(folder)
    (folder / "args.json").write_text(json.dumps(_args(config.architecture), indent=2) + "\n", encoding="utf-8")
    return sum(p.numel() for p in model.parameters())


def _args(architecture: str) -> dict[str, Any]:
    """What ms-swift reads of a checkpoint's training: it cannot tell a model from its architecture alone."""
    return {
        "swift_version": version("ms-swift"),  # without it, the type is ignored
        "model_type": architecture,
        "template": ARCHITECTURES[architecture],  # ms-swift's own template takes no other ids of pixel tokens
        "external_plugins": ["swift_stvg"],
    }


def _chat_template(architecture: str) -> str:
    """A chat template. For messages without tools it writes the same text as the template of the real model."""
    backbone = BACKBONES[ARCHITECTURES[architecture]]
    system = f"<|im_start|>system\n{backbone.system}<|im_end|>\n" if backbone.system else ""
    ends, assistant = "{{ content }}<|im_end|>\n", "<|im_start|>assistant\n"
    if begins := backbone.answer_begins:
        ends = "{{ content|trim }}<|im_end|>\n"
        thinks = "{% if enable_thinking is defined and enable_thinking is false %}"
        assistant += f"{thinks}{begins}{{% else %}}{begins.splitlines()[0]}\n{{% endif %}}"
    first = f"{{% if loop.first and message['role'] != 'system' %}}{system}{{% endif %}}" if system else ""
    messages = f"{{% for message in messages %}}{first}{_MESSAGES}{ends}{{% endfor %}}"
    return f"{messages}{{% if add_generation_prompt %}}{assistant}{{% endif %}}"


def _processor(tokenizer: Any, kind: _Architecture, config: TinyConfig) -> Any:
    import transformers

    size = {"patch_size": kind.patch, "temporal_patch_size": 2, "merge_size": config.spatial_merge}
    video_processor = getattr(transformers, kind.video_processor)(**size)
    # pictures and videos have the same mean and deviation, as in the real models: vLLM uses those of pictures for both
    colours = {"image_mean": video_processor.image_mean, "image_std": video_processor.image_std}
    return getattr(transformers, f"{kind.processor or kind.name}Processor")(
        image_processor=transformers.Qwen2VLImageProcessor(**size, **colours),
        video_processor=video_processor,
        tokenizer=tokenizer,
        chat_template=_chat_template(config.architecture),
    )


def _tokenizer(config: TinyConfig) -> Any:
    """A byte-level tokenizer for any text. Words of prompts and pieces of answers are single tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=list(_SPECIAL),
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(), trainer)
    bpe.add_tokens([AddedToken(piece, normalized=False) for piece in _answer_pieces(config)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=32768
    )


def _corpus() -> Iterator[str]:
    from swift_stvg.synthetic.clips import WORDS

    for unit in UNITS:
        for coords in ("pixel", "norm1000"):  # of the backbones
            for think in (True, False):
                yield AnswerFormat(think, unit, coords).instruction()
    yield "system\nuser\nassistant\n frames seconds per second pixels what which? . ,"
    for word in WORDS:
        yield f"{word} {word}"


def _answer_pieces(config: TinyConfig) -> Iterator[str]:
    for tag in ("time", "think_bbox", "pred_bbox"):
        yield from (f"<{tag}> ", f" </{tag}>")
    yield from (" - ", "], ", "]")
    for number in range(max(config.max_coordinate, config.max_index) + 1):
        yield str(number)
    for number in range(config.max_coordinate + 1):
        yield f"{number}, "
    for number in range(config.max_index + 1):
        yield f"{number}. ["
