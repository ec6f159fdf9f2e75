"""What is known of the installed ms-swift without importing it, which takes seconds."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version

HOOK = "SwiftStvgByName"
"""The finder that Python has from its start where this package was installed; see swift_stvg/startup."""
FILES_ONLY = "4.5.3"
"""The first ms-swift whose `--external_plugins` takes files only."""


def installed() -> str | None:
    """The version of ms-swift; None if there is none."""
    try:
        return version("ms-swift")
    except PackageNotFoundError:
        return None


def by_name(ms_swift: str | None, hooked: bool) -> tuple[bool, str]:
    """Whether `--external_plugins swift_stvg` works, and why.

    Args:
        ms_swift: version of ms-swift, if there is one.
        hooked: whether this package's start-up hook ran.
    """
    if ms_swift is None:
        return False, "ms-swift is not installed"
    if hooked:
        return True, f"ms-swift {ms_swift}, which takes the name by the start-up hook"
    if Version(ms_swift) < Version(FILES_ONLY):
        return (
            True,
            f"ms-swift {ms_swift}, which takes names; the start-up hook for {FILES_ONLY} and later is not there",
        )
    return False, (
        f"ms-swift {ms_swift} takes files only, and the start-up hook is not there (it comes with pip install into the "
        'environment, not with --target or PYTHONPATH): write --external_plugins "$(swift-stvg plugin)"'
    )


def by_name_here() -> tuple[bool, str]:
    """As `by_name`, of this environment."""
    return by_name(installed(), any(getattr(finder, "__name__", "") == HOOK for finder in sys.meta_path))
