"""Spatio-temporal video grounding for ms-swift: datasets, templates, rewards and metrics.

`import swift_stvg` loads neither torch nor ms-swift, and registers nothing. `--external_plugins swift_stvg` registers
everything with ms-swift; in Python, `register()` does.

`ask` makes the prompt for any video and sentence, `parse` reads the reply as seconds and pixels.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swift_stvg.rows.reply import parse
    from swift_stvg.serving.asking import ask

__version__ = "0.1.0"
__all__ = ["__version__", "ask", "parse", "register"]
_LATER = {"ask": "swift_stvg.serving.asking", "parse": "swift_stvg.rows.reply"}


def __getattr__(name: str) -> Any:
    """Import the module of a public function only when that function is first used."""
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def register() -> None:
    """Register datasets, templates and rewards with ms-swift; safe to repeat.

    Raises:
        SettingsError: an STVG_* setting is unknown or impossible.
        ImportError: ms-swift is not installed, or it or transformers is too old.
    """
    from swift_stvg import adapters

    adapters.register()
