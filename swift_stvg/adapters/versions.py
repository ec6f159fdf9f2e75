"""The versions of ms-swift and transformers that this package was run with."""

from __future__ import annotations

from functools import cache
from typing import Any

import swift
import transformers
from packaging.version import Version
from swift.utils import get_logger

from swift_stvg.errors import VersionError

TESTED = {"ms-swift": ("4.5.0", "4.6.0"), "transformers": ("5.2.0", "5.19.0")}
"""The oldest that works, and the newest that was run (tests/versions.sh); the oldest are also in pyproject.toml."""


@cache
def check_installed() -> None:
    """As `check`, of what is installed; once in a process, so that a warning is given once."""
    check({"ms-swift": swift.__version__, "transformers": transformers.__version__})


def check(found: dict[str, str]) -> None:
    """Warn of versions that are newer than what was run.

    Raises:
        VersionError: one is too old.
    """
    for name, version in found.items():
        oldest, newest = TESTED[name]
        if Version(version) < Version(oldest):
            raise VersionError(
                f"{name} {version} is too old for swift_stvg, which works with {oldest} to {newest}: "
                f"pip install '{name}>={oldest},<={newest}'"
            )
        if Version(version) > Version(newest):
            get_logger().warning(
                f"{name} {version} is newer than what swift_stvg was run with ({oldest} to {newest}); if something "
                f"fails, try pip install '{name}<={newest}'"
            )


def of_ms_swift(holder: Any, name: str) -> Any:
    """An attribute that ms-swift's own code has.

    Raises:
        VersionError: this version has not.
    """
    found = getattr(holder, name, None)
    if found is None:
        raise VersionError(f"{holder.__name__} has no {name}")
    return found


def warn_of_lack(what: str, error: Exception) -> None:
    """Say once that a part of this package does not work with this ms-swift.

    Raises:
        ImportError: it is this package that lacks something.
    """
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "swift_stvg":
        raise error
    _warn(f"{what} is not available: ms-swift {swift.__version__} is not as swift_stvg knows it ({error})")


@cache
def _warn(text: str) -> None:
    get_logger().warning(text)
