"""InternVL 3 and 3.5 (the -hf checkpoints) as a backbone: what a model that the package does not know needs.

    STVG_COORDS=norm1000 STVG_SIDE_MULTIPLE=448 STVG_MAX_SIDE=448 swift sft --template stvg_internvl \\
        --external_plugins swift_stvg examples/add_a_backbone/internvl.py --model OpenGVLab/InternVL3-1B-hf ...

Its vision tower takes squares of 448 pixels, 256 tokens each: with these settings frames are squeezed into them, and
coordinates in thousandths mean the same as before. Frames go in one by one, as "Frame1: ...", "Frame2: ...", so 40 of
them are 10,500 tokens: raise --max_length.
"""

from typing import Any, ClassVar

from swift_stvg.adapters.templates import StvgTemplate, add, stock_class


class StvgInternVLTemplate(StvgTemplate, stock_class("internvl_hf")):  # type: ignore[misc]
    """InternVL: thousandths, frames one by one, numbered from 1, told nothing of the time between them."""

    coords = "norm1000"
    tag: ClassVar[list[int]] = [-200]  # ms-swift's template puts the frames' tokens here
    vllm_tag = "<video>\n"
    placeholders = ("<IMG_CONTEXT>", "<video>")

    def init_processor(self, processor: Any) -> None:
        """Frames are sampled already, whatever the checkpoint's processor would do."""
        super().init_processor(processor)
        if processor is not None:
            processor.video_processor.do_sample_frames = False

    def as_trained(self, token_ids: list[int]) -> list[int]:
        """vLLM puts the pixels of a video at the tokens of `<video>`, so the model receives pixels there."""
        return [self.image_token_id if token == self.video_token_id else token for token in token_ids]

    @property
    def side_multiple(self) -> int:
        """The side of the square."""
        side: int = self.processor.video_processor.size["height"]
        return side


add("stvg_internvl", "internvl_hf", StvgInternVLTemplate)
