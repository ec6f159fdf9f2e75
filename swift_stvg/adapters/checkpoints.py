"""Settings in checkpoints: a training writes them into `args.json`, and loading the template reads them from there.

ms-swift has no hook for this, so two methods of its arguments are extended. `save_args` writes the file that ms-swift
copies into each checkpoint. `get_template` runs before datasets are loaded.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from swift.arguments import BaseArguments
from swift.template import TEMPLATE_MAPPING
from swift.utils import get_logger

from swift_stvg.adapters.templates import StvgTemplate
from swift_stvg.adapters.versions import of_ms_swift
from swift_stvg.settings import Settings
from swift_stvg.sharing.checkpoint import OUR_SETTINGS
from swift_stvg.sharing.trained_settings import take_settings

_EXTENDED = "_by_swift_stvg"


def _note_settings(args: Any) -> None:
    """Make `args.json` hold the settings, if the template is of swift_stvg."""
    meta = TEMPLATE_MAPPING.get(args.template)
    if meta is not None and issubclass(meta.template_cls, StvgTemplate):
        setattr(args, OUR_SETTINGS, Settings.from_env().to_texts())


def _take_settings(args: Any, template: Any) -> None:
    """Take the settings of the checkpoint that the arguments name, if the template is of swift_stvg."""
    if isinstance(template, StvgTemplate) and take_settings_of(args):
        template.trained = Settings.from_env()


def take_settings_of(args: Any) -> bool:
    """Take the settings of the checkpoint that the arguments name; whether it has any."""
    named = [getattr(args, name, None) for name in ("ckpt_dir", "model_dir")]  # the first: of the first adapter, if any
    return take_settings([folder for folder in named if folder], get_logger().warning)


def register() -> None:
    """Extend both methods; may be called again.

    Raises:
        VersionError: ms-swift lacks one of them.
    """
    save_args, get_template = (of_ms_swift(BaseArguments, name) for name in ("save_args", "get_template"))
    if hasattr(get_template, _EXTENDED):
        return

    @wraps(save_args)
    def save_args_and_settings(self: Any, *args: Any, **kwargs: Any) -> Any:
        _note_settings(self)
        return save_args(self, *args, **kwargs)

    @wraps(get_template)
    def get_template_and_settings(self: Any, *args: Any, **kwargs: Any) -> Any:
        template = get_template(self, *args, **kwargs)
        _take_settings(self, template)
        return template

    setattr(get_template_and_settings, _EXTENDED, True)
    BaseArguments.save_args, BaseArguments.get_template = save_args_and_settings, get_template_and_settings
