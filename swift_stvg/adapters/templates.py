"""Chat templates: the stock ones, with the timeline's frames in place of ms-swift's own sampling."""

from __future__ import annotations

import base64
import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cached_property
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar

import numpy as np
from swift.template import TEMPLATE_MAPPING, register_template
from swift.utils import get_logger

from swift_stvg.adapters.patches import remember
from swift_stvg.adapters.positions import mend
from swift_stvg.adapters.prompts import PAD, VIDEO, say_once, vllm_keeps_outer_pair, without_outer_pair
from swift_stvg.adapters.versions import warn_of_lack
from swift_stvg.errors import TemplateMismatch, VersionError, VideoError
from swift_stvg.frames import FrameLoader
from swift_stvg.rows import VIDEO_KEY, VideoRequest
from swift_stvg.settings import BACKBONES, Settings
from swift_stvg.unread import Unread

logger = get_logger()
FRAMES = FrameLoader(Settings())
"""Where templates get their frames; `register` makes it fit the settings."""
UNREAD = Unread()
NO_PIXELS = "swift_stvg.nopixels:NoPixels"
LONGEST_PATH = 4096
"""Characters; a longer text is a video itself."""
CLOCK = 10_000
"""Ticks per second in which frames are dated: rows give times to four digits."""


class StvgTemplate:
    """What all backbones share; goes before the stock template's class.

    Attributes:
        coords: the coordinate convention that the backbone speaks.
        tag: what the stock template puts tokens for, as text or ids; `vllm_tag` what vLLM does.
        placeholders: the tokens that stand for the pixels of an image and of a video.
    """

    coords: ClassVar[str]
    tag: ClassVar[Any] = "".join(VIDEO)
    vllm_tag: ClassVar[str] = "".join(VIDEO)
    placeholders: ClassVar[tuple[str, str]] = ("<|image_pad|>", "<|video_pad|>")
    in_use: ClassVar[StvgTemplate | None] = None
    """The template that was given a processor last: ms-swift makes it before it loads datasets."""
    processor: Any
    tokenizer: Any
    config: Any
    template_meta: Any
    mode: str
    set_mode: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `swift infer --remove_unused_columns false` would otherwise hand the model columns it does not know
        self.remove_unused_columns = True

    def init_processor(self, processor: Any) -> None:
        """Take the media token ids from the tokenizer, so that other vocabularies work too."""
        super().init_processor(processor)  # type: ignore[misc]
        if processor is not None:
            known = self.tokenizer.get_vocab()
            missing = [token for token in self.placeholders if token not in known]
            if missing:
                raise TemplateMismatch(
                    f"the tokenizer has no {' and no '.join(missing)}, which {type(self).__name__} puts pixels for: "
                    "the template is not this model's"
                )
            self.image_token_id, self.video_token_id = (known[token] for token in self.placeholders)
            mend(self.config.model_type)
            remember(processor.video_processor, FRAMES)
            StvgTemplate.in_use = self

    def _get_position_ids(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Positions for training; a worker that was spawned or unpickled has not corrected its model's class yet."""
        mend(self.config.model_type)
        positions: dict[str, Any] = super()._get_position_ids(inputs)  # type: ignore[misc]
        return positions

    def replace_tag(self, media_type: str, index: int, inputs: Any) -> list[Any]:
        """Load the frames that the row names; anything else is the stock template's."""
        request_json = (inputs.chat_template_kwargs or {}).get(VIDEO_KEY)
        if media_type != "video" or request_json is None:
            tokens: list[Any] = super().replace_tag(media_type, index, inputs)  # type: ignore[misc]
            return tokens
        request = VideoRequest.from_json(request_json)
        self.require(request.coords, request.size_wh)
        with video_file(inputs.videos[index]) as (path, name):
            try:
                frames = FRAMES.load(path, request, name)
            except VideoError as error:
                UNREAD.note(name or path, error)
                raise
        if self.mode == "vllm":  # its own processor cuts the frames, and learns from their metadata when they were
            inputs.videos[index] = (frames, self.metadata(request))
            inputs.mm_processor_kwargs.update(do_resize=False, do_sample_frames=False)
            return [self.vllm_tag]
        inputs.videos[index] = frames
        self.tell_time(request, inputs.mm_processor_kwargs)
        return [self.tag]

    @property
    def side_multiple(self) -> int:
        """What the sides of frames must be multiples of, in pixels, so that the processor need not resize them."""
        processor = self.processor.video_processor
        multiple: int = processor.patch_size * processor.merge_size
        return multiple

    def metadata(self, request: VideoRequest) -> dict[str, Any]:
        """What transformers' processors call a video's metadata: here, frames at the row's nominal rate."""
        count = len(request.frames)
        return {"fps": rate_of(request.fps), "frames_indices": list(range(count)), "total_num_frames": count}

    def tell_time(self, request: VideoRequest, kwargs: dict[str, Any]) -> None:
        """Say when the frames were, in the form that the stock template takes; nothing by default."""

    def as_trained(self, token_ids: list[int]) -> list[int]:
        """vLLM's prompt, with the tokens that pixels have in training where vLLM gives them others; none by default."""
        return token_ids

    def prepare_generate_kwargs(self, generate_kwargs: dict[str, Any], *, model: Any = None) -> dict[str, Any]:
        """Keep the model from writing the tokens that stand for pixels: an answer with one cannot be encoded again."""
        kwargs: dict[str, Any] = super().prepare_generate_kwargs(generate_kwargs, model=model)  # type: ignore[misc]
        config = kwargs["generation_config"]
        config.suppress_tokens = list(dict.fromkeys([*(config.suppress_tokens or ()), *self.unwanted]))
        return kwargs

    def prepare_engine_kwargs(self) -> dict[str, Any]:
        """The same for vLLM, whose requests as ms-swift makes them cannot say it; `nopixels` reads the ids.

        Raises:
            TemplateMismatch: an option that is to be added to is not of the kind that vLLM takes.
        """
        kwargs: dict[str, Any] = super().prepare_engine_kwargs()  # type: ignore[misc]
        if self.mode == "vllm":
            given = asked_of_the_engine() | kwargs  # as ms-swift joins the two
            processors, config = given.get("logits_processors") or [], given.get("additional_config") or {}
            if not isinstance(processors, list) or not isinstance(config, dict):
                raise TemplateMismatch(
                    "of --vllm_engine_kwargs, logits_processors must be a list and additional_config an object, got "
                    f"{processors!r:.80} and {config!r:.80}"
                )
            kwargs["logits_processors"] = [*(known for known in processors if known != NO_PIXELS), NO_PIXELS]
            kwargs["additional_config"] = {**config, "swift_stvg_unwanted": self.unwanted}
        return kwargs

    @property
    def unwanted(self) -> list[int]:
        """The tokens that answers must not hold."""
        return [self.image_token_id, self.video_token_id]

    def require(self, coords: str, sides: tuple[int, ...]) -> None:
        """Refuse rows that were made for another backbone.

        Args:
            coords: the rows' coordinate convention.
            sides: what the sides of their frames are, in pixels, or are multiples of.

        Raises:
            TemplateMismatch: the backbone speaks another convention, or its patches do not divide the sides.
        """
        faults, settings = [], []
        if coords != self.coords:
            faults.append(
                f"{coords} coordinates, but the backbone of {self.template_meta.template_type} speaks {self.coords}"
            )
            settings.append(f"STVG_COORDS={self.coords}")
        multiple = self.side_multiple
        if any(side % multiple for side in sides):
            faults.append(
                f"frames whose sides are {' and '.join(map(str, sides))} pixels or multiples, but this model takes "
                f"multiples of {multiple}"
            )
            settings.append(f"STVG_SIDE_MULTIPLE={multiple}")
        if faults:
            raise TemplateMismatch(
                f"rows have {'; and '.join(faults)}: set {' '.join(settings)}, or use the template of the backbone "
                "that the rows were made for"
            )


def rate_of(fps: float) -> float:
    """A row's nominal rate in frames a second, lowered by so little that no position is lost to rounding.

    Positions are floor(i * seconds of a pair * 2), and some readers keep the seconds as float32. Where they round them
    down, a pair that lies at a whole number would come one earlier there.
    """
    pair_s = np.float32(2 / fps)
    if float(pair_s) < 2 / fps:
        pair_s = np.nextafter(pair_s, np.float32(np.inf))
    return 2 / float(pair_s)


def stock_class(name: str) -> Any:
    """The class of ms-swift's template of that name; if this version has none, one to derive from all the same."""
    return TEMPLATE_MAPPING[name].template_cls if name in TEMPLATE_MAPPING else object


class StvgQwen2VLTemplate(StvgTemplate, stock_class("qwen2_vl")):  # type: ignore[misc]
    """Qwen2-VL: thousandths, frames in pairs, told nothing of the time between them."""

    coords = BACKBONES["stvg_qwen2_vl"].coords


class StvgQwen2_5VLTemplate(StvgTemplate, stock_class("qwen2_5_vl")):  # type: ignore[misc]
    """Qwen2.5-VL: pixel coordinates, frames in pairs, the interval between them in the position encoding."""

    coords = BACKBONES["stvg_qwen2_5_vl"].coords

    def tell_time(self, request: VideoRequest, kwargs: dict[str, Any]) -> None:
        """The nominal rate, from which come the seconds of a pair of frames."""
        kwargs.setdefault("fps", []).append(rate_of(request.fps))


class StvgQwen3VLTemplate(StvgTemplate, stock_class("qwen3_vl")):  # type: ignore[misc]
    """Qwen3-VL: thousandths, each pair of frames after the mean of its two times, written as text."""

    coords = BACKBONES["stvg_qwen3_vl"].coords
    tag = PAD

    @cached_property
    def asked_of_vllm(self) -> str:
        """What the installed vLLM turns into the released prompt of a video."""
        return PAD if vllm_keeps_outer_pair(self.processor, self.config) else self.vllm_tag

    def replace_tag(self, media_type: str, index: int, inputs: Any) -> list[Any]:
        """As of all backbones; rows of other datasets get the released prompt from vLLM too."""
        tokens = super().replace_tag(media_type, index, inputs)
        return [self.asked_of_vllm if token == self.vllm_tag else token for token in tokens]

    def _extend_tokens(
        self, input_ids: Any, labels: Any, loss_scale: Any, places: Any, new_tokens: Any, mm_mask: Any = None
    ) -> Any:
        """Put the tokens of pictures and videos into a prompt: the released ones, whatever transformers gives."""
        start, pad, end = self.tokenizer.convert_tokens_to_ids(list(VIDEO))

        def released(i: int) -> list[int]:
            tokens = new_tokens(i)
            kept = without_outer_pair(tokens, start, end, pad)
            if kept is not tokens:
                say_once()
            return kept

        return super()._extend_tokens(input_ids, labels, loss_scale, places, released, mm_mask)

    def metadata(self, request: VideoRequest) -> dict[str, Any]:
        """The true times, as frame numbers of a video fine enough to tell them apart."""
        ticks = [round(t * CLOCK) for t in request.times_s]
        return {"fps": float(CLOCK), "frames_indices": ticks, "total_num_frames": ticks[-1] + 1}

    def tell_time(self, request: VideoRequest, kwargs: dict[str, Any]) -> None:
        """The metadata, from which the processor writes the times."""
        kwargs.setdefault("video_metadata", []).append(self.metadata(request))
        kwargs["do_sample_frames"] = False


class StvgQwen3_5Template(StvgQwen3VLTemplate, stock_class("qwen3_5")):  # type: ignore[misc]
    """Qwen3.5 and Qwen3.6: as Qwen3-VL."""


class StvgQwen3_8Template(StvgQwen3VLTemplate, stock_class("qwen3_8")):  # type: ignore[misc]
    """Qwen3.8, not thinking, and so without the stock template's words on how much to think: as Qwen3-VL."""


@contextmanager
def video_file(video: str) -> Iterator[tuple[str, str | None]]:
    """Where a video lies, and a name for its content if that place is not for long.

    Rows name files, folders or lists of pictures. `swift deploy` hands over what the client sent, a data URL or an
    address, and files as base64.

    Raises:
        VideoError: it cannot be read or fetched.
    """
    if video.startswith("[") or (len(video) <= LONGEST_PATH and not video.startswith(("data:", "http://", "https://"))):
        yield video, None
        return
    try:
        if video.startswith("http"):
            from swift.template.vision_utils import load_file

            data = load_file(video).getvalue()
        else:
            data = base64.b64decode(video.partition(";base64,")[2] or video, validate=True)
    except (OSError, ValueError) as error:
        raise VideoError("video unreadable", f"{video[:80]}: {error}") from None
    with NamedTemporaryFile(prefix="stvg_") as file:
        file.write(data)
        file.flush()
        yield file.name, hashlib.blake2b(data, digest_size=16).hexdigest()


def check_settings(settings: Settings) -> None:
    """Refuse settings that do not fit the template of this run before any row is made, and warn if it is not ours.

    Without it SFT would retry other rows, which fail alike, and end with a message that hides the reason.

    Raises:
        TemplateMismatch: as `StvgTemplate.require`.
    """
    if StvgTemplate.in_use is None:
        logger.warning(
            "no template of swift_stvg is in use: other templates choose and size video frames in their own way, which "
            f"the rows' answers do not fit. Pass --template {' or '.join(TEMPLATES)}"
        )
    else:
        StvgTemplate.in_use.require(settings.coords, (settings.side_multiple,))


TEMPLATES: dict[str, tuple[str, type[StvgTemplate]]] = {
    "stvg_qwen2_vl": ("qwen2_vl", StvgQwen2VLTemplate),
    "stvg_qwen2_5_vl": ("qwen2_5_vl", StvgQwen2_5VLTemplate),
    "stvg_qwen3_vl": ("qwen3_vl", StvgQwen3VLTemplate),
    "stvg_qwen3_5": ("qwen3_5", StvgQwen3_5Template),
}
"""By name, the stock template and ours."""
if "qwen3_8" in TEMPLATE_MAPPING:  # from ms-swift 4.6.0 on
    TEMPLATES["stvg_qwen3_8"] = ("qwen3_8", StvgQwen3_8Template)


def asked_of_the_engine() -> dict[str, Any]:
    """The options that ms-swift's vLLM engine was given, while that asks a template for more.

    It does not hand them over, and puts what it gets from the template in the place of those with the same names.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "_prepare_engine_kwargs":
        frame = frame.f_back
    return {} if frame is None else frame.f_locals.get("engine_kwargs") or {}


def add(name: str, stock: str, template: type[StvgTemplate]) -> None:
    """Register a template by its name, in all else like the stock one; safe to repeat.

    Raises:
        VersionError: this ms-swift has no such stock template.
    """
    if stock not in TEMPLATE_MAPPING:
        raise VersionError(f"it has no template {stock}")
    meta = deepcopy(TEMPLATE_MAPPING[stock])
    meta.template_type = name
    meta.template_cls = template
    # what keeps a model from thinking in prose belongs to the prompt: ms-swift would count it as part of the answer
    meta.prompt = [*meta.prompt[:-1], meta.prompt[-1] + meta.non_thinking_prefix]
    meta.is_thinking, meta.thinking_prefix, meta.non_thinking_prefix = False, "", ""
    register_template(meta, exist_ok=True)


def register() -> None:
    """Register every template of this package whose stock template ms-swift has; safe to repeat."""
    FRAMES.configure(Settings.from_env())
    for name, (stock, template) in TEMPLATES.items():
        try:
            add(name, stock, template)
        except VersionError as error:
            warn_of_lack(f"--template {name}", error)
