"""The command line: its output, and its messages for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swift_stvg.cli import main


def test_settings_lists_and_checks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STVG_MAX_SIDE", "448")
    assert main(["settings"]) == 0
    assert "STVG_MAX_SIDE=448\n" in capsys.readouterr().out
    monkeypatch.setenv("STVG_MAXSIDE", "448")
    assert main(["settings"]) == 1
    assert "Did you mean STVG_MAX_SIDE?" in capsys.readouterr().err


def test_synth_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["synth", str(tmp_path / "clips"), "--split", "a=2", "b=1@0.5", "c=1@0.5:0.9"]
    words += ["--duration-s", "2", "--objects", "2", "3", "--background", "60", "90", "--sides", "0.2", "0.4"]
    words += ["--seed", "7"]
    assert main(words) == 0
    assert len((tmp_path / "clips/a.jsonl").read_text().splitlines()) == 2
    assert main([*words[:-1], "8"]) == 1
    config = json.loads((tmp_path / "clips/synth.json").read_text())["config"]
    assert [config[name] for name in ("objects", "background", "sides")] == [[2, 3], [60, 90], [0.2, 0.4]]
    assert "seed 7 there, 8 asked for" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["train", "train=", "=5", "train=many", "train=1@wide", "train=1@0.5:wide"])
def test_synth_refuses_odd_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str) -> None:
    with pytest.raises(SystemExit):
        main(["synth", str(tmp_path), "--split", split])
    assert "is not NAME=CLIPS" in capsys.readouterr().err
