"""What ms-swift sees: datasets, templates, rewards and callbacks under their registered names.

Importing registers, so that a spawned worker that unpickles one of our objects knows all the others too.
"""

from swift_stvg.adapters.versions import check_installed
from swift_stvg.settings import Settings


def register() -> None:
    """Register everything; safe to repeat.

    Raises:
        SettingsError: an STVG_* setting is wrong, which is better known now than when the data are loaded.
        VersionError: ms-swift or transformers is too old.
    """
    Settings.from_env()
    check_installed()
    from swift_stvg.adapters import datasets, hub, metrics, preview, rewards, templates  # what an old version may lack

    datasets.register()
    templates.register()
    rewards.register()
    metrics.register()
    preview.register()
    hub.register()


register()
