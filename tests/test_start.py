"""The start model in the package: complete, small, without traces of a machine, and right on its clips."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from swift_stvg import start
from swift_stvg.cli import main
from swift_stvg.settings import Settings
from swift_stvg.sharing.checkpoint import answer_scripts, missing_for_users, paths_of, read_args
from swift_stvg.sharing.trained_settings import take_settings
from swift_stvg.sharing.usage import usage_sections
from swift_stvg.synthetic.clips import SynthConfig, generate

LARGEST = 4_000_000


def test_it_is_whole_and_small() -> None:
    folder = start.folder()
    assert missing_for_users(folder) is None
    assert (folder / "model.safetensors").stat().st_size <= LARGEST
    args = read_args(folder)
    for name, text in answer_scripts("stvg_qwen2_5_vl", Settings()).items():
        assert (folder / name).read_text() == text, "bash examples/start/make.sh, or link it"
    known = (args["model_type"], args["template"], args["external_plugins"], paths_of(args))
    assert known == ("qwen2_5_vl", "stvg_qwen2_5_vl", ["swift_stvg"], []), "ms-swift needs no further option"
    card = (folder / "README.md").read_text()
    settings = Settings.from_texts(args["stvg_settings"])
    assert "\n\n".join(usage_sections("swift_stvg-start", args["template"], args, settings, False)) in card
    assert "license: apache-2.0" in card
    for path in folder.iterdir():
        if path.suffix in (".json", ".jinja", ".md"):
            assert not re.search(r"/(?:tmp|home|root|Users|mnt|opt|srv|var|data)/", path.read_text()), path


def test_its_settings_are_taken_where_the_environment_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dict(os.environ)
    monkeypatch.setattr(os, "environ", before | {"STVG_MAX_FRAMES": "64"})
    assert start.model_or_start("Qwen/Qwen2.5-VL-7B-Instruct") == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert capsys.readouterr().err == ""
    assert start.model_or_start(None) == str(start.folder())
    assert "knows synthetic clips only" in capsys.readouterr().err
    assert take_settings([start.folder()], print)
    assert "STVG_MAX_FRAMES=64 instead of 128" in capsys.readouterr().out
    found = Settings.from_env()
    assert (found.max_side, found.side_multiple, found.index_unit, found.max_frames) == (56, 56, "second", 64)
    assert start.model_or_start(str(start.folder())) == str(start.folder())
    assert capsys.readouterr().err == "", "whoever names it knows"


def test_it_is_found_by_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["start"]) == 0
    assert Path(capsys.readouterr().out.strip()) == start.folder()
    assert main(["start", "--settings"]) == 0
    words = dict(word.split("=") for word in capsys.readouterr().out.split())
    assert Settings.from_env(words) == Settings.from_env(start.environment())


@pytest.mark.swift
@pytest.mark.filterwarnings("default")  # importing torch warns
def test_without_a_model_it_grounds_a_clip_of_synth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a first user does it: clips of the default rate, without settings."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    generate(tmp_path / "clips", {"demo": 8}, SynthConfig(difficulty="easy"), workers=1)
    truths = [json.loads(line) for line in (tmp_path / "clips/demo.jsonl").read_text().splitlines()]
    shares = []
    for truth in truths:
        assert main(["ground", str(tmp_path / "clips" / truth["video"]), truth["sentence"], "--format", "json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert record["status"] == "ok"
        first, last = record["span_frames"]
        begin, end = truth["span_frames"]  # the end is the frame after
        shares.append(max(0, min(last + 1, end) - max(first, begin)) / (max(last + 1, end) - min(first, begin)))
    assert sum(shares) / len(shares) > 0.6, "an answer counts whole seconds, the truth tenths"
    assert min(shares) > 0.2
