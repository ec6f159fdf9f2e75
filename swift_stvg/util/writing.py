"""Writing files atomically: a reader sees the whole file or no file."""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from swift_stvg.errors import DataError

_CHECKSUM_BYTES = 16
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.part")


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file atomically. A device or a pipe is written directly.

    Raises:
        DataError: the file cannot be written.
    """
    data = text.encode("utf-8", "backslashreplace")
    try:
        target = path.resolve()  # follow links
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            write_bytes_atomic(target, data)
    except (OSError, ValueError, RuntimeError) as error:  # also an impossible name, or a loop of links
        raise DataError(f"cannot write {str(path)!r:.200}: {error}") from None


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file atomically. Several processes may write the same file at the same time.

    Raises:
        OSError: the file cannot be written; no partial file is left.
    """
    temporary = path.with_name(f".{uuid4().hex}.part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # a full disk's error does not name the file
    finally:
        with suppress(OSError):
            temporary.unlink()


def is_partial_file(path: Path) -> bool:
    """Whether a file is the temporary file of `write_bytes_atomic`, left by a process that was killed."""
    return _PARTIAL.fullmatch(path.name) is not None


def remove_partial_files(folder: Path) -> None:
    """Delete temporary files below a folder that are older than an hour. Processes that were killed left them."""
    for path in folder.rglob(".*.part"):
        with suppress(OSError):  # another process may delete it first
            if path.stat().st_mtime < time.time() - 3600:
                path.unlink()


def add_checksum(data: bytes) -> bytes:
    """Put a digest before the data, so that `strip_checksum` can detect damage."""
    return hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).digest() + data


def strip_checksum(data: bytes) -> bytes:
    """Check and remove the digest that `add_checksum` put before the data.

    Raises:
        ValueError: the data is damaged or has no checksum.
    """
    body = data[_CHECKSUM_BYTES:]
    if hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest() != data[:_CHECKSUM_BYTES]:
        raise ValueError(f"its {len(data)} bytes do not match their checksum")
    return body
