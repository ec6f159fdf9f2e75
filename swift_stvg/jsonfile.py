"""Reading JSON that others wrote, and writing files that are there whole or not at all."""

from __future__ import annotations

import gc
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from swift_stvg.errors import DataError


def read_json(path: Path, repeated: list[str] | None = None, each_has: str = "") -> Any:
    """A JSON file's content.

    Args:
        path: the file.
        repeated: takes a key for each value that is lost because its object holds the key again; the last one counts.
        each_has: a key of every value of the file's object, if there is one: where it stands as often as there are
            values, none of them is lost, which is faster to see than keys that are repeated.

    Raises:
        DataError: it cannot be read; the message says where.
    """

    try:
        with no_garbage_collection():
            data = path.read_bytes()
            if repeated is not None and not each_has:
                return _decode_noting(data, repeated)
            content = _decode(data)
            if repeated is not None and data.count(f'"{each_has}"'.encode()) != len(content):
                return _decode_noting(data, repeated)
            return content
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from None


def _decode(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)  # twice as fast, but it takes no NaN
    except msgspec.MsgspecError:
        return json.loads(data)


def _decode_noting(data: bytes, repeated: list[str]) -> Any:
    def keep_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            repeated.extend((Counter(key for key, _ in pairs) - Counter(content.keys())).elements())
        return content

    return json.loads(data, object_pairs_hook=keep_repeated)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Parsing makes millions of objects, none of them garbage; looking for it takes half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error}") from None


def text(value: object) -> str:
    """A JSON value that must be text.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r:.60}")
    return value


def whole(value: object) -> int:
    """A JSON value that must be a whole number, of at most nine digits.

    Raises:
        TypeError: it is no number.
        ValueError: it is not whole, or too large to count frames or pixels.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {value!r:.60}")
    if not abs(value) < 1e9 or value != int(value):
        raise ValueError(f"expected a whole number of at most nine digits, got {value!r:.60}")
    return int(value)


MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What reading a malformed entry can raise."""
