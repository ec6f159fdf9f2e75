"""The STVG_* settings: one place that defines, documents and validates them.

They are read from the environment, as ms-swift does it (so a YAML file's `ENV:` block sets them too), once, when rows
are made or the plugin is registered. Everything later reads the row.
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

PREFIX = "STVG_"
UNITS = ("frame", "second")
COORDS = ("pixel", "norm1000")
STYLES = ("tags", "csv")
SPATIAL_FRAMES = ("shared", "either")
TEST_VARIABLES = frozenset({"STVG_TEST_DATA"})
"""Names with the prefix that belong to the test suite."""
DECODERS = ("pyav", "decord")
"""Who decodes videos."""
OUTSIDE = ("refuse", "links", "allow")
"""Ways to take files outside the data root."""


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
    """A path as written; None for "off"."""
    return None if text.lower() in ("", "off", "none") else text


def _floor(text: str) -> float | None:
    return None if text.lower() in ("off", "none") else _number(-5.0, 1.0)(text)


def _setting(default: Any, read: Callable[[str], Any], doc: str, *, of_this_machine: bool = False) -> Any:
    return field(default=default, metadata={"read": read, "doc": doc, "of_this_machine": of_this_machine})


@dataclass(frozen=True, slots=True)
class Backbone:
    """What a template's models, as they are released, ask of the settings.

    Attributes:
        coords: their coordinate convention, for STVG_COORDS.
        side_multiple: what the sides of frames must be multiples of, for STVG_SIDE_MULTIPLE.
        system: the system prompt where a row has none; "" for none.
        answer_begins: what a prompt ends with, so that the model does not think in prose.
    """

    coords: str
    side_multiple: int
    system: str = ""
    answer_begins: str = ""


_NO_THOUGHT = "<think>\n\n</think>\n\n"
BACKBONES = {
    "stvg_qwen2_vl": Backbone("norm1000", 28, "You are a helpful assistant."),
    "stvg_qwen2_5_vl": Backbone("pixel", 28, "You are a helpful assistant."),
    "stvg_qwen3_vl": Backbone("norm1000", 32),
    "stvg_qwen3_5": Backbone("norm1000", 32, answer_begins=_NO_THOUGHT),
    "stvg_qwen3_8": Backbone("norm1000", 32, answer_begins=_NO_THOUGHT),
}
"""By template."""


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
        "way to take files outside the data root: refuse; follow links that lie in it; allow annotations to name any",
        of_this_machine=True,
    )
    cache_dir: str | None = _setting(
        "~/.cache/swift_stvg",
        _folder,
        "folder that keeps the times of videos' frames, which is to be found out once for each; or off",
        of_this_machine=True,
    )
    frame_cache: str | None = _setting(
        None,
        _folder,
        "folder of frames that `swift-stvg cache` wrote, or off; clips that it does not hold are decoded",
        of_this_machine=True,
    )
    frame_memory: int = _setting(
        4096,
        _integer(0, 1_000_000),
        "megabytes of frames that a process may keep, so that a GRPO step decodes a video once; 0 for none",
        of_this_machine=True,
    )
    decoder: str = _setting(
        "pyav",
        _one_of(*DECODERS),
        "what decodes videos: pyav; or decord, for the files of which it is known to find the right frames",
        of_this_machine=True,
    )
    preview_steps: int = _setting(
        50,
        _integer(1, 10**9),
        "steps between two looks of `--callbacks stvg_preview` at rollouts",
        of_this_machine=True,
    )
    preview_rows: int = _setting(
        4, _integer(0, 1000), "most answers that `--callbacks stvg_preview` draws at a time", of_this_machine=True
    )
    folder_fps: float = _setting(
        25.0,
        _number(0.01, 1000.0),
        "frames per second of videos that are folders of pictures, where no annotation says it",
        of_this_machine=True,
    )
    fps: float = _setting(2.0, _number(0.01, 120.0), "frames sampled per second of video")
    max_side: int = _setting(336, _integer(4, 8192), "longer side of a frame at most, in pixels; never enlarged")
    side_multiple: int = _setting(
        28,
        _integer(1, 512),
        "sides of a frame are multiples of this: 28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL and Qwen3.5",
    )
    max_frames: int = _setting(
        128, _integer(1, 4096), "most frames sampled from a clip; a longer clip is sampled evenly and more sparsely"
    )
    index_unit: str = _setting("frame", _one_of(*UNITS), "what an index in an answer counts: sampled frames or seconds")
    coords: str = _setting(
        "pixel",
        _one_of(*COORDS),
        "coordinates in the text: pixel for Qwen2.5-VL, norm1000 for Qwen2-VL, Qwen3-VL and Qwen3.5",
    )
    think: bool = _setting(True, _boolean, "whether answers hold think boxes before the final ones")
    boxes: bool = _setting(
        True, _boolean, "whether answers hold boxes at all, or the time alone, as for temporal grounding"
    )
    style: str = _setting(
        "tags",
        _one_of(*STYLES),
        "how answers are written: tags, the paper's form, or csv, plain lines of numbers for models not trained on it",
    )
    think_jitter: float = _setting(
        0.0,
        _number(0.0, 1.0),
        "share of its sides by which a think box of an SFT target lies off the truth; 0 for the truth itself",
    )
    think_seed: int = _setting(0, _integer(0, 2**31), "seed of the think boxes of SFT targets")
    spatial_floor: float | None = _setting(
        None, _floor, "lower clamp of the per-frame term of the spatial reward, in [-5, 1], or off (the paper's Eq. 7)"
    )
    spatial_frames: str = _setting(
        "shared",
        _one_of(*SPATIAL_FRAMES),
        "frames that the spatial rewards are means over: shared by both spans (the paper's Eq. 6), or those of either, "
        "of which one that is not shared counts as the worst box, as do all where the time or the list cannot be read",
    )
    system_prompt: bool = _setting(True, _boolean, "whether the task instruction is given as system prompt")
    query_first: bool = _setting(False, _boolean, "whether the sentence comes before the video in the prompt")

    def __post_init__(self) -> None:
        for setting in fields(self):
            text = as_text(getattr(self, setting.name))
            try:
                object.__setattr__(self, setting.name, setting.metadata["read"](text))
            except ValueError as error:
                raise SettingsError(
                    f"{PREFIX}{setting.name.upper()}={text!r}: {error}. It sets the {setting.metadata['doc']}; "
                    f"the default is {as_text(setting.default)}"
                ) from None
        if self.side_multiple > self.max_side:
            raise SettingsError(
                f"{PREFIX}SIDE_MULTIPLE ({self.side_multiple}) must not exceed {PREFIX}MAX_SIDE ({self.max_side}): "
                "no frame could have such a side"
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read and check every STVG_* variable.

        Raises:
            SettingsError: a name is unknown or a value impossible; the message names the valid ones.
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
        """Those that a row depends on, by field name; `from_texts` reads them back."""
        return {f.name: as_text(getattr(self, f.name)) for f in fields(self) if not f.metadata["of_this_machine"]}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Settings:
        """Settings as `to_texts` gave them.

        Raises:
            SettingsError: as `from_env`.
        """
        return cls.from_env({PREFIX + name.upper(): text for name, text in texts.items()})

    @property
    def root(self) -> Path:
        """The data root as a path, with `~` expanded."""
        return Path(self.data_root).expanduser()


def as_text(value: Any) -> str:
    """A setting's value as it is written in the environment."""
    if value is None:
        return "off"
    if isinstance(value, float):
        return format(Decimal(repr(float(value))), "f")  # without an exponent, which settings do not take
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe_settings() -> list[tuple[str, str, str]]:
    """(name, default, meaning) of every setting, for the documentation and `swift-stvg settings`."""
    return [(PREFIX + f.name.upper(), as_text(f.default), f.metadata["doc"]) for f in fields(Settings)]
