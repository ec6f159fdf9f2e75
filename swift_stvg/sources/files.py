"""Finding annotation and video files in the folder trees that people already have."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from swift_stvg.errors import DataError, RowError
from swift_stvg.util.json_reading import json_text
from swift_stvg.video.image_folders import as_path, holds_pictures, is_set

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".webm", ".mov"})


@dataclass(frozen=True, slots=True)
class DataRoot:
    """The folder that annotations cannot lead out of.

    Links that lie in it are followed by default: its owner made them, to keep videos on another disk, say. What a text
    of strangers names is another matter.

    Attributes:
        path: the folder.
        outside: one of `settings.OUTSIDE`.
    """

    path: Path
    outside: str = "links"

    def file(self, name: str, folder: Path, where: str) -> Path:
        """The file that an annotation in `folder` calls `name`: below the data root or that folder.

        Raises:
            RowError: it lies elsewhere, and that is not allowed.
        """
        if self.outside == "allow":
            return folder / name
        plain = os.path.normpath(name)  # so that `..` after a link is what it says
        if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir:
            plain = os.path.normpath(os.path.join(os.path.abspath(folder), plain))
            if not any(_below(plain, os.path.abspath(top)) for top in (folder, self.path)):
                raise _outside(name, where)
        return self.admit(folder / plain, folder)

    def video(self, name: object, folder: Path, where: str) -> Path:
        """The video that an annotation in `folder` calls `name`: a file, a folder or pattern of pictures, or a list.

        Raises:
            RowError: as `file`.
            TypeError, ValueError: it is no name.
        """
        if isinstance(name, list):
            return as_path([self.file(json_text(part), folder, where) for part in name])
        if json_text(name).startswith("["):
            raise ValueError(f"`video` is no name: {name!r:.80}")
        path = self.file(json_text(name), folder, where)
        if self.outside == "refuse" and is_set(path):
            inside = path if path.is_dir() else path.parent
            for entry in sorted(inside.iterdir()) if inside.is_dir() else ():
                self.admit(entry, folder)
        return path

    def admit(self, path: Path, folder: Path | None = None) -> Path:
        """A path, unless links lead out of the data root and `folder`, and that is not allowed.

        Raises:
            RowError: they do.
        """
        if self.outside == "refuse":
            real = os.path.realpath(path)
            if not any(_below(real, os.path.realpath(top)) for top in (self.path, folder or self.path)):
                raise _outside(str(path), f"a link to {real}")
        return path


def _below(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _outside(name: str, where: str) -> RowError:
    return RowError("file outside the data root", f"{name!r:.200}, {where}; STVG_OUTSIDE says what is read")


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


def find_annotations(folders: Iterable[Path], candidates: Iterable[str], dataset: str) -> list[tuple[Path, Path]]:
    """(folder, file) of the relative paths `candidates` that exist in `folders`, the most specific first.

    Raises:
        DataError: there is none.
    """
    folders, candidates = list(folders), list(candidates)
    found = [(f, f / c) for f in folders for c in candidates if (f / c).is_file()]
    if not found:
        raise DataError(
            f"no annotation file of {dataset} in {', '.join(map(str, folders))}: looked for {', '.join(candidates)}"
        )
    return found


class FileIndex:
    """Files below some folders by their name without suffix, whatever sub-folders they lie in; of videos, also folders
    of pictures.

    Of files with the same name one below the first of `prefer` wins; then one whose folders are those that the name
    was given with; then one with the same suffix; then the first.

    Args:
        root: which files may be read.
        folders: where to look; links to folders are followed, each folder is read once.
        suffixes: which files count.
        prefer: names of sub-folders.
    """

    def __init__(
        self, root: DataRoot, folders: Iterable[Path], suffixes: Iterable[str], prefer: Iterable[str] = ()
    ) -> None:
        self._root = root
        suffixes = frozenset(suffixes)
        ranks = {name: rank for rank, name in enumerate(prefer)}
        self._folders = list(folders)
        searched = ",".join(map(str, self._folders))
        self._nowhere = f"{searched if len(self._folders) == 1 else '{' + searched + '}'}/**/"
        self._paths: dict[str, list[tuple[int, Path]]] = {}
        seen: set[tuple[int, int]] = set()
        for folder in self._folders:
            for parent, subfolders, names in os.walk(folder, followlinks=True):
                status = os.stat(parent)
                if (status.st_dev, status.st_ino) in seen:  # a link back up the tree
                    subfolders.clear()
                    continue
                seen.add((status.st_dev, status.st_ino))
                subfolders.sort()
                rank = min((ranks[part] for part in Path(parent).parts if part in ranks), default=len(ranks))
                if suffixes & VIDEO_SUFFIXES and holds_pictures(names):
                    stem, suffix = os.path.splitext(os.path.basename(parent))
                    stem += "" if suffix.lower() in VIDEO_SUFFIXES else suffix
                    self._paths.setdefault(stem, []).append((rank, Path(parent)))
                for name in sorted(names):
                    stem, suffix = os.path.splitext(name)
                    if suffix.lower() in suffixes:
                        self._paths.setdefault(stem, []).append((rank, Path(parent, name)))

    def get(self, name: str, folders: bool = False) -> Path | None:
        """Path of the file called `name`, with or without a video's suffix and folders.

        Args:
            name: as an annotation has it.
            folders: whether the file must lie in the folders that the name has.

        Raises:
            RowError: it may not be read.
        """
        *above, last = name.strip().replace("\\", "/").split("/")
        stem, suffix = os.path.splitext(last)
        found = self._paths.get(stem if suffix.lower() in VIDEO_SUFFIXES else last, [])
        ranked = [
            (rank, not _lies_in(path, above), path.suffix.lower() != suffix.lower(), i)
            for i, (rank, path) in enumerate(found)
            if not folders or _lies_in(path, above)
        ]
        return self._root.admit(found[min(ranked)[-1]][1]) if ranked else None

    def video(self, name: str, folders: bool = False) -> Path:
        """Path of a video; where there is none, a pattern that names no file and says where it was looked for."""
        return self.get(name, folders) or Path(self._nowhere + name)


def _lies_in(path: Path, folders: list[str]) -> bool:
    """Whether these are the last folders of a file's path."""
    return list(path.parts[:-1][-len(folders) :]) == folders if folders else True
