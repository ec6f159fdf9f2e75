"""Memory of many rounds; the long version is `python -m tests.soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import growth, soak


@pytest.mark.swift
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_memory_stays_flat(tmp_path: Path) -> None:
    memory = list(soak(tmp_path, rounds=80, clips=12, memory_mb=3))
    assert growth(memory) < 0.05


def test_growth_is_seen() -> None:
    assert growth([100.0 + i for i in range(80)]) > 0.05
    assert growth([100.0] * 80) == 0
