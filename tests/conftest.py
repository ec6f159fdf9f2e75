"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def stvg_test_data() -> Path:
    """The folder with public VidSTG annotations and one clip, which are not part of the repository."""
    folder = os.environ.get("STVG_TEST_DATA")
    if not folder:
        pytest.skip("STVG_TEST_DATA is not set: the public VidSTG files are not part of the repository")
    return Path(folder).resolve(strict=True)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("STVG_") and n != "STVG_TEST_DATA"]:
        monkeypatch.delenv(name)
