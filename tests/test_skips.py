"""The real `swift` command on data with damaged videos: training continues, and its end reports the skipped videos."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.grpo import GRPO
from tests.running import TRAIN, logged, swift

pytestmark = pytest.mark.swift
DAMAGED = 4
SAID = re.compile(rf"swift_stvg: [1-{DAMAGED}] videos could not be read, in \d+ attempts; their rows were not used")


@pytest.fixture
def damaged(env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Eight clips; four of them are damaged at places that loading does not read."""
    shutil.copytree(env["STVG_DATA_ROOT"], tmp_path / "data")
    for video in sorted((tmp_path / "data/stvg_synthetic/videos").glob("test_*"))[:DAMAGED]:
        data = bytearray(video.read_bytes())
        start, end = data.index(b"mdat"), data.index(b"moov") - 4
        start += 2 * (end - start) // 3
        data[start:end] = bytes(end - start)
        video.write_bytes(data)
    return env | {"STVG_DATA_ROOT": str(tmp_path / "data")}


def test_sft_goes_on_without_them(workspace: Path, damaged: dict[str, str], tmp_path: Path) -> None:
    """A worker of the DataLoader finds them, and the training process counts them."""
    options = TRAIN | {"model": str(workspace / "tiny"), "dataset": "stvg_synthetic:test", "output_dir": "out"}
    options |= {"max_steps": "4", "per_device_train_batch_size": "2", "save_strategy": "no"}
    printed = swift("sft", options, tmp_path, damaged)
    assert "stvg_synthetic:test: 8 rows kept, 0 dropped" in printed
    assert SAID.search(printed)
    assert len(logged(next((tmp_path / "out").rglob("logging.jsonl")).parent)) == 4


def test_grpo_goes_on_without_them(workspace: Path, damaged: dict[str, str], tmp_path: Path) -> None:
    """With `--truncation_strategy delete`, where ms-swift forks new workers after videos have failed."""
    options = GRPO | {"model": str(workspace / "tiny"), "dataset": "stvg_synthetic:test", "output_dir": "out"}
    options |= {"max_steps": "4", "max_completion_length": "16", "truncation_strategy": "delete"}
    printed = swift("rlhf", options, tmp_path, damaged)
    assert SAID.search(printed)
    assert len(logged(next((tmp_path / "out").rglob("logging.jsonl")).parent)) == 4
