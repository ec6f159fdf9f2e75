"""Reading JSON that other programs wrote."""

from __future__ import annotations

import codecs
import gc
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from swift_stvg.errors import DataError

PARSE_ERRORS = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""The errors that reading a malformed entry can raise."""


class RepeatedKeys(dict[str, Any]):
    """A JSON object whose text holds a key more than once. The last value of the key counts.

    Attributes:
        repeated: the key of each value that is lost.
    """

    repeated: list[str]


def read_json(path: Path, *, keep_repeated: bool = False, each_has: str = "") -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        keep_repeated: whether objects with repeated keys are returned as `RepeatedKeys`.
        each_has: a key that every value of the top object has; "" if no such key is known. If the text holds this key
            once for each value, no key of the top object is repeated. This test is faster than comparing all keys.

    Raises:
        DataError: the file cannot be read; the message says where.
    """
    try:
        with no_garbage_collection():
            data = read_bytes(path)
            if keep_repeated and not each_has:
                return json.loads(data, object_pairs_hook=_object)
            content = _decode(data)
            if keep_repeated and not _is_complete(content, data.count(f'"{each_has}"'.encode()), each_has):
                return json.loads(data, object_pairs_hook=_object)
            return content
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from None


def read_bytes(path: Path) -> bytes:
    """Read a file without the byte-order mark that some programs write before UTF-8 text.

    Raises:
        OSError: the file cannot be read.
    """
    return path.read_bytes().removeprefix(codecs.BOM_UTF8)


def _decode(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)  # twice as fast as json, but it refuses NaN
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return json.loads(data)


def _is_complete(content: Any, found: int, key: str) -> bool:
    values = content.values() if isinstance(content, dict) else []
    return found == len(values) and all(isinstance(value, dict) and key in value for value in values)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) == len(pairs):
        return content
    marked = RepeatedKeys(content)
    marked.repeated = list((Counter(key for key, _ in pairs) - Counter(content.keys())).elements())
    return marked


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Switch the garbage collector off. It would take half of the time of a parser that makes millions of objects."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def json_text(value: object) -> str:
    """Return a JSON value that must be text.

    Raises:
        TypeError: the value is not text.
    """
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r:.60}")
    return value


def json_integer(value: object) -> int:
    """Return a JSON value that must be a whole number of at most nine digits.

    Raises:
        TypeError: the value is not a number.
        ValueError: the number is not whole, or is too large to count frames or pixels.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {value!r:.60}")
    if not abs(value) < 1e9 or value != int(value):
        raise ValueError(f"expected a whole number of at most nine digits, got {value!r:.60}")
    return int(value)
