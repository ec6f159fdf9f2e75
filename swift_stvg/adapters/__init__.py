"""What ms-swift sees: datasets, templates and rewards under their registered names.

Importing registers, so that a spawned worker that unpickles one of our objects knows all the others too.
"""

from swift_stvg.adapters import datasets, rewards, templates


def register() -> None:
    """Register everything; safe to repeat."""
    datasets.register()
    templates.register()
    rewards.register()


register()
