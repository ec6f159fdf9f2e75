"""The datasets through ms-swift's own `load_dataset`: subsets, counts, strictness, mixing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swift_stvg.errors import DataError
from swift_stvg.synthetic.clips import SynthConfig, generate

pytestmark = [pytest.mark.swift, pytest.mark.filterwarnings("default")]  # importing torch and ms-swift warns


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    generate(folder / "stvg_synthetic", {"train": 6, "val": 3, "test": 2}, SynthConfig(duration_s=4.0), workers=1)
    return folder


@pytest.fixture
def load(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import swift_stvg

    swift_stvg.register()
    from swift.dataset import load_dataset

    monkeypatch.setenv("STVG_DATA_ROOT", str(root))
    monkeypatch.setattr("swift_stvg.adapters.templates.StvgTemplate.in_use", None)
    return load_dataset


def test_subsets_and_counts(load: Any, root: Path) -> None:
    assert len(load("stvg_synthetic:train")[0]) == 6
    assert len(load("stvg_synthetic:train/val")[0]) == 9
    assert len(load("stvg_synthetic:train#4")[0]) == 4
    assert len(load(f"stvg_jsonl:{root}/stvg_synthetic/test.jsonl")[0]) == 2
    assert len(load("stvg_jsonl:stvg_synthetic/test.jsonl#1")[0]) == 1
    with pytest.raises(ValueError, match="Please provide subsets"):
        load("stvg_synthetic")


def test_sampling_is_seeded(load: Any) -> None:
    first, again, other = (load("stvg_synthetic:train#3", shuffle=True, seed=s)[0]["stvg"] for s in (1, 1, 2))
    assert list(first) == list(again) != list(other)


def test_rows_are_the_same_with_any_number_of_workers(load: Any) -> None:
    one, two = (list(load("stvg_synthetic:train", num_proc=n, shuffle=True, seed=3)[0]) for n in (1, 2))
    assert len(one) == 6
    assert one == two


def test_splitting_and_streaming(load: Any) -> None:
    train, val = load("stvg_synthetic:train", split_dataset_ratio=0.5)
    assert (len(train), len(val)) == (3, 3)
    assert len(list(load("stvg_synthetic:train", streaming=True)[0])) == 6


def test_strict(load: Any, root: Path, tmp_path: Path) -> None:
    lines = (root / "stvg_synthetic/test.jsonl").read_text().splitlines()
    videos = tmp_path / "videos"
    videos.symlink_to(root / "stvg_synthetic/videos")
    (tmp_path / "mine.jsonl").write_text("\n".join([lines[0], lines[1][:-30]]))
    assert len(load(f"stvg_jsonl:{tmp_path}/mine.jsonl")[0]) == 1
    with pytest.raises(DataError, match=r"malformed annotation: .*line 2 of .*strict mode"):
        load(f"stvg_jsonl:{tmp_path}/mine.jsonl", strict=True)


def test_mixing_with_other_data(load: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
    other.write_text(json.dumps({"messages": turns, "solution": "2"}) + "\n")
    mixed = load(["stvg_synthetic:val", str(other)], remove_unused_columns=False)[0]
    assert [row["stvg"] is None for row in mixed] == [False, False, False, True]
    assert [row["solution"] for row in mixed] == [None, None, None, "2"]
    assert not mixed[3]["chat_template_kwargs"]
