"""Imports and work of the processes that tests start and kill."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from typing import Any

import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401

from swift_stvg.cli import main

tempfile.gettempdir()  # writes a file to find out


def run(words: list[str], env: dict[str, str], errors: Any = None, limit: int | None = None) -> None:
    """Run a command.

    Args:
        words: the command line.
        env: settings.
        errors: a pipe in place of stderr.
        limit: upper bound of a file's size in bytes.
    """
    os.environ.update(env)
    if errors is not None:
        os.dup2(errors.fileno(), 2)
        errors.close()
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # Python has the signal ignored
    sys.exit(main(words))
