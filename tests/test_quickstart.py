"""What the quickstart says about GRPO follows from its answers; what its documents claim holds on other numerics."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

QUICKSTART = Path(__file__).parent.parent / "examples/quickstart"


@pytest.fixture
def quickstart(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules of the quickstart."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(QUICKSTART), *sys.path])
    yield SimpleNamespace(verdict=importlib.import_module("verdict"), robust=importlib.import_module("robust"))
    for name in {"verdict", "robust", "run", "report", "steps"} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.mark.parametrize(
    ("mean", "clips", "said"),
    [
        (0.1, [0.05, 0.15], "GRPO rewarded by these boxes is better than the start: +10.0 points [+5.0, +15.0]."),
        (-0.1, [-0.15, -0.05], "is worse than the start: -10.0 points [-15.0, -5.0]."),
        (0.01, [-0.02, 0.04], "these clips do not decide: +1.0 points [-2.0, +4.0]."),
        (0.0, [0.0, 0.0], "these clips do not decide: +0.0 points [+0.0, +0.0]."),
        (0.1, [0.0, 0.2], "these clips do not decide"),  # an interval that ends at 0 does not leave it out
    ],
)
def test_words_follow_from_the_interval(
    quickstart: SimpleNamespace, mean: float, clips: list[float], said: str
) -> None:
    assert said in quickstart.verdict.in_words("grpo - start", "m_vIoU", {"mean": mean, "clips": clips})


def run_with(verdict: Any, seed: int, clips: list[float]) -> dict[str, Any]:
    difference = {"mean": sum(clips) / 2, "clips": clips}
    cells = {name: dict.fromkeys(verdict.SHOWN, 0.5) for name in verdict.NAMES}
    pairs = {pair: dict.fromkeys(verdict.SHOWN, difference) for pair in verdict.PAIRS}
    return {"seed": seed, "capability": "avx2", "threads": 1, "cpu": "a CPU", "cells": cells, "pairs": pairs}


def test_only_what_holds_in_every_run_is_claimed(quickstart: SimpleNamespace) -> None:
    runs = [run_with(quickstart.verdict, seed, clips) for seed, clips in ((1, [0.1, 0.2]), (2, [0.2, 0.3]))]
    assert set(quickstart.robust.claims(runs).values()) == {"more"}
    assert "+15.0 to +25.0: **more in all**" in quickstart.robust.table(runs)
    runs.append(run_with(quickstart.verdict, 3, [-0.1, 0.3]))
    assert quickstart.robust.claims(runs) == {}
    assert "+10.0 to +25.0: more in 2, undecided in 1" in quickstart.robust.table(runs)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("fpu sse2", ["default"]),
        ("fpu sse2 avx2", ["avx2", "default"]),
        ("fpu avx2 avx512f avx512bw", ["avx512", "avx2", "default"]),
    ],
)
def test_numerics_are_those_of_the_processor(quickstart: SimpleNamespace, flags: str, names: list[str]) -> None:
    assert quickstart.robust.capabilities(flags) == names


def test_the_documents_have_the_table_of_the_results(quickstart: SimpleNamespace) -> None:
    runs = json.loads((QUICKSTART / "robust.json").read_text())
    assert quickstart.robust.table(runs) in (QUICKSTART / "README.md").read_text(), "robust.py --print"


@pytest.mark.swift
@pytest.mark.long
def test_what_is_claimed_holds_under_other_numerics(quickstart: SimpleNamespace, tmp_path: Path) -> None:
    claimed = quickstart.robust.claims(json.loads((QUICKSTART / "robust.json").read_text()))
    assert claimed, "nothing is claimed"
    env = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}
    numerics = quickstart.robust.capabilities(quickstart.robust.cpu()[1])[-2:]
    words = [
        sys.executable,
        str(QUICKSTART / "robust.py"),
        "--seeds",
        "1",
        "--threads",
        "1",
        "--capabilities",
        *numerics,
    ]
    words += ["--output", "out", "--results", "found.json"]
    subprocess.run(words, cwd=tmp_path, env=env, check=True, timeout=3600)
    runs = json.loads((tmp_path / "found.json").read_text())
    assert [run["capability"] for run in runs] == numerics
    phrases = {"more": "is better than", "less": "is worse than"}
    for run in runs:
        for (pair, metric), word in claimed.items():
            said = quickstart.verdict.in_words(pair, metric, run["pairs"][pair][metric])
            assert phrases[word] in said, f"{run['capability']}: {said}"
            assert said in quickstart.verdict.as_text(run)
