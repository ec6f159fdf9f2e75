"""Chat templates: the stock ones, with the timeline's frames in place of ms-swift's own sampling."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar

from swift.template import TEMPLATE_MAPPING, register_template
from swift.utils import get_logger

from swift_stvg.adapters.patches import remember
from swift_stvg.errors import TemplateMismatch
from swift_stvg.frames import FrameLoader
from swift_stvg.rows import VIDEO_KEY, VideoRequest
from swift_stvg.settings import BACKBONES, Settings

logger = get_logger()
_Qwen2_5VL: Any = TEMPLATE_MAPPING["qwen2_5_vl"].template_cls
FRAMES = FrameLoader(Settings())
"""Where templates get their frames; `register` makes it fit the settings."""


class StvgQwen2_5VLTemplate(_Qwen2_5VL):  # type: ignore[misc]
    """Qwen2.5-VL: pixel coordinates, frames in pairs, the interval between them in the position encoding."""

    coords = BACKBONES["stvg_qwen2_5_vl"].coords
    in_use: ClassVar[StvgQwen2_5VLTemplate | None] = None
    """The template that was given a processor last: ms-swift makes it before it loads datasets."""

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
            remember(processor.video_processor, FRAMES)
            StvgQwen2_5VLTemplate.in_use = self

    def replace_tag(self, media_type: str, index: int, inputs: Any) -> list[Any]:
        """Load the frames that the row names; anything else is the stock template's."""
        request_json = (inputs.chat_template_kwargs or {}).get(VIDEO_KEY)
        if media_type != "video" or request_json is None:
            tokens: list[Any] = super().replace_tag(media_type, index, inputs)
            return tokens
        request = VideoRequest.from_json(request_json)
        self.require(request.coords, request.size_wh)
        inputs.videos[index] = FRAMES.load(inputs.videos[index], request)
        inputs.mm_processor_kwargs.setdefault("fps", []).append(request.fps)
        if self.mode == "vllm":
            inputs.mm_processor_kwargs["do_resize"] = False
        return ["<|vision_start|><|video_pad|><|vision_end|>"]

    def prepare_generate_kwargs(self, generate_kwargs: dict[str, Any], *, model: Any = None) -> dict[str, Any]:
        """Keep the model from writing the tokens that stand for pixels: an answer with one cannot be encoded again."""
        kwargs: dict[str, Any] = super().prepare_generate_kwargs(generate_kwargs, model=model)
        return {**kwargs, "suppress_tokens": [self.image_token_id, self.video_token_id]}

    def require(self, coords: str, sides: tuple[int, ...]) -> None:
        """Refuse rows that were made for another backbone.

        Args:
            coords: the rows' coordinate convention.
            sides: what the sides of their frames are, in pixels, or are multiples of.

        Raises:
            TemplateMismatch: the backbone speaks another convention, or its patches do not divide the sides.
        """
        if coords != self.coords:
            raise TemplateMismatch(
                f"rows ask for {coords} coordinates, but {self.template_meta.template_type} is for a backbone that "
                f"speaks {self.coords}: set STVG_COORDS={self.coords}, or use the template of the backbone that the "
                "rows were made for"
            )
        processor = self.processor.image_processor
        multiple = processor.patch_size * processor.merge_size
        if any(side % multiple for side in sides):
            raise TemplateMismatch(
                f"rows have frames whose sides are {' and '.join(map(str, sides))} pixels or multiples, but this model "
                f"takes multiples of {multiple}: set STVG_SIDE_MULTIPLE={multiple}"
            )


def check_settings(settings: Settings) -> None:
    """Refuse settings that do not fit the template of this run before any row is made, and warn if it is not ours.

    Without it SFT would retry other rows, which fail alike, and end with a message that hides the reason.

    Raises:
        TemplateMismatch: as `StvgQwen2_5VLTemplate.require`.
    """
    if StvgQwen2_5VLTemplate.in_use is None:
        logger.warning(
            "no template of swift_stvg is in use: other templates choose and size video frames in their own way, which "
            f"the rows' answers do not fit. Pass --template {' or '.join(TEMPLATES)}"
        )
    else:
        StvgQwen2_5VLTemplate.in_use.require(settings.coords, (settings.side_multiple,))


TEMPLATES = {"stvg_qwen2_5_vl": ("qwen2_5_vl", StvgQwen2_5VLTemplate)}


def register() -> None:
    """Register every template by its name; safe to repeat."""
    global FRAMES
    FRAMES = FrameLoader(Settings.from_env())
    for name, (stock, template) in TEMPLATES.items():
        meta = deepcopy(TEMPLATE_MAPPING[stock])
        meta.template_type = name
        meta.template_cls = template
        register_template(meta, exist_ok=True)
