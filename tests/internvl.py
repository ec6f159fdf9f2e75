"""A tiny InternVL."""

from __future__ import annotations

from pathlib import Path

from swift_stvg.synthetic.tiny import TinyConfig, build


def build_internvl(out: Path) -> None:
    """A random InternVL, for the example that adds it."""
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
        PreTrainedTokenizerFast,
    )

    build(out, TinyConfig(max_coordinate=1000))
    (out / "args.json").unlink()  # it names Qwen2.5-VL's template
    tokens = {"start_image_token": "<img>", "end_image_token": "</img>"}
    tokens |= {"context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"}
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out, extra_special_tokens=tokens)
    size = {"height": 56, "width": 56}
    images, videos = GotOcr2ImageProcessor(size=size), InternVLVideoProcessor(size=size, do_sample_frames=True)
    InternVLProcessor(images, tokenizer, videos, image_seq_length=4).save_pretrained(out)
    layers = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    model = InternVLForConditionalGeneration(
        InternVLConfig(
            text_config={
                **layers,
                **ends,
                "model_type": "qwen2",
                "vocab_size": len(tokenizer),
                "num_key_value_heads": 1,
            },
            vision_config={**layers, "image_size": [56, 56], "patch_size": [14, 14]},
            image_token_id=tokenizer.context_image_token_id,
            image_seq_length=4,
            tie_word_embeddings=False,
        )
    )
    model.generation_config.update(**ends)
    model.save_pretrained(out)
