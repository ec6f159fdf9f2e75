"""Chat templates: ms-swift's stock templates, but with the frames of the row's timeline."""

from __future__ import annotations

import base64
import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cached_property, wraps
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar

import numpy as np
from swift.template import TEMPLATE_MAPPING, register_template
from swift.utils import get_logger

from swift_stvg.adapters.patches import remember
from swift_stvg.adapters.positions import correct_positions
from swift_stvg.adapters.prompts import PAD, VIDEO, log_correction_once, vllm_keeps_outer_pair, without_outer_pair
from swift_stvg.adapters.versions import warn_of_lack
from swift_stvg.errors import TemplateMismatch, VersionError, VideoError
from swift_stvg.rows.making import SETTINGS_KEY, settings_of
from swift_stvg.settings import BACKBONES, Settings
from swift_stvg.sharing.trained_settings import require_same_settings
from swift_stvg.video.frame_loader import FrameLoader
from swift_stvg.video.request import VIDEO_KEY, VideoRequest
from swift_stvg.video.unreadable import Unread

logger = get_logger()
FRAMES = FrameLoader(Settings())
"""Loads frames for the templates; `register` applies the settings."""
UNREAD = Unread()
NO_PIXELS = "swift_stvg.serving.vllm_no_pixels:NoPixels"
LONGEST_PATH = 4096
"""Upper bound of the characters of a path. A longer text is the content of a video."""
TICKS_PER_S = 10_000
"""Resolution of frame times: rows give times with four decimals."""


class StvgTemplate:
    """The code that all backbones share; a base class before the stock template's class.

    Attributes:
        coords: the backbone's coordinate convention.
        tag: the text or ids that the stock template replaces by a video's tokens; `vllm_tag` is the text for vLLM.
        placeholders: the placeholder tokens for the pixels of an image and of a video.
        trained: the settings of the model if its checkpoint records them; the rows must have the same settings.
    """

    coords: ClassVar[str]
    tag: ClassVar[Any] = "".join(VIDEO)
    vllm_tag: ClassVar[str] = "".join(VIDEO)
    placeholders: ClassVar[tuple[str, str]] = ("<|image_pad|>", "<|video_pad|>")
    in_use: ClassVar[StvgTemplate | None] = None
    """The template that received a processor last. ms-swift makes the template before it loads datasets."""
    trained: Settings | None = None
    processor: Any
    tokenizer: Any
    config: Any
    template_meta: Any
    mode: str
    set_mode: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # with `swift infer --remove_unused_columns false`, the model would receive columns that it does not know
        self.remove_unused_columns = True

    def init_processor(self, processor: Any) -> None:
        """Take the media token ids from the tokenizer, so that other vocabularies work too."""
        super().init_processor(processor)  # type: ignore[misc]
        if processor is not None:
            known = self.tokenizer.get_vocab()
            missing = [token for token in self.placeholders if token not in known]
            if missing:
                raise TemplateMismatch(
                    f"the tokenizer has no {' and no '.join(missing)}, but {type(self).__name__} needs it for pixels: "
                    "use the template of this model"
                )
            self.image_token_id, self.video_token_id = (known[token] for token in self.placeholders)
            correct_positions(self.config.model_type)
            remember(processor.video_processor, FRAMES)
            StvgTemplate.in_use = self

    def _get_position_ids(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Positions for training. This corrects the model's class too, for workers that were spawned."""
        correct_positions(self.config.model_type)
        positions: dict[str, Any] = super()._get_position_ids(inputs)  # type: ignore[misc]
        return positions

    def replace_tag(self, media_type: str, index: int, inputs: Any) -> list[Any]:
        """Load the frames that the row names. Other media are loaded by the stock template."""
        facts = inputs.chat_template_kwargs or {}
        request_json = facts.get(VIDEO_KEY)
        if media_type != "video" or request_json is None:
            tokens: list[Any] = super().replace_tag(media_type, index, inputs)  # type: ignore[misc]
            return tokens
        request = VideoRequest.from_json(request_json)
        self.require(request.coords, request.size_wh)
        if self.trained is not None and SETTINGS_KEY in facts:
            require_same_settings(settings_of(facts[SETTINGS_KEY]), self.trained)
        with video_file(inputs.videos[index]) as (path, name):
            try:
                frames = FRAMES.load(path, request, name)
            except VideoError as error:
                UNREAD.note(name or path, error)
                raise
        if self.mode == "vllm":  # vLLM's processor makes patches, and gets the times from the metadata
            inputs.videos[index] = (frames, self.metadata(request))
            inputs.mm_processor_kwargs.update(do_resize=False, do_sample_frames=False)
            return [self.vllm_tag]
        inputs.videos[index] = frames
        self.tell_time(request, inputs.mm_processor_kwargs)
        return [self.tag]

    @property
    def side_multiple(self) -> int:
        """Sides of frames must be multiples of this number of pixels, so that the processor does not resize them."""
        processor = self.processor.video_processor
        multiple: int = processor.patch_size * processor.merge_size
        return multiple

    def metadata(self, request: VideoRequest) -> dict[str, Any]:
        """The video metadata for transformers' processors: here, consecutive frames at the row's nominal rate."""
        count = len(request.frames)
        return {"fps": rate_of(request.fps), "frames_indices": list(range(count)), "total_num_frames": count}

    def tell_time(self, request: VideoRequest, kwargs: dict[str, Any]) -> None:
        """Add the times of the frames to the stock template's arguments; by default nothing."""

    def as_trained(self, token_ids: list[int]) -> list[int]:
        """vLLM's prompt with the placeholder tokens of training. By default both are the same."""
        return token_ids

    def prepare_generate_kwargs(self, generate_kwargs: dict[str, Any], *, model: Any = None) -> dict[str, Any]:
        """Prevent answers with pixel tokens, because such an answer cannot be encoded again."""
        kwargs: dict[str, Any] = super().prepare_generate_kwargs(generate_kwargs, model=model)  # type: ignore[misc]
        config = kwargs["generation_config"]
        config.suppress_tokens = list(dict.fromkeys([*(config.suppress_tokens or ()), *self.unwanted]))
        return kwargs

    def prepare_engine_kwargs(self) -> dict[str, Any]:
        """Prevent pixel tokens in vLLM's answers with a logits processor; ms-swift's requests have no field for this.

        Raises:
            TemplateMismatch: an option of vLLM that must be extended has a wrong type.
        """
        kwargs: dict[str, Any] = super().prepare_engine_kwargs()  # type: ignore[misc]
        if self.mode == "vllm":
            given = user_engine_kwargs() | kwargs  # joined as in ms-swift
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
        """The ids of tokens that answers must not contain."""
        return [self.image_token_id, self.video_token_id]

    def require(self, coords: str, sides: tuple[int, ...]) -> None:
        """Refuse rows that were made for another backbone.

        Args:
            coords: the rows' coordinate convention.
            sides: sides of their frames in pixels, or a number that all sides are multiples of.

        Raises:
            TemplateMismatch: the backbone uses another convention, or its patches do not divide the sides.
        """
        faults, settings = [], []
        if coords != self.coords:
            faults.append(
                f"{coords} coordinates, but the backbone of {self.template_meta.template_type} needs {self.coords}"
            )
            settings.append(f"STVG_COORDS={self.coords}")
        multiple = self.side_multiple
        if any(side % multiple for side in sides):
            faults.append(
                f"frames with sides of {' and '.join(map(str, sides))} pixels or multiples, but this model needs "
                f"multiples of {multiple}"
            )
            settings.append(f"STVG_SIDE_MULTIPLE={multiple}")
        if faults:
            raise TemplateMismatch(
                f"rows have {'; and '.join(faults)}: set {' '.join(settings)}, or use the template of the backbone "
                "that the rows were made for"
            )


def rate_of(fps: float) -> float:
    """A row's nominal rate in frames per second, lowered a little so that rounding does not change a position.

    Positions are floor(i * seconds of a pair * 2). Some code keeps the seconds as float32. If float32 rounds them down,
    a pair at a whole number would get a position that is too small by one.
    """
    pair_s = np.float32(2 / fps)
    if float(pair_s) < 2 / fps:
        pair_s = np.nextafter(pair_s, np.float32(np.inf))
    return 2 / float(pair_s)


def stock_class(name: str) -> Any:
    """The class of ms-swift's template of that name; `object` if this version has no such template."""
    return TEMPLATE_MAPPING[name].template_cls if name in TEMPLATE_MAPPING else object


class StvgQwen2VLTemplate(StvgTemplate, stock_class("qwen2_vl")):  # type: ignore[misc]
    """Qwen2-VL: coordinates in thousandths, frames in pairs, no time between frames."""

    coords = BACKBONES["stvg_qwen2_vl"].coords


class StvgQwen2_5VLTemplate(StvgTemplate, stock_class("qwen2_5_vl")):  # type: ignore[misc]
    """Qwen2.5-VL: coordinates in pixels, frames in pairs, the time between frames in the position encoding."""

    coords = BACKBONES["stvg_qwen2_5_vl"].coords

    def tell_time(self, request: VideoRequest, kwargs: dict[str, Any]) -> None:
        """Add the nominal rate. The seconds of a pair of frames are computed from it."""
        kwargs.setdefault("fps", []).append(rate_of(request.fps))


class StvgQwen3VLTemplate(StvgTemplate, stock_class("qwen3_vl")):  # type: ignore[misc]
    """Qwen3-VL: coordinates in thousandths; before each pair of frames the mean of its two times as text."""

    coords = BACKBONES["stvg_qwen3_vl"].coords
    tag = PAD

    @cached_property
    def released_tag(self) -> str:
        """The text that the installed vLLM replaces by the released prompt of a video."""
        return PAD if vllm_keeps_outer_pair(self.processor, self.config) else self.vllm_tag

    def replace_tag(self, media_type: str, index: int, inputs: Any) -> list[Any]:
        """As for all backbones. In vLLM, rows of other datasets get the released prompt too."""
        tokens = super().replace_tag(media_type, index, inputs)
        return [self.released_tag if token == self.vllm_tag else token for token in tokens]

    def _extend_tokens(
        self, input_ids: Any, labels: Any, loss_scale: Any, places: Any, new_tokens: Any, mm_mask: Any = None
    ) -> Any:
        """Put the tokens of pictures and videos into a prompt, as in the release."""
        start, pad, end = self.tokenizer.convert_tokens_to_ids(list(VIDEO))

        def released(i: int) -> list[int]:
            tokens = new_tokens(i)
            kept = without_outer_pair(tokens, start, end, pad)
            if kept is not tokens:
                log_correction_once()
            return kept

        return super()._extend_tokens(input_ids, labels, loss_scale, places, released, mm_mask)

    def metadata(self, request: VideoRequest) -> dict[str, Any]:
        """The true times, as frame numbers of a video with `TICKS_PER_S` frames per second."""
        ticks = [round(t * TICKS_PER_S) for t in request.times_s]
        return {"fps": float(TICKS_PER_S), "frames_indices": ticks, "total_num_frames": ticks[-1] + 1}

    def tell_time(self, request: VideoRequest, kwargs: dict[str, Any]) -> None:
        """Add the metadata. The processor writes the times from it."""
        kwargs.setdefault("video_metadata", []).append(self.metadata(request))
        kwargs["do_sample_frames"] = False


class StvgQwen3_5Template(StvgQwen3VLTemplate, stock_class("qwen3_5")):  # type: ignore[misc]
    """Qwen3.5 and Qwen3.6: as Qwen3-VL."""


class StvgQwen3_8Template(StvgQwen3VLTemplate, stock_class("qwen3_8")):  # type: ignore[misc]
    """Qwen3.8: as Qwen3-VL, without thinking and without the stock template's text about it."""

    def _post_encode(self, model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """Leave ids and pixels as they are for Qwen3.8-Flash-Next.

        ms-swift embeds them before the model. This model embeds groups of tokens too, by their ids.
        """
        if self.config.model_type == "qwen4_exp":
            return inputs
        embedded: dict[str, Any] = super()._post_encode(model, inputs)
        return embedded


@contextmanager
def video_file(video: str) -> Iterator[tuple[str, str | None]]:
    """The path of a video, and a name for its content if the path is temporary.

    Rows name files, folders or lists of pictures. `swift deploy` gives the text that the client sent: a data URL, an
    address, or a file as base64.

    Raises:
        VideoError: the video cannot be read or downloaded.
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
    """Refuse settings that do not fit the template of this run, and warn if the template is not of swift_stvg.

    This check runs before rows are made. Without it, SFT would try other rows, which fail too, and end with a message
    that hides the reason.

    Raises:
        TemplateMismatch: as `StvgTemplate.require`.
    """
    if StvgTemplate.in_use is None:
        logger.warning(
            "this run does not use a template of swift_stvg. Other templates choose and resize video frames in their "
            f"own way, and the rows' answers do not fit these frames. Pass --template {' or '.join(TEMPLATES)}"
        )
    else:
        StvgTemplate.in_use.require(settings.coords, (settings.side_multiple,))


TEMPLATES: dict[str, tuple[str, type[StvgTemplate]]] = {
    "stvg_qwen2_vl": ("qwen2_vl", StvgQwen2VLTemplate),
    "stvg_qwen2_5_vl": ("qwen2_5_vl", StvgQwen2_5VLTemplate),
    "stvg_qwen3_vl": ("qwen3_vl", StvgQwen3VLTemplate),
    "stvg_qwen3_5": ("qwen3_5", StvgQwen3_5Template),
    "stvg_qwen3_8": ("qwen3_8", StvgQwen3_8Template),
}
"""For each name, the name of the stock template and our class."""


def user_engine_kwargs() -> dict[str, Any]:
    """The user's options of ms-swift's vLLM engine, read from the frame of the engine's calling function.

    ms-swift does not pass them to the template, but replaces them by the template's options of the same names.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "_prepare_engine_kwargs":
        frame = frame.f_back
    return {} if frame is None else frame.f_locals.get("engine_kwargs") or {}


def add(name: str, stock: str, template: type[StvgTemplate]) -> None:
    """Register a template under its own name, with the stock template's properties; may be called again.

    Raises:
        VersionError: this ms-swift has no such stock template.
    """
    if stock not in TEMPLATE_MAPPING:
        raise VersionError(f"ms-swift has no template {stock}")
    meta = deepcopy(TEMPLATE_MAPPING[stock])
    meta.template_type = name
    meta.template_cls = template
    # the prefix that prevents thinking becomes a part of the prompt; ms-swift would count it as part of the answer
    meta.prompt = [*meta.prompt[:-1], meta.prompt[-1] + meta.non_thinking_prefix]
    meta.is_thinking, meta.thinking_prefix, meta.non_thinking_prefix = False, "", ""
    register_template(meta, exist_ok=True)


def take_other_ids(stock: Any) -> None:
    """Make a stock template take the ids of pixel tokens from the tokenizer; may be called again.

    ms-swift's code holds the ids of the released models. A model with its own vocabulary, such as a model of
    `swift-stvg tiny`, would end with "Video features and video tokens do not match". Nothing changes for the released
    models.
    """
    init_processor = stock.init_processor
    if hasattr(init_processor, "__wrapped__"):
        return

    @wraps(init_processor)
    def with_other_ids(self: Any, processor: Any) -> None:
        init_processor(self, processor)
        if processor is not None:
            known = self.tokenizer.get_vocab()
            for name, token in zip(("image_token_id", "video_token_id"), StvgTemplate.placeholders, strict=True):
                if token in known:
                    setattr(self, name, known[token])

    stock.init_processor = with_other_ids


def register() -> None:
    """Register every template whose stock template ms-swift has; may be called again."""
    FRAMES.configure(Settings.from_env())
    if "qwen2_vl" in TEMPLATE_MAPPING:  # the base class of all these
        take_other_ids(TEMPLATE_MAPPING["qwen2_vl"].template_cls)
    for name, (stock, template) in TEMPLATES.items():
        try:
            add(name, stock, template)
        except VersionError as error:
            warn_of_lack(f"--template {name}", error)
