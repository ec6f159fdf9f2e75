"""The STVG_* settings: this module alone defines, documents and validates them.

Settings are read from the environment, as ms-swift reads its own; a YAML file's `ENV:` block sets them too. They are
read once, when rows are made or the plugin is registered. All later steps read the row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from swift_stvg.errors import SettingsError

__all__ = [
    "BACKBONES",
    "COORDS",
    "DECODERS",
    "MARKS",
    "OBJECT_MISSING",
    "OUTSIDE",
    "PREFIX",
    "SPATIAL_FRAMES",
    "STYLES",
    "TEST_VARIABLES",
    "UNITS",
    "Backbone",
    "Settings",
    "as_text",
    "describe_settings",
]


PREFIX = "STVG_"
UNITS = ("frame", "second")
COORDS = ("pixel", "norm1000", "unit", "source")
STYLES = ("tags", "csv", "qwen_json", "span_json", "fig8", "ids")
MARKS = ("numbers", "outlines")
OBJECT_MISSING = ("drop", "time")
SPATIAL_FRAMES = ("shared", "either")
TEST_VARIABLES = frozenset({"STVG_TEST_DATA"})
"""Names with the prefix that only the test suite reads."""
DECODERS = ("pyav", "decord")
"""Libraries that decode videos."""
OUTSIDE = ("refuse", "links", "allow")
"""Rules for files outside the data root."""


def _boolean(text: str) -> bool:
    try:
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        if not re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{0,20})?", text) or not low <= float(text) <= high:
            raise ValueError(f"must be a number in [{low:g}, {high:g}]")
        return float(text)

    return read


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number in [{low}, {high}]")
        return int(text)

    return read


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return text

    return read


def _folder(text: str) -> str | None:
    """A path as written; None for "off", "none" or an empty text."""
    return None if text.lower() in ("", "off", "none") else text


def _floor(text: str) -> float | None:
    return None if text.lower() in ("off", "none") else _number(-5.0, 1.0)(text)


def _setting(default: Any, read: Callable[[str], Any], doc: str, *, of_this_machine: bool = False) -> Any:
    return field(default=default, metadata={"read": read, "doc": doc, "of_this_machine": of_this_machine})


@dataclass(frozen=True, slots=True)
class Backbone:
    """The settings that the released models of a template need.

    Attributes:
        coords: the coordinate convention of the models, for STVG_COORDS.
        side_multiple: the sides of frames are multiples of this, for STVG_SIDE_MULTIPLE.
        system: the system prompt for rows that have none; "" for no system prompt.
        answer_begins: the last text of a prompt. It keeps the model from thinking in prose.
        pixel_ids: ids of the placeholder tokens for an image and for a video. ms-swift's own template accepts no other
            ids.
    """

    coords: str
    side_multiple: int
    system: str = ""
    answer_begins: str = ""
    pixel_ids: tuple[int, int] = (151655, 151656)


_NO_THOUGHT = "<think>\n\n</think>\n\n"
_LATER_IDS = (248056, 248057)
BACKBONES = {
    "stvg_qwen2_vl": Backbone("norm1000", 28, "You are a helpful assistant."),
    "stvg_qwen2_5_vl": Backbone("pixel", 28, "You are a helpful assistant."),
    "stvg_qwen3_vl": Backbone("norm1000", 32),
    "stvg_qwen3_5": Backbone("norm1000", 32, answer_begins=_NO_THOUGHT, pixel_ids=_LATER_IDS),
    "stvg_qwen3_8": Backbone("norm1000", 32, answer_begins=_NO_THOUGHT, pixel_ids=_LATER_IDS),
}
"""Backbones by template name."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; the environment name of `max_side` is STVG_MAX_SIDE, and so on.

    Raises:
        SettingsError: a value is impossible.
    """

    data_root: str = _setting(".", str, "folder that holds the datasets", of_this_machine=True)
    outside: str = _setting(
        "links",
        _one_of(*OUTSIDE),
        "files outside the data root: refuse takes none; links follows links inside the data root; allow takes any",
        of_this_machine=True,
    )
    cache_dir: str | None = _setting(
        "~/.cache/swift_stvg",
        _folder,
        "folder that keeps the frame times of videos, so that each video is examined once; or off",
        of_this_machine=True,
    )
    frame_cache: str | None = _setting(
        None,
        _folder,
        "folder of frames that `swift-stvg cache` wrote, or off; other clips are decoded",
        of_this_machine=True,
    )
    frame_memory: int = _setting(
        4096,
        _integer(0, 1_000_000),
        "most megabytes of frames that a process keeps, so that a GRPO step decodes a video once; 0 keeps none",
        of_this_machine=True,
    )
    decoder: str = _setting(
        "pyav",
        _one_of(*DECODERS),
        "decoder of videos: pyav, or decord for files where it is known to find the right frames",
        of_this_machine=True,
    )
    preview_steps: int = _setting(
        50,
        _integer(1, 10**9),
        "steps between two previews of rollouts by `--callbacks stvg_preview`",
        of_this_machine=True,
    )
    preview_rows: int = _setting(
        4, _integer(0, 1000), "answers that `--callbacks stvg_preview` draws at most at a time", of_this_machine=True
    )
    folder_fps: float = _setting(
        25.0,
        _number(0.01, 1000.0),
        "frames per second of a folder of pictures, if no annotation gives them",
        of_this_machine=True,
    )
    proposals: str | None = _setting(
        None,
        _folder,
        "file or folder of tracks of objects, for answers that name an object (STVG_STYLE=ids); or off",
        of_this_machine=True,
    )
    fps: float = _setting(2.0, _number(0.01, 120.0), "frames sampled per second of video")
    max_side: int = _setting(
        336, _integer(4, 8192), "maximum of the longer side of a frame, in pixels; frames are never enlarged"
    )
    side_multiple: int = _setting(
        28,
        _integer(1, 512),
        "the sides of a frame are multiples of this: 28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL and Qwen3.5",
    )
    max_frames: int = _setting(
        128, _integer(1, 4096), "maximum of frames sampled from a clip; a longer clip is sampled evenly at a lower rate"
    )
    index_unit: str = _setting("frame", _one_of(*UNITS), "unit of an index in an answer: sampled frames or seconds")
    coords: str = _setting(
        "pixel",
        _one_of(*COORDS),
        "coordinates in answers: pixel for Qwen2.5-VL; norm1000, thousandths, for Qwen2-VL, Qwen3-VL and Qwen3.5; "
        "unit, shares of 1, or source, pixels of the video, for other models",
    )
    think: bool = _setting(
        True, _boolean, "whether an answer holds think boxes before the final boxes; csv and fig8 never do"
    )
    boxes: bool = _setting(
        True, _boolean, "whether answers hold boxes; without them, only the time, as in temporal grounding"
    )
    style: str = _setting(
        "tags",
        _one_of(*STYLES),
        "form of answers: tags, as in the paper; csv, lines of numbers for models that were not trained on tags; "
        "qwen_json, the JSON of Qwen3-VL; span_json, the JSON of OneThinker; fig8, the paper's form for closed models; "
        "or ids, the number of an object that is marked on the frames, as in STVG-R1",
    )
    marks: str = _setting(
        "numbers",
        _one_of(*MARKS),
        "what is drawn onto frames with STVG_STYLE=ids: the objects' numbers, or the outlines of their boxes too",
    )
    object_viou: float = _setting(
        0.5,
        _number(0.0, 1.0),
        "with STVG_STYLE=ids, least vIoU of the right object's track with the annotated boxes",
    )
    object_missing: str = _setting(
        "drop",
        _one_of(*OBJECT_MISSING),
        "with STVG_STYLE=ids, what happens to a row if no track reaches STVG_OBJECT_VIOU: drop drops the row; time "
        "keeps it for its time, with 0 as the right number",
    )
    think_jitter: float = _setting(
        0.0,
        _number(0.0, 1.0),
        "shift of the think boxes of an SFT target, as a share of their sides; 0 for the true boxes",
    )
    think_seed: int = _setting(0, _integer(0, 2**31), "seed of the error of think boxes in SFT targets")
    spatial_floor: float | None = _setting(
        None, _floor, "lower limit of the per-frame term of the spatial reward, in [-5, 1], or off (the paper's Eq. 7)"
    )
    spatial_frames: str = _setting(
        "shared",
        _one_of(*SPATIAL_FRAMES),
        "frames in the mean of the spatial rewards: shared, frames of both spans (the paper's Eq. 6); or either, the "
        "union of both spans. Then a frame of one span only counts as the worst box, and so do all frames if the time "
        "or the list of boxes is unreadable",
    )
    system_prompt: bool = _setting(True, _boolean, "whether the task instruction is the system prompt")
    query_first: bool = _setting(False, _boolean, "whether the sentence comes before the video in the prompt")

    def __post_init__(self) -> None:
        for setting in fields(self):
            text = as_text(getattr(self, setting.name))
            try:
                object.__setattr__(self, setting.name, setting.metadata["read"](text))
            except ValueError as error:
                raise SettingsError(
                    f"{PREFIX}{setting.name.upper()}={text!r}: {error}. Its meaning: {setting.metadata['doc']}; "
                    f"its default: {as_text(setting.default)}"
                ) from None
        if self.side_multiple > self.max_side:
            raise SettingsError(
                f"{PREFIX}SIDE_MULTIPLE ({self.side_multiple}) must not exceed {PREFIX}MAX_SIDE ({self.max_side}): "
                "no frame can have such a side"
            )

        if fault := style_fault(self.style, self.index_unit, self.coords, self.boxes):
            raise SettingsError(fault)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read and check every STVG_* variable.

        Raises:
            SettingsError: a name is unknown or a value is impossible; the message lists the valid ones.
        """
        environ = os.environ if environ is None else environ
        by_name = {PREFIX + f.name.upper(): f for f in fields(cls)}
        texts: dict[str, Any] = {}
        for name in sorted(n for n in environ if n.startswith(PREFIX) and n not in TEST_VARIABLES):
            if name not in by_name:
                close = get_close_matches(name, by_name, n=1)
                hint = f" Did you mean {close[0]}?" if close else ""
                raise SettingsError(f"unknown setting {name}.{hint} The settings are: {', '.join(sorted(by_name))}")
            texts[by_name[name].name] = environ[name].strip()
        return cls(**texts)

    def to_texts(self) -> dict[str, str]:
        """The settings that a row depends on, as texts by field name; `from_texts` reads them back."""
        return {f.name: as_text(getattr(self, f.name)) for f in fields(self) if not f.metadata["of_this_machine"]}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Settings:
        """Read settings that `to_texts` wrote.

        Raises:
            SettingsError: a name is unknown or a value is impossible.
        """
        return cls.from_env({PREFIX + name.upper(): text for name, text in texts.items()})

    @property
    def root(self) -> Path:
        """The data root as a path, with `~` expanded."""
        return Path(self.data_root).expanduser()


def style_fault(style: str, index_unit: str, coords: str, boxes: bool) -> str:
    """Why a style of answers does not fit other settings, and what to set; "" if it fits."""
    needs = []
    if style in ("qwen_json", "span_json", "fig8") and index_unit != "second":
        needs.append(f"{PREFIX}INDEX_UNIT=second, because it counts seconds")
    if style == "fig8" and coords != "unit":
        needs.append(f"{PREFIX}COORDS=unit, because it writes shares of 1")
    if style == "qwen_json" and not boxes:
        needs.append(f"{PREFIX}BOXES=true, because it gives times with boxes only")
    if style == "ids" and not boxes:
        needs.append(f"{PREFIX}BOXES=true, because an object stands for its boxes")
    return f"{PREFIX}STYLE={style} needs {'; and '.join(needs)}" if needs else ""


def as_text(value: Any) -> str:
    """The value of a setting as the environment holds it."""
    if value is None:
        return "off"
    if isinstance(value, float):
        return format(Decimal(repr(float(value))), "f")  # no exponent: the parsers of settings do not accept one
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe_settings() -> list[tuple[str, str, str]]:
    """(name, default, meaning) of every setting, for the documentation and `swift-stvg settings`."""
    return [(PREFIX + f.name.upper(), as_text(f.default), f.metadata["doc"]) for f in fields(Settings)]
