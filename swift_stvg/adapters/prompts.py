"""The prompt of a video for Qwen3-VL and Qwen3.5 as in their release, with any version of transformers and vLLM.

For a video their chat template writes `<|vision_start|><|video_pad|><|vision_end|>`. The processor that was released
with the models (transformers 4.57.6 for Qwen3-VL, 5.2.0 for Qwen3.5) replaces all three tokens by this text for each
pair of frames:

    <1.2 seconds><|vision_start|><|video_pad|>...<|vision_end|>

Later versions (5.12.0, 5.16.1 and 5.24.0 were read) replace only the middle token: one more `<|vision_start|>` remains
before the first time, and one more `<|vision_end|>` after the last pair. vLLM 0.32 follows the installed transformers;
older versions of vLLM always replace all three tokens. No source was found which says that the models were trained with
this outer pair, so this package writes the prompt of the release.

One limit: ms-swift and vLLM tokenize the text before and after a video separately, while the released processor
tokenizes the whole text. Text directly before a video, without a line break, may share a token with the first `<`.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import transformers
from swift.utils import get_logger

START, PAD, END = VIDEO = ("<|vision_start|>", "<|video_pad|>", "<|vision_end|>")
"""The tokens that the chat template writes for a video."""


def without_outer_pair(tokens: list[int], start: int, end: int, pad: int) -> list[int]:
    """The tokens of a video without the outer pair of markers. The ids are the tokenizer's ids of `VIDEO`."""
    doubled = tokens[:1] == [start] and tokens[1:2] != [pad] and tokens[-2:] == [end, end]
    return tokens[1:-1] if doubled else tokens


@cache
def log_correction_once() -> None:
    """Log that prompts are corrected."""
    get_logger().info(
        f"swift_stvg removes the second pair of markers that transformers {transformers.__version__} puts around a "
        "video: the model was released without it."
    )


def vllm_keeps_outer_pair(processor: Any, config: Any) -> bool:
    """Whether the installed vLLM keeps the outer pair of markers of a video, found by calling it.

    Args:
        processor: transformers' processor of the model.
        config: the model's configuration.
    """
    try:
        from vllm.model_executor.models.qwen3_vl import Qwen3VLMultiModalProcessor as Cutter
    except ImportError:
        return transformers_keeps_outer_pair(processor)
    cutter = Cutter.__new__(Cutter)  # to update a prompt it needs only the model's processor
    cutter.info = SimpleNamespace(
        get_hf_processor=lambda **_: processor,
        get_image_processor=lambda **_: processor.image_processor,
        get_video_processor=lambda **_: processor.video_processor,
        get_tokenizer=lambda: processor.tokenizer,
        get_hf_config=lambda: config,
    )
    try:
        updates = cutter._get_prompt_updates(None, {}, None)
        (target,) = [update.target for update in updates if update.modality == "video"]
    except (AttributeError, TypeError, ValueError) as error:
        get_logger().warning(
            f"swift_stvg cannot find out how this vLLM writes a video's prompt ({error}) and assumes the prompt of "
            "transformers. `swift-stvg check --engine vllm` compares the two."
        )
        return transformers_keeps_outer_pair(processor)
    return target in (config.video_token_id, [config.video_token_id], PAD)


def transformers_keeps_outer_pair(processor: Any) -> bool:
    """Whether the installed transformers keeps the outer pair of markers of a video, found by calling it."""
    import torch

    video = processor.video_processor
    side = video.patch_size * video.merge_size
    made = processor(
        text=["".join(VIDEO)],
        videos=[torch.zeros(2, 3, side, side, dtype=torch.uint8)],
        video_metadata=[{"fps": 1.0, "frames_indices": [0, 1], "total_num_frames": 2}],
        do_resize=False,
        do_sample_frames=False,
    )["input_ids"][0]
    start, pad, end = processor.tokenizer.convert_tokens_to_ids(list(VIDEO))
    return without_outer_pair(list(made), start, end, pad) != list(made)
