"""Chat templates: the stock ones, with the timeline's frames in place of ms-swift's own sampling."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from swift.template import TEMPLATE_MAPPING, register_template
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from swift_stvg.errors import TemplateMismatch
from swift_stvg.rows import VIDEO_KEY, VideoRequest
from swift_stvg.settings import Settings
from swift_stvg.video import read_frames

_Qwen2_5VL: Any = TEMPLATE_MAPPING["qwen2_5_vl"].template_cls


def load_video(path: str, request: VideoRequest) -> torch.Tensor:
    """The requested frames as a uint8 tensor (T, 3, H, W), resized as qwen-vl-utils does (bicubic, antialiased).

    Raises:
        VideoError: the file is missing or cannot be decoded.
    """
    frames = torch.from_numpy(read_frames(Path(path), np.array(request.frames, dtype=np.int64)))
    width, height = request.size_wh
    resized: torch.Tensor = transforms.resize(
        frames.permute(0, 3, 1, 2).contiguous(), [height, width], InterpolationMode.BICUBIC, antialias=True
    )
    return resized


class StvgQwen2_5VLTemplate(_Qwen2_5VL):  # type: ignore[misc]
    """Qwen2.5-VL: pixel coordinates, frames in pairs, the interval between them in the position encoding."""

    coords = "pixel"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `swift infer --remove_unused_columns false` would otherwise hand the model columns it does not know
        self.remove_unused_columns = True

    def init_processor(self, processor: Any) -> None:
        """Take the media token ids from the tokenizer, so that other vocabularies work too."""
        super().init_processor(processor)
        if processor is not None:
            self.image_token_id = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
            self.video_token_id = self.tokenizer.convert_tokens_to_ids("<|video_pad|>")

    def replace_tag(self, media_type: str, index: int, inputs: Any) -> list[Any]:
        """Load the frames that the row names; anything else is the stock template's."""
        request_json = (inputs.chat_template_kwargs or {}).get(VIDEO_KEY)
        if media_type != "video" or request_json is None:
            tokens: list[Any] = super().replace_tag(media_type, index, inputs)
            return tokens
        request = VideoRequest.from_json(request_json)
        self._check(request)
        inputs.videos[index] = load_video(inputs.videos[index], request)
        inputs.mm_processor_kwargs.setdefault("fps", []).append(request.fps)
        if self.mode == "vllm":
            inputs.mm_processor_kwargs["do_resize"] = False
        return ["<|vision_start|><|video_pad|><|vision_end|>"]

    def _check(self, request: VideoRequest) -> None:
        if request.coords != self.coords:
            raise TemplateMismatch(
                f"this row asks for {request.coords} coordinates, but {self.template_meta.template_type} is for a "
                f"backbone that speaks {self.coords}: set STVG_COORDS={self.coords}, or use the template of the "
                "backbone that the rows were made for"
            )
        processor = self.processor.image_processor
        multiple = processor.patch_size * processor.merge_size
        if any(side % multiple for side in request.size_wh):
            raise TemplateMismatch(
                f"this row asks for frames of {request.size_wh} pixels, but this model takes sides that are multiples "
                f"of {multiple}: set STVG_SIDE_MULTIPLE={multiple}"
            )


TEMPLATES = {"stvg_qwen2_5_vl": ("qwen2_5_vl", StvgQwen2_5VLTemplate)}


def register() -> None:
    """Register every template by its name; safe to repeat."""
    settings = Settings.from_env()
    for name, (stock, template) in TEMPLATES.items():
        meta = deepcopy(TEMPLATE_MAPPING[stock])
        meta.template_type = name
        meta.template_cls = template
        # for prompts that bring no system message of their own, such as those of `swift deploy`
        meta.default_system = settings.answer_format.instruction() if settings.system_prompt else None
        register_template(meta, exist_ok=True)
