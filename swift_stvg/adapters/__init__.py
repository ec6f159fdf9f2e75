"""Everything that ms-swift uses: datasets, templates, rewards, the metric and the callback, under their names.

Importing this package registers them. So a spawned worker that unpickles one of our objects knows the others too.
"""

import sys
from importlib import import_module

from swift_stvg.adapters.versions import check_installed, warn_of_lack
from swift_stvg.errors import VersionError
from swift_stvg.settings import Settings

NEEDED = ("datasets", "templates", "rewards")
"""Modules that every training needs."""
EXTRA = {
    "metrics": "--eval_metric stvg",
    "preview": "--callbacks stvg_preview",
    "checkpoints": "settings in checkpoints",
    "sharded": "GRPO under FSDP2 with transformers' generation",
    "hub": "pushing with today's clients of the hubs",
    "benchmarks": "swift eval",
}
"""Modules that a run can do without, and the feature that each one gives."""


def register() -> None:
    """Register everything; may be called again. Extra modules that do not work with this ms-swift log a warning.

    Raises:
        SettingsError: an STVG_* setting is wrong. It is checked here, before data are loaded.
        VersionError: ms-swift or transformers is too old.
        ImportError: datasets, templates or rewards do not work with this ms-swift.
    """
    Settings.from_env()
    check_installed()
    for name in NEEDED:
        import_module(f"swift_stvg.adapters.{name}").register()
    for name, what in EXTRA.items():
        if name == "benchmarks" and "evalscope" not in sys.modules:
            continue  # only `swift eval` needs it, which has imported it already
        try:
            import_module(f"swift_stvg.adapters.{name}").register()
        except (ImportError, VersionError) as error:
            warn_of_lack(what, error)


register()
