"""Token lengths, prompts and positions of rows as ms-swift's template encodes them, without decoding a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoModelForImageTextToText

from swift_stvg.adapters import templates
from swift_stvg.adapters.engine import fitting_template, model_type_of
from swift_stvg.adapters.patches import remember
from swift_stvg.adapters.positions import kinds_of, positions_of
from swift_stvg.adapters.prompts import PAD, VIDEO
from swift_stvg.adapters.templates import rate_of
from swift_stvg.errors import DataError
from swift_stvg.geometry import IntArray
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from swift_stvg.video.frame_loader import FrameLoader, mark, nbytes
from swift_stvg.video.memory import Memory
from swift_stvg.video.request import VIDEO_KEY, VideoRequest


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """Numbers of tokens of N rows.

    Attributes:
        prompt: (N,) tokens before the answer, pixels included.
        pixels: (N,) placeholder tokens for pixels.
        answer: (N,) tokens of the exact answer, with the token that ends it.
    """

    prompt: IntArray
    pixels: IntArray
    answer: IntArray


class _BlankFrames(FrameLoader):
    """Gives black frames of the right number and size. Token lengths depend only on number and size."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # the pixels are not used, so they need no copies
        self.memory = Memory(settings.frame_memory * 2**20, size=nbytes, copy=lambda made: type(made)({**made}))

    def load(self, path: str, request: VideoRequest, name: str | None = None) -> torch.Tensor:
        width, height = request.size_wh
        with torch.inference_mode(False):
            frames = torch.zeros(1, dtype=torch.uint8).expand(len(request.frames), 3, height, width)
        mark(frames, ("black", frames.shape))
        return frames


def prepare(model: str, template: str | None, model_type: str | None) -> Any:
    """Make the template of a model, for `measure`.

    Raises:
        DataError: ms-swift cannot load the model's processor, or the template does not fit it.
    """
    from swift import get_processor, get_template

    try:
        model_type = model_type or model_type_of(model)
        fitting = fitting_template(model_type)
        if template is None and fitting in templates.TEMPLATES:
            template = fitting
        made = get_template(get_processor(model, model_type=model_type), template_type=template)
    except DataError:
        raise
    except (ValueError, OSError) as error:
        raise DataError(f"ms-swift cannot load a processor and template of {model}: {error}") from None
    if not isinstance(made, templates.StvgTemplate):
        raise DataError(
            f"{made.template_meta.template_type} is not a template of swift_stvg: give --template "
            + " or ".join(templates.TEMPLATES)
        )
    made.set_mode("train")
    return made


def measure(template: Any, rows: Sequence[dict[str, Any]], settings: Settings) -> Lengths:
    """Count the tokens of rows, with a progress bar. No video is opened."""
    with _blank_frames(template, settings):
        found = [_lengths(template, row) for row in tqdm(rows, desc="rows in tokens", unit="row")]
    return Lengths(*np.array(found, dtype=np.int64).T)


def disagreements(template: Any, rows: Sequence[dict[str, Any]], settings: Settings) -> list[str]:
    """Compare prompts and positions of rows with those of the model's release. No video is opened.

    Expected tokens of a video are made from the row's times as the release makes them (`adapters.prompts`). Expected
    positions follow from the row's times by the rule of `adapters.positions`.

    Returns:
        A line for each row that differs, with its id and the first different token or position.
    """
    found = []
    with _blank_frames(template, settings), _positions_without_weights(template):
        for row in rows:
            row_id = RowTruth.from_json(row["stvg"]).id
            encoded = _encode(template, row)
            if (fault := _prompt_fault(template, row, encoded)) is not None:
                found.append(f"{row_id}: {fault}")
            positions = template.data_collator([deepcopy(encoded)])["position_ids"][:, 0]
            expected = _expected_positions(template, row, encoded)
            if expected is not None and not torch.equal(positions, expected):
                at = int((positions != expected).any(0).nonzero()[0])
                ours, theirs = positions[:, at].tolist(), expected[:, at].tolist()
                found.append(f"{row_id}: token {at} is at position {ours}, but the model was pretrained with {theirs}")
    return found


@contextmanager
def _blank_frames(template: Any, settings: Settings) -> Iterator[None]:
    blank = _BlankFrames(settings)
    remember(template.processor.video_processor, blank)
    loader, templates.FRAMES = templates.FRAMES, blank
    try:
        yield
    finally:
        templates.FRAMES = loader
        remember(template.processor.video_processor, loader)


@contextmanager
def _positions_without_weights(template: Any) -> Iterator[None]:
    """Give the template a model without weights: ms-swift needs one to compute positions."""
    model_class = AutoModelForImageTextToText._model_mapping[type(template.config)]
    with torch.device("meta"):
        template.model = model_class(_smallest(template.config))
    try:
        yield
    finally:
        template.model = None


def _smallest(config: Any) -> Any:
    """The same configuration with one layer. A model of it is quick to build and has the same positions."""
    config = deepcopy(config)
    config.text_config.num_hidden_layers = 1
    if getattr(config.text_config, "layer_types", None):
        config.text_config.layer_types = config.text_config.layer_types[:1]
    return config


def _prompt_fault(template: Any, row: dict[str, Any], encoded: dict[str, Any]) -> str | None:
    """The first difference between a row's video tokens and the tokens of the release; None if they are equal."""
    if (grids := encoded.get("video_grid_thw")) is None:
        return None
    start, pad, end = template.tokenizer.convert_tokens_to_ids(list(VIDEO))
    request = VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY])
    pairs, height, width = grids[0].tolist()
    tokens = height * width // template.processor.video_processor.merge_size**2
    expected = [start, *[pad] * pairs * tokens, end]
    if template.tag == PAD:
        times = [*request.times_s, request.times_s[-1]][: 2 * pairs]
        expected = []
        for first, last in zip(times[::2], times[1::2], strict=True):
            time = template.tokenizer.encode(f"<{(first + last) / 2:.1f} seconds>", add_special_tokens=False)
            expected += [*time, start, *[pad] * tokens, end]
    ids = encoded["input_ids"]
    begin = ids.index(pad) - expected.index(pad)
    # the tokens right before and after must not be markers
    found = ids[begin - 1 : begin + len(expected) + 1]
    right = [found[0] if found[0] != start else None, *expected, found[-1] if found[-1] != end else None]
    places = [i for i, pair in enumerate(zip(found, right, strict=True)) if pair[0] != pair[1]]
    if not places:
        return None
    seen = template.tokenizer.decode(found[places[0] : places[0] + 1])
    released = right[places[0]]
    instead = "nothing" if released is None else repr(template.tokenizer.decode([released]))
    return f"token {begin - 1 + places[0]} is {seen!r}, but the model's release has {instead} there"


def _expected_positions(template: Any, row: dict[str, Any], encoded: dict[str, Any]) -> torch.Tensor | None:
    """Positions (3, L) by the rule, from the row's times; None for backbones without such positions."""
    if (grids := encoded.get("video_grid_thw")) is None:
        return None
    request = VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY])
    config, merge = template.config, template.processor.video_processor.merge_size
    pairs, height, width = grids[0].tolist()
    rate = getattr(config.vision_config, "tokens_per_second", None)
    if template.tag == PAD:  # each pair of frames separately, after its time
        videos = iter([((1, height, width), 1.0)] * pairs)
    else:
        videos = iter([((pairs, height, width), 1.0 if rate is None else 2 / rate_of(request.fps) * rate)])
    ids = torch.tensor(encoded["input_ids"])
    return positions_of(kinds_of(ids, config).tolist(), iter(()), videos, merge)


def _encode(template: Any, row: dict[str, Any]) -> dict[str, Any]:
    encoded: dict[str, Any] = template.encode(
        {name: row[name] for name in ("messages", "videos", "chat_template_kwargs")}
    )
    return encoded


def _lengths(template: Any, row: dict[str, Any]) -> tuple[int, int, int]:
    encoded = _encode(template, row)
    ids, labels = np.array(encoded["input_ids"]), np.array(encoded["labels"])
    answer = template.tokenizer.encode(row["messages"][-1]["content"], add_special_tokens=False)
    prompt = int(np.flatnonzero(labels != -100)[0])
    return prompt, int((ids == template.video_token_id).sum()), len(answer) + 1
