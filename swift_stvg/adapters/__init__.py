"""What ms-swift sees: datasets, templates, rewards and callbacks under their registered names.

Importing registers, so that a spawned worker that unpickles one of our objects knows all the others too.
"""

from importlib import import_module

from swift_stvg.adapters.versions import check_installed, warn_of_lack
from swift_stvg.settings import Settings

NEEDED = ("datasets", "templates", "rewards")
"""Modules without which there is nothing to train with."""
EXTRA = {
    "metrics": "--eval_metric stvg",
    "preview": "--callbacks stvg_preview",
    "hub": "pushing with today's clients of the hubs",
}
"""Modules that a run can do without, and what it then goes without."""


def register() -> None:
    """Register everything; safe to repeat. What an extra needs and this ms-swift lacks is a warning.

    Raises:
        SettingsError: an STVG_* setting is wrong, which is better known now than when the data are loaded.
        VersionError: ms-swift or transformers is too old.
        ImportError: this ms-swift lacks what datasets, templates or rewards need.
    """
    Settings.from_env()
    check_installed()
    for name in NEEDED:
        import_module(f"swift_stvg.adapters.{name}").register()
    for name, what in EXTRA.items():
        try:
            import_module(f"swift_stvg.adapters.{name}").register()
        except ImportError as error:
            warn_of_lack(what, error)


register()
