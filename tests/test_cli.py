"""The command line: what it prints, and what it says of bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from swift_stvg.cli import main
from tests.helpers import answer, boxes, contract

EXACT = answer("2 - 5", boxes(2, 5), boxes(2, 5))


def results(path: Path, *completions: str) -> str:
    lines = [json.dumps({"response": text, "stvg": contract().to_json()}) for text in completions]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = results(tmp_path / "good.jsonl", EXACT, EXACT)
    mixed = results(tmp_path / "mixed.jsonl", EXACT, "nothing")
    assert main(["score", good, mixed]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["answers", "well-formed", "m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5"]
    assert first.split()[1:] == ["2", *["100.0%"] * 5]
    assert second.split()[1:] == ["2", *["50.0%"] * 5]


ERRORS = [
    (None, "no result file"),
    ("", "holds no result"),
    ('{"response": "x"}\n', "line 1 of .* is not a result of `swift infer` with its row's `stvg` column: KeyError"),
    ('{"response": "x", "stvg": "{}"}\n', "line 1 of .*does not hold a row contract"),
    ('{"response": "x", "st', "line 1 of .*Unterminated string"),
]


@pytest.mark.parametrize(("content", "message"), ERRORS)
def test_score_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    path = tmp_path / "r.jsonl"
    if content is not None:
        path.write_text(content)
    assert main(["score", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("swift-stvg: error: ")
    assert re.search(message, error), error


def test_settings_lists_and_checks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STVG_MAX_SIDE", "448")
    assert main(["settings"]) == 0
    assert "STVG_MAX_SIDE=448\n" in capsys.readouterr().out
    monkeypatch.setenv("STVG_MAXSIDE", "448")
    assert main(["settings"]) == 1
    assert "Did you mean STVG_MAX_SIDE?" in capsys.readouterr().err


def test_synth_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["synth", str(tmp_path / "clips"), "--split", "a=2", "b=1@0.5", "--duration-s", "2", "--seed", "7"]
    assert main(words) == 0
    assert len((tmp_path / "clips/a.jsonl").read_text().splitlines()) == 2
    assert main([*words[:-1], "8"]) == 1
    assert "seed 7 there, 8 asked for" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["train", "train=", "=5", "train=many"])
def test_synth_refuses_odd_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str) -> None:
    with pytest.raises(SystemExit):
        main(["synth", str(tmp_path), "--split", split])
    assert "is not NAME=CLIPS" in capsys.readouterr().err
