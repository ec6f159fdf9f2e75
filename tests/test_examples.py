"""The quickstart's YAML files name what exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from swift_stvg.rewards import REWARDS
from swift_stvg.settings import Settings
from swift_stvg.sources import SOURCES

FILES = sorted((Path(__file__).parent.parent / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_recipe(path: Path) -> None:
    recipe: dict[str, Any] = yaml.safe_load(path.read_text())
    Settings.from_env({name: str(value) for name, value in recipe.pop("ENV").items()})
    assert recipe["external_plugins"] == "swift_stvg"
    assert recipe["template"] == "stvg_qwen2_5_vl"
    for key in ("dataset", "val_dataset"):
        assert str(recipe.get(key, "vidstg:test")).split(":")[0] in SOURCES
    assert set(recipe.get("reward_funcs", [])) <= set(REWARDS)
    assert len(recipe.get("reward_weights", [])) == len(recipe.get("reward_funcs", []))
    for name, value in recipe.items():
        words = value if isinstance(value, list) else []
        assert all(isinstance(word, str) for word in words), f"ms-swift wants text in the list {name}"


def test_there_are_four() -> None:
    assert [path.name[0] for path in FILES] == ["1", "2", "3", "4"]
