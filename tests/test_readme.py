"""The README says what is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from swift_stvg.rewards import REWARDS
from swift_stvg.scoring import ALL_PROTOCOLS, FACETS
from swift_stvg.settings import describe_settings
from swift_stvg.sources import SOURCES
from swift_stvg.sources.files import DataRoot
from swift_stvg.sources.jsonl import read_sample
from swift_stvg.tubes import read_tubes

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_settings_table_is_complete() -> None:
    for name, default, meaning in describe_settings():
        assert f"| `{name}` | `{default}` | {meaning} |\n" in README


@pytest.mark.parametrize(
    "name", [*REWARDS, *ALL_PROTOCOLS, *FACETS, *SOURCES, *(s for source in SOURCES.values() for s in source.splits)]
)
def test_names_are_documented(name: str) -> None:
    assert f"`{name}`" in README


def test_the_example_line_is_valid() -> None:
    line = next(line for line in README.splitlines() if line.startswith('{"stvg_schema"'))
    sample = read_sample(line, "README", DataRoot(Path("folder")), Path("folder"), "stvg_jsonl", "README")
    assert sample.tube_frames.tolist() == [50, 51]
    assert np.array_equal(sample.tube_xyxy, np.array([row[1:] for row in json.loads(line)["tube"]]))


def test_the_example_of_tubes_is_valid(tmp_path: Path) -> None:
    (tmp_path / "tubes.json").write_text(next(line for line in README.splitlines() if line.startswith('{"ID"')))
    tubes, faults, repeated = read_tubes(tmp_path / "tubes.json")
    assert tubes["ID"].frames.tolist() == [50, 62]
    assert (faults, repeated) == ({}, [])


def test_the_examples_exist() -> None:
    root = Path(__file__).parent.parent
    for path in ("examples/quickstart/run.sh", "tests/check.sh", "constraints.txt"):
        assert path in README
        assert (root / path).is_file()
