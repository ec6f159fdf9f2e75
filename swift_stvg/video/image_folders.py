"""Videos that are sets of pictures: a folder, a pattern such as `clip1/%06d.jpg`, or a list of files.

A folder holds one numbering: its names differ in one number only, and this number rises by a constant step. Hidden
files and other files than pictures are ignored. A list keeps its order. Its path is the JSON text of the list of files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from swift_stvg.errors import VideoError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Suffixes of files that are read as pictures."""
_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})([^0-9]*)")
_PATTERN = re.compile(r"([^%]*)%(?:0([0-9]))?d([^%]*)")


def is_picture(path: Path) -> bool:
    """Whether the path of a video names a single picture."""
    return _named_picture(path.name) and not is_set(path)


def _named_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURES


def as_path(files: Sequence[Path]) -> Path:
    """The path that stands for a list of pictures."""
    return Path(json.dumps([os.path.normpath(file) for file in files], ensure_ascii=False))


def holds_pictures(names: Iterable[str]) -> bool:
    """Whether a folder with files of these names is a set of pictures."""
    return any(map(_named_picture, names))


def is_set(path: Path) -> bool:
    """Whether a path stands for a set of pictures, not for a file."""
    return str(path).startswith("[") or os.path.isdir(path) or _is_pattern(path)


def _is_pattern(path: Path) -> bool:
    return _PATTERN.fullmatch(path.name) is not None and _named_picture(path.name) and not os.path.lexists(path)


def pictures(path: Path) -> list[Path]:
    """The pictures of a set, in order.

    Raises:
        VideoError: the set is empty, or its order is not clear.
    """
    if str(path).startswith("["):
        return _listed(path)
    folder = path.parent if _is_pattern(path) else path
    names = [name for name in _names(folder) if _named_picture(name)]
    if folder != path:
        before, width, after = _PATTERN.fullmatch(path.name).groups()  # type: ignore[union-attr]
        number = f"[0-9]{{{width},}}" if width else "[0-9]+"
        wanted = re.compile(re.escape(before) + number + re.escape(after))
        names = [name for name in names if wanted.fullmatch(name)]
    if not names:
        raise VideoError("no picture", f"{path} holds no picture ({', '.join(PICTURES)})")
    return [folder / name for name in _in_order(path, names)]


def _listed(path: Path) -> list[Path]:
    try:
        files = [Path(file) for file in json.loads(str(path))]
    except (ValueError, TypeError, RecursionError):
        files = []
    if not files or not all(_named_picture(file.name) for file in files):
        raise VideoError("no list of pictures", f"{str(path)!r:.300} is not a list of pictures ({', '.join(PICTURES)})")
    return files


def _in_order(path: Path, names: Sequence[str]) -> list[str]:
    """Names sorted by their numbers.

    Raises:
        VideoError: a name has no number, or there are several numberings or gaps.
    """
    if len(names) == 1:
        return list(names)
    numbers: dict[int, str] = {}
    first: tuple[str, str, str] | None = None
    for name in names:
        stem, ending = os.path.splitext(name)
        found = _NUMBERED.fullmatch(stem)
        if found is None:
            raise VideoError("pictures without a number", f"{path} holds pictures without a number, e.g. {name!r:.100}")
        series = found[1], found[3], ending.lower()
        first = first or series
        number = int(found[2])
        if series != first or number in numbers:
            both = f"{numbers.get(number, names[0])!r:.100} and {name!r:.100}"
            raise VideoError(
                "several numberings of pictures",
                f"{path} holds several numberings, e.g. {both}: give a pattern, such as %d.jpg",
            )
        numbers[number] = name
    order = sorted(numbers)
    step = order[1] - order[0]
    for number, after in pairwise(order):
        if after - number != step:
            gap = f"{numbers[after]!r:.100} comes after {numbers[number]!r:.100}"
            raise VideoError("gap between pictures", f"{path} has gaps: {gap}, and the first numbers differ by {step}")
    return [numbers[number] for number in order]


def left_aside(path: Path) -> list[str]:
    """Names of a folder's files that are not pictures."""
    return [name for name in _names(path) if not _named_picture(name)] if os.path.isdir(path) else []


def _names(folder: Path) -> list[str]:
    """Names of a folder's files, without hidden files.

    Raises:
        VideoError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir() and not entry.name.startswith("."))
    except FileNotFoundError:
        raise VideoError("video missing", f"no folder {str(folder)!r:.300}") from None
    except OSError as error:
        raise VideoError("video unreadable", f"{folder} cannot be read: {error.strerror}") from None
