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
"""The oldest version that works, as in pyproject.toml, and the newest version that was tested (tests/versions.sh)."""


@cache
def check_installed() -> None:
    """Check the installed versions. Runs once in a process, so a warning is logged once."""
    check({"ms-swift": swift.__version__, "transformers": transformers.__version__})


def check(found: dict[str, str]) -> None:
    """Warn of versions that are newer than the tested ones.

    Raises:
        VersionError: a version is too old.
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
                f"{name} {version} is newer than the versions that swift_stvg was tested with ({oldest} to {newest}). "
                f"If something fails, try pip install '{name}<={newest}'"
            )


def of_ms_swift(holder: Any, name: str) -> Any:
    """An attribute of ms-swift's code.

    Raises:
        VersionError: this version of ms-swift does not have it.
    """
    found = getattr(holder, name, None)
    if found is None:
        raise VersionError(f"{holder.__name__} has no {name}")
    return found


def warn_of_lack(what: str, error: Exception) -> None:
    """Warn once that a part of this package does not work with this ms-swift.

    Raises:
        ImportError: a module of this package is missing.
    """
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "swift_stvg":
        raise error
    _warn(f"{what} is not available: it does not work with ms-swift {swift.__version__} ({error})")


@cache
def _warn(text: str) -> None:
    get_logger().warning(text)
