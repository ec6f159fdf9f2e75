"""Reading JSON that others wrote, and writing files that are there whole or not at all."""

from __future__ import annotations

import codecs
import gc
import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from swift_stvg.errors import DataError

_SEAL = 16
_LEFTOVER = re.compile(r"\.[0-9a-f]{32}\.part")


class RepeatedKeys(dict[str, Any]):
    """An object whose text held a key more than once; the last value counts.

    Attributes:
        repeated: a key for each value that is lost.
    """

    repeated: list[str]


def read_json(path: Path, *, keep_repeated: bool = False, each_has: str = "") -> Any:
    """A JSON file's content.

    Args:
        path: the file.
        keep_repeated: whether objects with repeated keys come as `RepeatedKeys`.
        each_has: a key of every value of the file's object, if there is one: where it stands as often as there are
            values, none of them is lost, which is faster to see than keys that are repeated.

    Raises:
        DataError: it cannot be read; the message says where.
    """
    try:
        with no_garbage_collection():
            data = read_bytes(path)
            if keep_repeated and not each_has:
                return json.loads(data, object_pairs_hook=_object)
            content = _decode(data)
            if keep_repeated and not _is_whole(content, data.count(f'"{each_has}"'.encode()), each_has):
                return json.loads(data, object_pairs_hook=_object)
            return content
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from None


def read_bytes(path: Path) -> bytes:
    """A file's content, without the byte-order mark that some programs put before UTF-8.

    Raises:
        OSError: it cannot be read.
    """
    return path.read_bytes().removeprefix(codecs.BOM_UTF8)


def _decode(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)  # twice as fast, but it takes no NaN
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return json.loads(data)


def _is_whole(content: Any, found: int, key: str) -> bool:
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
    """Parsing makes millions of objects, none of them garbage; looking for it takes half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all; a device or a pipe is written to as it is.

    Raises:
        DataError: it cannot be written.
    """
    data = text.encode("utf-8", "backslashreplace")
    try:
        target = path.resolve()  # through links
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            write_bytes_atomic(target, data)
    except (OSError, ValueError, RuntimeError) as error:  # the last two: a name that cannot be, a loop of links
        raise DataError(f"cannot write {str(path)!r:.200}: {error}") from None


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Put a file in its place at once, also while others put theirs there.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f".{uuid4().hex}.part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # whose name a full disk leaves out
    finally:
        with suppress(OSError):
            temporary.unlink()


def is_vacant(folder: Path) -> bool:
    """Whether a folder is not there, or holds nothing but what writers that were killed left."""
    return not folder.exists() or (folder.is_dir() and all(_LEFTOVER.fullmatch(path.name) for path in folder.iterdir()))


def remove_partial_files(folder: Path) -> None:
    """Delete what writers that were killed an hour ago or earlier left of files anywhere below a folder."""
    for path in folder.rglob(".*.part"):
        with suppress(OSError):  # another process may do the same
            if path.stat().st_mtime < time.time() - 3600:
                path.unlink()


def add_checksum(data: bytes) -> bytes:
    """Bytes with a digest before them, by which `strip_checksum` knows that they are whole."""
    return hashlib.blake2b(data, digest_size=_SEAL).digest() + data


def strip_checksum(data: bytes) -> bytes:
    """What was sealed.

    Raises:
        ValueError: it is damaged, or was never sealed.
    """
    body = data[_SEAL:]
    if hashlib.blake2b(body, digest_size=_SEAL).digest() != data[:_SEAL]:
        raise ValueError(f"its {len(data)} bytes are not those that were written")
    return body


def json_text(value: object) -> str:
    """A JSON value that must be text.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r:.60}")
    return value


def json_integer(value: object) -> int:
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


PARSE_ERRORS = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What reading a malformed entry can raise."""
