"""The README says what is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.rewards.functions import REWARDS
from swift_stvg.rows.making import frame_size
from swift_stvg.scoring.score import ALL_PROTOCOLS, FACETS
from swift_stvg.scoring.tubes import read_tubes
from swift_stvg.settings import Settings, describe_settings
from swift_stvg.sources.files import DataRoot
from swift_stvg.sources.jsonl import read_sample
from swift_stvg.sources.registry import SOURCES

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


def test_the_example_answer_is_possible() -> None:
    """By the default settings: in the form, and within a frame of 16:9 as the model receives it."""
    (text,) = [line.strip() for line in README.splitlines() if line.startswith("    <time>")]
    form, size_wh = AnswerFormat.of(Settings()), frame_size((1280, 720), Settings().max_side, Settings().side_multiple)
    answer = form.parse(text)
    assert form.is_valid(text)
    assert answer.fault(40, form.scale_wh(size_wh)) is None
    for boxes in (answer.think, answer.pred):
        assert boxes is not None
        assert (boxes.boxes_xyxy >= 0).all()
        assert (boxes.boxes_xyxy[:, 2:] <= size_wh).all()
        assert (boxes.boxes_xyxy[:, :2] < boxes.boxes_xyxy[:, 2:]).all()


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
