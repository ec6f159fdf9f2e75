"""`swift-stvg settings`: list the STVG_* settings and their values in this environment."""

from __future__ import annotations

import argparse
from dataclasses import fields

from swift_stvg.settings import Settings, as_text, describe_settings


def add_options(settings: argparse.ArgumentParser) -> None:
    """Set the function that runs; the command has no options."""
    settings.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print each setting with its value in this environment."""
    here = Settings.from_env()
    for (name, default, meaning), setting in zip(describe_settings(), fields(Settings), strict=True):
        print(f"{name}={as_text(getattr(here, setting.name))}\n    {meaning} (default: {default})")
    return 0
