"""Finding annotation and video files in the folder trees that people already have."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from swift_stvg.errors import DataError, VideoError

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".webm", ".mov"})


def existing_folders(root: Path, names: Iterable[str], dataset: str) -> list[Path]:
    """The folders `names` that exist under `root`.

    Raises:
        DataError: none does.
    """
    names = list(names)
    found = [root / name for name in names if (root / name).is_dir()]
    if not found:
        raise DataError(
            f"no folder of {dataset} in STVG_DATA_ROOT={root}: expected one of {', '.join(names)}. "
            "The README shows the trees that are understood"
        )
    return found


def find_annotation(folders: Iterable[Path], candidates: Iterable[str], dataset: str) -> Path:
    """The first of the relative paths `candidates` that exists in one of `folders`.

    Raises:
        DataError: none does.
    """
    folders, candidates = list(folders), list(candidates)
    for folder in folders:
        for candidate in candidates:
            if (folder / candidate).is_file():
                return folder / candidate
    raise DataError(
        f"no annotation file of {dataset} in {', '.join(map(str, folders))}: looked for {', '.join(candidates)}"
    )


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        DataError: it cannot be read; the message says where.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from None


class FileIndex:
    """Files below some folders by their name without suffix, whatever sub-folders they lie in.

    Args:
        folders: where to look; links to folders are followed.
        suffixes: which files count.
    """

    def __init__(self, folders: Iterable[Path], suffixes: Iterable[str]) -> None:
        suffixes = frozenset(suffixes)
        self._folders = list(folders)
        self._paths: dict[str, Path] = {}
        for folder in self._folders:
            for parent, subfolders, names in os.walk(folder, followlinks=True):
                subfolders.sort()
                for name in sorted(names):
                    stem, suffix = os.path.splitext(name)
                    if suffix.lower() in suffixes:
                        self._paths.setdefault(stem, Path(parent, name))

    def get(self, name: str) -> Path | None:
        """Path of the file called `name`, with or without suffix."""
        stem, suffix = os.path.splitext(name)
        return self._paths.get(stem if suffix.lower() in VIDEO_SUFFIXES else name)

    def video(self, name: str) -> Path:
        """Path of a video.

        Raises:
            VideoError: there is none.
        """
        path = self.get(name)
        if path is None:
            raise VideoError("video missing", f"{name} in {', '.join(map(str, self._folders))}")
        return path
