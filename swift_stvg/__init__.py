"""Spatio-temporal video grounding for ms-swift: datasets, templates, rewards and metrics.

`import swift_stvg` loads neither torch nor ms-swift. Where ms-swift is already loaded, as with
`--external_plugins swift_stvg`, importing registers everything; otherwise call `register()`.
"""

from __future__ import annotations

import sys

__version__ = "0.1.0"
__all__ = ["__version__", "register"]


def register() -> None:
    """Register datasets, templates and rewards with ms-swift; safe to repeat.

    Raises:
        SettingsError: an STVG_* setting is unknown or impossible.
        ImportError: ms-swift is not installed, or it or transformers is too old.
    """
    from swift_stvg import adapters

    adapters.register()


if sys.modules.get("swift") is not None:
    register()
