"""Finding annotation and video files in common folder layouts."""

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
    """The data root. Annotations must not name files outside it, unless a setting allows that.

    Links inside the root are followed by default, because the owner of the folder made them, for example to keep videos
    on another disk. The texts of annotation files come from strangers, so they are not trusted.

    Attributes:
        path: the folder.
        outside: one of `settings.OUTSIDE`.
    """

    path: Path
    outside: str = "links"

    def file(self, name: str, folder: Path, where: str) -> Path:
        """The path of the file `name` of an annotation in `folder`. It must lie below the data root or `folder`.

        Raises:
            RowError: the file lies elsewhere, and the setting does not allow that.
        """
        if self.outside == "allow":
            return folder / name
        plain = os.path.normpath(name)  # so that `..` after a link means the parent in the text
        if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir:
            plain = os.path.normpath(os.path.join(os.path.abspath(folder), plain))
            if not any(_below(plain, os.path.abspath(top)) for top in (folder, self.path)):
                raise _outside(name, where)
        return self.admit(folder / plain, folder)

    def video(self, name: object, folder: Path, where: str) -> Path:
        """The path of the video `name` of an annotation in `folder`.

        A video is a file, a folder of pictures, a pattern of their names, or a list of pictures.

        Raises:
            RowError: see `file`.
            TypeError, ValueError: `name` is not a file name or a list of them.
        """
        if isinstance(name, list):
            return as_path([self.file(json_text(part), folder, where) for part in name])
        if json_text(name).startswith("["):
            raise ValueError(f"`video` is not a file name: {name!r:.80}")
        path = self.file(json_text(name), folder, where)
        if self.outside == "refuse" and is_set(path):
            inside = path if path.is_dir() else path.parent
            for entry in sorted(inside.iterdir()) if inside.is_dir() else ():
                self.admit(entry, folder)
        return path

    def admit(self, path: Path, folder: Path | None = None) -> Path:
        """Return the path, after checking that links do not lead out of the data root or `folder`.

        Raises:
            RowError: a link leads out, and the setting does not allow that.
        """
        if self.outside == "refuse":
            real = os.path.realpath(path)
            if not any(_below(real, os.path.realpath(top)) for top in (self.path, folder or self.path)):
                raise _outside(str(path), f"a link to {real}")
        return path


def _below(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _outside(name: str, where: str) -> RowError:
    return RowError("file outside the data root", f"{name!r:.200}, {where}; STVG_OUTSIDE sets which files may be read")


def existing_folders(root: Path, names: Iterable[str], dataset: str) -> list[Path]:
    """The existing folders among `names` under `root`.

    Raises:
        DataError: none of them exists.
    """
    names = list(names)
    found = [root / name for name in names if (root / name).is_dir()]
    if not found:
        raise DataError(
            f"no folder of {dataset} in STVG_DATA_ROOT={root}: expected one of {', '.join(names)}. "
            "The documentation shows the folder layouts"
        )
    return found


def find_annotations(folders: Iterable[Path], candidates: Iterable[str], dataset: str) -> list[tuple[Path, Path]]:
    """(folder, file) for each path of `candidates` that exists below one of the `folders`, in the given order.

    Raises:
        DataError: no such file exists.
    """
    folders, candidates = list(folders), list(candidates)
    found = [(f, f / c) for f in folders for c in candidates if (f / c).is_file()]
    if not found:
        raise DataError(
            f"no annotation file of {dataset} in {', '.join(map(str, folders))}: looked for {', '.join(candidates)}"
        )
    return found


class FileIndex:
    """An index of the files below some folders, by name without suffix. Folders of pictures count as videos.

    Files with the same name are ranked by four rules, in this order: the sub-folder comes early in `prefer`; the
    folders match the folders of the wanted name; the suffix matches; the file was found first.

    Args:
        root: decides which files may be read.
        folders: the folders; links to folders are followed, and each folder is read once.
        suffixes: suffixes of the files to index.
        prefer: names of preferred sub-folders.
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
        """The path of the file called `name`; None if there is none.

        Args:
            name: the name in the annotation, with or without a video suffix and folders.
            folders: whether the file must lie in the folders that the name gives.

        Raises:
            RowError: the file may not be read.
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
        """The path of a video. For a missing video it is a pattern that shows which folders were searched."""
        return self.get(name, folders) or Path(self._nowhere + name)


def _lies_in(path: Path, folders: list[str]) -> bool:
    """Whether the path of a file ends with these folders and the file."""
    return list(path.parts[:-1][-len(folders) :]) == folders if folders else True
