"""The benchmark command, at small sizes: it runs, and refuses baselines that compute something else."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.bench import load, loops, rewards, score, step, video
from swift_stvg.bench.measure import processes
from swift_stvg.cli import main
from swift_stvg.commands import bench
from swift_stvg.errors import StvgError


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"HCSTVG_VIDEOS": 12, "HCSTVG_BOXES": 1200, "VIDSTG_SENTENCES": 20, "VIDSTG_VIDEOS": 5}
    for name, size in sizes.items():
        monkeypatch.setattr(score, name, size)
    monkeypatch.setattr(rewards, "COMPLETIONS", 8)
    monkeypatch.setattr(load, "QUICK_SPLITS", {"test": (6, 3, 9)})
    for module in (video, step):
        for name in ("FILM", "HOME"):
            monkeypatch.setattr(module, name, replace(getattr(module, name), size_wh=(160, 120), fps=8))


def measured(tmp_path: Path, *words: str) -> list[dict[str, Any]]:
    out = tmp_path / "bench.json"
    assert main(["bench", *words, "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert {"machine", "versions", "settings", "rounds", "quick", "results"} <= set(report)
    results: list[dict[str, Any]] = report["results"]
    for result in results:
        assert result["ours"] > 0
        assert (result["ratio"] is None) == (result["baseline"] is None)
    return results


@pytest.mark.slow
def test_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, arrays, answers = measured(tmp_path, "score", "--rounds", "1")
    assert plain["ours"] == arrays["ours"]
    assert answers["peak_mb"] > 10
    assert "one-row arrays" in capsys.readouterr().out


def test_rewards(tmp_path: Path) -> None:
    step_of_all, per_box = measured(tmp_path, "rewards", "--rounds", "3")
    assert per_box["ours"] == pytest.approx(1e3 * step_of_all["ours"] / (8 * 24))


@pytest.mark.swift
@pytest.mark.filterwarnings("default")  # importing torch and ms-swift warns
def test_video_and_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = measured(tmp_path, "video", "step", "--quick", "--format", "markdown")
    names = [result["what"] for result in results]
    assert any("as raw: " in name and " 0.0 levels off" in name for name in names)
    assert any("STVG_FRAME_CACHE" in name for name in names)
    assert names[-1].startswith("encode one prompt for 8 completions")
    assert results[-1]["at"] == {"generations": 8, "length_s": 6}
    assert "| what | ours |" in capsys.readouterr().out


@pytest.mark.slow
def test_load(tmp_path: Path) -> None:
    first, again = measured(tmp_path, "load", "--quick")
    assert first["what"].startswith("9 sentences of VidSTG's size about 3 videos")
    assert again["peak_mb"] > 10


@pytest.mark.parametrize("words", [["nonsense"], ["--rounds", "0"]])
def test_unknown_benchmarks_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 1
    assert (
        f"the benchmarks are {', '.join(bench.BENCHMARKS)}, and --rounds must be at least 1" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_a_baseline_that_differs_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make = score._make_hcstvg

    def make_unlike(folder: Path) -> tuple[Path, Path]:
        annotations, predictions = make(folder)
        other = folder / "other.json"
        truth = json.loads(annotations.read_text())
        other.write_text(json.dumps(dict(list(truth.items())[:6])))
        return other, predictions

    monkeypatch.setattr(score, "_make_hcstvg", make_unlike)
    assert main(["bench", "score", "--rounds", "1"]) == 1
    assert "in the plain loop" in capsys.readouterr().err

    five = loops.five_rewards
    monkeypatch.setattr(rewards, "five_rewards", lambda *a: [value + 0.1 for value in five(*a)])
    assert main(["bench", "rewards", "--rounds", "1"]) == 1
    assert "the rewards differ" in capsys.readouterr().err


@pytest.mark.slow
def test_memory_of_a_process_is_its_own() -> None:
    """It does not include the memory of the measuring process, which a fork would inherit."""
    ballast = np.ones(200 * 2**20, dtype=np.uint8)
    command = [sys.executable, "-S", "-c", "x = bytearray(40 * 2**20); print('made')"]
    _, megabytes, printed = processes({"a": command}, 1, {})
    del ballast
    assert 40 < megabytes["a"] < 120
    assert printed["a"] == "made\n"
    with pytest.raises(StvgError, match=r"ended with status 1: .*no such thing"):
        processes({"b": [sys.executable, "-S", "-c", "raise SystemExit('no such thing')"]}, 1, {})


def test_what_was_measured_is_shown_when_something_fails_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The caller's settings do not change the measurement either."""
    monkeypatch.setenv("STVG_FRAME_MEMORY", "0")

    def fail(*_: Any) -> None:
        assert "STVG_FRAME_MEMORY" not in os.environ
        raise ImportError("no ms-swift here")

    monkeypatch.setattr(step, "measure", fail)
    with pytest.raises(ImportError):
        main(["bench", "rewards", "step", "--rounds", "1", "--out", str(tmp_path / "bench.json")])
    assert "the same, per box" in capsys.readouterr().out
    report = json.loads((tmp_path / "bench.json").read_text())
    assert report["rounds"] == {"rewards": 1, "step": 1}
    assert len(report["results"]) == 2
    assert os.environ["STVG_FRAME_MEMORY"] == "0"
    assert main(["bench", "rewards", "--out", str(tmp_path / "none/bench.json")]) == 1
    assert "there is no folder" in capsys.readouterr().err
