"""Properties of the installed ms-swift, found without importing it, which takes seconds."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version

HOOK = "SwiftStvgByName"
"""Name of the import finder that Python has from its start if this package is installed; see swift_stvg/startup."""
FILES_ONLY = "4.5.3"
"""The first version of ms-swift whose `--external_plugins` accepts only files."""


def installed() -> str | None:
    """The version of ms-swift; None if it is not installed."""
    try:
        return version("ms-swift")
    except PackageNotFoundError:
        return None


def by_name(ms_swift: str | None, hooked: bool) -> tuple[bool, str]:
    """Whether `--external_plugins swift_stvg` works, and why.

    Args:
        ms_swift: version of ms-swift; None if it is not installed.
        hooked: whether this package's start-up hook ran.
    """
    if ms_swift is None:
        return False, "ms-swift is not installed"
    if hooked:
        return True, f"ms-swift {ms_swift} accepts the name because of the start-up hook"
    if Version(ms_swift) < Version(FILES_ONLY):
        return (
            True,
            f"ms-swift {ms_swift} accepts names; the start-up hook that {FILES_ONLY} and later need is not installed",
        )
    return False, (
        f"ms-swift {ms_swift} accepts only files, and the start-up hook is not installed (pip install into the "
        'environment installs it, --target and PYTHONPATH do not): write --external_plugins "$(swift-stvg plugin)"'
    )


def by_name_here() -> tuple[bool, str]:
    """As `by_name`, for this environment."""
    return by_name(installed(), any(getattr(finder, "__name__", "") == HOOK for finder in sys.meta_path))
