"""A checkpoint holds the settings of its training, and every command that loads it uses them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg import start
from swift_stvg.cli import main
from swift_stvg.errors import DataError, SettingsError
from swift_stvg.rows.making import SETTINGS_KEY, settings_of
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from swift_stvg.sharing.trained_settings import differing_settings, take_settings
from tests.running import TRAIN, SwiftFailed, json_lines, swift
from tests.templated import row
from tests.videos import write_video

pytestmark = pytest.mark.filterwarnings("default")  # importing torch and ms-swift warns


def checkpoint(folder: Path, args: Any) -> Path:
    folder.mkdir()
    (folder / "args.json").write_text(args if isinstance(args, str) else json.dumps(args))
    return folder


def test_the_environment_overrules_and_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    small = checkpoint(tmp_path / "small", {"stvg_settings": {"max_side": "56", "fps": "1"}})
    monkeypatch.setenv("STVG_MAX_SIDE", "112")
    monkeypatch.setenv("STVG_FPS", "1.00")
    for _ in range(2):
        assert take_settings([tmp_path, small], said.append)
        assert Settings.from_env() == Settings(fps=1.0, max_side=112)
    assert said == [f"{small}: the environment overrules settings of its training: STVG_MAX_SIDE=112 instead of 56"]


def test_settings_of_one_checkpoint_do_not_stay_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STVG_MAX_FRAMES", "16")
    said: list[str] = []
    first = checkpoint(tmp_path / "first", {"stvg_settings": {"max_side": "56", "coords": "norm1000"}})
    second = checkpoint(tmp_path / "second", {"stvg_settings": {"think": "false"}})
    without = checkpoint(tmp_path / "without", {"model": "Qwen/Qwen2.5-VL-7B-Instruct"})
    for folder, settings in (
        (first, Settings(max_side=56, coords="norm1000", max_frames=16)),
        (second, Settings(think=False, max_frames=16)),
        (without, Settings(max_frames=16)),
    ):
        assert take_settings([folder], said.append) == (folder != without)
        assert Settings.from_env() == settings


@pytest.mark.parametrize(
    ("args", "environment", "said"),
    [
        ({"stvg_settings": "fast"}, {}, "must hold an object"),
        ({"stvg_settings": {"max_side": "huge"}}, {}, "STVG_MAX_SIDE"),
        ({"stvg_settings": {"speed": "1"}}, {}, "unknown setting STVG_SPEED"),
        ("{", {}, "args.json"),
        ({"stvg_settings": {"side_multiple": "56"}}, {"STVG_MAX_SIDE": "28"}, "must not exceed STVG_MAX_SIDE"),
    ],
)
def test_damaged_settings_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: Any, environment: dict[str, str], said: str
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    with pytest.raises((DataError, SettingsError), match=said):
        take_settings([checkpoint(tmp_path / "c", args)], pytest.fail)


def test_nothing_of_the_machine_is_taken(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "c", {"stvg_settings": {"data_root": "/somewhere", "outside": "allow", "fps": "1"}})
    assert take_settings([folder], pytest.fail)
    assert Settings.from_env() == Settings(fps=1.0)


def test_what_rewards_alone_depend_on_makes_no_rows_unfit() -> None:
    changed = {"spatial_floor": -1.0, "spatial_frames": "either", "think_jitter": 0.1, "think_seed": 3}
    assert differing_settings(Settings(**changed), Settings()) == []
    assert differing_settings(Settings(think=False, fps=1.0, **changed), Settings()) == [
        ("STVG_FPS", "1.0", "2.0"),
        ("STVG_THINK", "false", "true"),
    ]


@pytest.mark.slow
def test_rows_of_other_settings_are_refused_by_name(template: Any, tmp_path: Path, monkeypatch: Any) -> None:
    video = write_video(tmp_path / "a.mp4", np.arange(50) / 25, size_wh=(224, 112))
    columns = ("messages", "videos", "chat_template_kwargs")
    small, wide = ({key: row(video, max_side=side, side_multiple=28)[key] for key in columns} for side in (56, 112))
    template.encode(small)
    monkeypatch.setattr(template, "trained", Settings(max_side=112, spatial_floor=-1.0))
    assert template.encode(wide)
    with pytest.raises(SettingsError, match=r"made with STVG_MAX_SIDE=56, but .* trained with STVG_MAX_SIDE=112: make"):
        template.encode(small)
    del small["chat_template_kwargs"][SETTINGS_KEY]  # of an earlier version
    assert template.encode(small)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"fps": {}}', "[" * 100_000, '{"a": '])
def test_what_a_row_says_of_its_settings_may_be_anything(text: str) -> None:
    with pytest.raises((DataError, SettingsError)):
        settings_of(text)


@pytest.mark.swift
def test_a_trained_checkpoint_is_asked_as_it_was_trained(
    workspace: Path, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Two steps of training with settings, then every command without settings."""
    data = {"STVG_DATA_ROOT": env["STVG_DATA_ROOT"]}
    options = TRAIN | {
        "model": str(workspace / "tiny"),
        "dataset": "stvg_synthetic:train#4",
        "output_dir": str(tmp_path / "sft"),
        "max_steps": "2",
        "save_only_model": "true",
    }
    wanted = Settings.from_env(env | {"STVG_INDEX_UNIT": "second", "STVG_QUERY_FIRST": "true"})
    swift("sft", options, tmp_path, env | {"STVG_INDEX_UNIT": "second", "STVG_QUERY_FIRST": "true"})
    model = tmp_path / "sft/checkpoint-2"
    noted = json.loads((model / "args.json").read_text())["stvg_settings"]
    assert noted == wanted.to_texts()
    assert not [text for text in noted.values() if os.sep in text]

    how = {"model": str(model), "torch_dtype": "float32", "max_new_tokens": "8", "temperature": "0"}
    infer = how | {"val_dataset": "stvg_synthetic:test#2", "result_path": str(tmp_path / "a.jsonl")}
    printed = swift("infer", infer, tmp_path, data)
    assert "overrules" not in printed
    rows = json_lines(tmp_path / "a.jsonl")
    assert {RowTruth.from_json(line["stvg"]).settings.to_texts()["index_unit"] for line in rows} == {"second"}
    assert all(RowTruth.from_json(line["stvg"]).settings.to_texts() == noted for line in rows)

    overruled = infer | {"result_path": str(tmp_path / "b.jsonl")}
    printed = swift("infer", overruled, tmp_path, data | {"STVG_QUERY_FIRST": "false"})
    assert "overrules settings of its training: STVG_QUERY_FIRST=false instead of true" in printed
    unfit = infer | {"val_dataset": str(tmp_path / "b.jsonl"), "result_path": str(tmp_path / "c.jsonl")}
    with pytest.raises(SwiftFailed, match="made with STVG_QUERY_FIRST=false, but the model was trained with"):
        swift("infer", unfit, tmp_path, data)

    # training goes on under the same settings
    swift("sft", options | {"model": str(model), "output_dir": str(tmp_path / "more")}, tmp_path, data)
    assert json.loads((tmp_path / "more/checkpoint-2/args.json").read_text())["stvg_settings"] == noted

    for name, text in data.items():
        monkeypatch.setenv(name, text)
    words = ["--torch_dtype", "float32", "--max_new_tokens", "8"]
    video = str(workspace / "data/stvg_synthetic" / rows[0]["videos"][0])
    assert main(["ground", video, "the red square moves", "--model", str(model), "--format", "json", *words]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["settings"] == noted
    assert record["messages"][0]["content"].startswith("the red square moves\n<video>(seconds 0 - ")
    asked = ["--dataset", "stvg_synthetic:test", "--rows", "1", "--samples", "2"]
    answers = tmp_path / "headroom.jsonl"
    assert main(["headroom", "--model", str(model), *asked, "--answers", str(answers), *words]) == 0
    assert RowTruth.from_json(json_lines(answers)[0]["stvg"]).settings.to_texts() == noted
    capsys.readouterr()
    assert main(["check", "stvg_synthetic:test", "--model", str(model), "--format", "json", "--rows", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == noted
    assert main(["card", str(model), "--out", str(tmp_path / "shared"), "--base_model", "somebody/model"]) == 0
    assert "STVG_INDEX_UNIT=second" in (tmp_path / "shared/README.md").read_text()
    assert main(["card", str(model), "--out", str(tmp_path / "d"), "--scores", str(tmp_path / "b.jsonl")]) == 1
    assert "STVG_QUERY_FIRST=false, but the model was trained with STVG_QUERY_FIRST=true" in capsys.readouterr().err


def test_the_start_is_a_checkpoint_like_others() -> None:
    assert take_settings([start.folder()], pytest.fail)
    assert Settings.from_env() == Settings.from_env(start.environment())
