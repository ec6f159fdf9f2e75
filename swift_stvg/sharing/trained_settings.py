"""The settings that a checkpoint was trained with. A command that loads the checkpoint takes them from there.

A training notes them in `args.json` beside the weights (`OUR_SETTINGS`), without the settings of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from swift_stvg.errors import SettingsError
from swift_stvg.settings import PREFIX, Settings
from swift_stvg.sharing.checkpoint import ARGS, OUR_SETTINGS, recorded_settings
from swift_stvg.util.json_reading import read_json

UNSEEN = frozenset({"think_jitter", "think_seed", "spatial_floor", "spatial_frames"})
"""Settings that a prompt does not depend on, but only SFT targets and rewards."""
_taken: dict[str, str] = {}
"""The environment variables that `take_settings` set."""
_said: set[str] = set()


def read_settings(folder: str | Path) -> Settings | None:
    """The settings in the `args.json` of a checkpoint; None without such a file or without settings in it.

    Raises:
        DataError, SettingsError: the file or the settings in it are damaged.
    """
    path = Path(folder, ARGS)
    args = read_json(path) if path.is_file() else None
    return recorded_settings(args) if isinstance(args, dict) and OUR_SETTINGS in args else None


def take_settings(folders: Iterable[str | Path], say: Callable[[str], None]) -> bool:
    """Put the settings of a checkpoint into the environment. Variables that are already set there stay.

    Settings that an earlier call took from another checkpoint are removed first.

    Args:
        folders: the folders of adapters and of the model; the first folder with settings counts.
        say: receives one line if variables of the environment differ from the checkpoint. It gets each line once.

    Returns:
        Whether a folder has settings.

    Raises:
        DataError, SettingsError: the settings in a folder are damaged, or do not fit those of the environment.
    """
    for name in [name for name, text in _taken.items() if os.environ.get(name) == text]:
        del os.environ[name]
    _taken.clear()
    for folder in folders:
        if (trained := read_settings(folder)) is None:
            continue
        here = Settings.from_env().to_texts()
        overruled = []
        for field, text in trained.to_texts().items():
            name = PREFIX + field.upper()
            if name not in os.environ:
                os.environ[name] = _taken[name] = text
            elif here[field] != text:
                overruled.append(f"{name}={here[field]} instead of {text}")
        Settings.from_env()  # the two together must be possible
        line = f"{folder}: the environment overrules settings of its training: {', '.join(overruled)}"
        if overruled and line not in _said:
            _said.add(line)
            say(line)
        return True
    return False


def differing_settings(rows: Settings, trained: Settings) -> list[tuple[str, str, str]]:
    """(name, value of the rows, value of the training) of each setting that changes a prompt and is not the same."""
    ours, theirs = rows.to_texts(), trained.to_texts()
    return [(PREFIX + n.upper(), ours[n], theirs[n]) for n in ours if n not in UNSEEN and ours[n] != theirs[n]]


def require_same_settings(rows: Settings, trained: Settings) -> None:
    """Refuse rows that were made under other settings than those of the model.

    Raises:
        SettingsError: a setting that changes a prompt differs.
    """
    if found := differing_settings(rows, trained):
        was, trained_with = (" ".join(f"{entry[0]}={entry[i]}" for entry in found) for i in (1, 2))
        raise SettingsError(
            f"the rows were made with {was}, but the model was trained with {trained_with}: make the rows again with "
            f"the settings of the model, or set {was} in the environment to overrule these"
        )
