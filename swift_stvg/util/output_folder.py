"""Folders that commands write to. A command never replaces files that another program wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from swift_stvg.errors import DataError
from swift_stvg.util.writing import is_partial_file


def require_own_folder(out: Path, content: str, is_own: Callable[[], bool]) -> None:
    """Raise an error if a folder holds files that an earlier run of the same command did not write.

    Args:
        out: the folder. It may be missing or empty; temporary files of killed processes do not count.
        content: what the command writes there, for the message.
        is_own: says whether an earlier run wrote the folder; called only if the folder holds files.

    Raises:
        DataError: the folder holds other files, or cannot be used.
    """
    try:
        if not out.exists() or all(map(is_partial_file, out.iterdir())) or is_own():
            return
    except OSError as error:
        raise _unusable(out, error) from None
    raise DataError(f"{out} is not empty, and it does not hold {content}: choose another folder, or delete this one")


def make_folder(out: Path) -> list[Path]:
    """Make a folder and its parents, and return the new ones, the innermost first.

    Raises:
        DataError: the folder cannot be made.
    """
    try:
        new = [path for path in (out, *out.parents) if not path.exists()]
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(out, error) from None
    return new


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder to fill. It becomes `out` in one step at the end; after an error it is deleted.

    Raises:
        DataError: `out` exists and is not an empty folder, or cannot be made.
    """
    try:
        is_free = not out.exists() or not any(out.iterdir())
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(out, error) from None
    if not is_free:
        raise DataError(f"{out} is not empty: choose another folder, or delete this one")
    with TemporaryDirectory(prefix=f".{out.name}.", suffix=".part", dir=out.parent) as parts:
        folder = Path(parts) / "folder"
        folder.mkdir()
        yield folder
        os.replace(folder, out)


def first_line_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in the first line of a file; return an empty one if there is no file or no object.

    Raises:
        OSError: the file exists and cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = json.loads(file.readline())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _unusable(out: Path, error: OSError) -> DataError:
    return DataError(f"{out} cannot be used as a folder: {error.strerror}")
