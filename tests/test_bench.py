"""The benchmark command, at a small size: it runs, and refuses baselines that compute something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swift_stvg.cli import main
from swift_stvg.commands import bench


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"HCSTVG_VIDEOS": 12, "HCSTVG_BOXES": 1200, "VIDSTG_SENTENCES": 20, "VIDSTG_VIDEOS": 5}
    for name, size in sizes.items():
        monkeypatch.setattr(bench, name, size)


def test_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    assert main(["bench", "score", "--rounds", "1", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    plain, arrays, answers = report["results"]
    assert plain["ours_s"] == arrays["ours_s"]
    assert {"ratio", "baseline_s"} <= set(plain) & set(arrays)
    assert answers["peak_mb"] > 10
    assert "one-row arrays" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["nonsense"], ["--rounds", "0"]])
def test_unknown_benchmarks_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 1
    assert "the benchmarks are: score, with at least one round" in capsys.readouterr().err


def test_a_baseline_that_differs_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make = bench._make_hcstvg

    def make_unlike(folder: Path) -> tuple[Path, Path]:
        annotations, predictions = make(folder)
        other = folder / "other.json"
        truth = json.loads(annotations.read_text())
        other.write_text(json.dumps(dict(list(truth.items())[:6])))
        return other, predictions

    monkeypatch.setattr(bench, "_make_hcstvg", make_unlike)
    assert main(["bench", "score", "--rounds", "1"]) == 1
    assert "in the plain loop" in capsys.readouterr().err
