"""Token lengths of rows as ms-swift's template writes them, without decoding a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from swift_stvg.adapters import templates
from swift_stvg.adapters.patches import remember
from swift_stvg.errors import DataError
from swift_stvg.frames import FrameLoader, mark, nbytes
from swift_stvg.geometry import IntArray
from swift_stvg.memory import Memory
from swift_stvg.rows import VideoRequest
from swift_stvg.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """Numbers of tokens of N rows.

    Attributes:
        prompt: (N,) up to where the answer begins, pixels included.
        pixels: (N,) those that stand for pixels.
        answer: (N,) the exact answer with the token that ends it.
    """

    prompt: IntArray
    pixels: IntArray
    answer: IntArray


class _BlankFrames(FrameLoader):
    """Black frames of the right number and size, which are all that lengths depend on."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # pixels need no copies: nobody looks at them
        self.memory = Memory(settings.frame_memory * 2**20, size=nbytes, copy=lambda made: type(made)({**made}))

    def load(self, path: str, request: VideoRequest, name: str | None = None) -> torch.Tensor:
        width, height = request.size_wh
        with torch.inference_mode(False):
            frames = torch.zeros(1, dtype=torch.uint8).expand(len(request.frames), 3, height, width)
        mark(frames, ("black", frames.shape))
        return frames


def prepare(model: str, template: str | None, model_type: str | None) -> Any:
    """The template of a model, for `measure`.

    Raises:
        DataError: ms-swift cannot load the model's processor, or the two do not go together.
    """
    from swift import get_processor, get_template

    try:
        made = get_template(get_processor(model, model_type=model_type), template_type=template)
    except (ValueError, OSError) as error:
        raise DataError(f"no processor and template of {model}: {error}") from None
    if not isinstance(made, templates.StvgTemplate):
        raise DataError(
            f"{made.template_meta.template_type} is no template of swift_stvg: give --template "
            + " or ".join(templates.TEMPLATES)
        )
    made.set_mode("train")
    return made


def measure(template: Any, rows: Sequence[dict[str, Any]], settings: Settings) -> Lengths:
    """Token lengths of rows, with a progress bar; no video is opened."""
    blank = _BlankFrames(settings)
    remember(template.processor.video_processor, blank)
    loader, templates.FRAMES = templates.FRAMES, blank
    try:
        found = [_lengths(template, row) for row in tqdm(rows, desc="rows in tokens", unit="row")]
    finally:
        templates.FRAMES = loader
    return Lengths(*np.array(found, dtype=np.int64).T)


def _lengths(template: Any, row: dict[str, Any]) -> tuple[int, int, int]:
    encoded = template.encode({name: row[name] for name in ("messages", "videos", "chat_template_kwargs")})
    ids, labels = np.array(encoded["input_ids"]), np.array(encoded["labels"])
    answer = template.tokenizer.encode(row["messages"][-1]["content"], add_special_tokens=False)
    prompt = int(np.flatnonzero(labels != -100)[0])
    return prompt, int((ids == template.video_token_id).sum()), len(answer) + 1
