"""The extra `gpu` under constraints-gpu.txt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import pip

ROOT = Path(__file__).parent.parent
PINNED = {
    requirement.name: next(iter(requirement.specifier)).version
    for line in (ROOT / "constraints-gpu.txt").read_text().splitlines()
    if line and not line.startswith("#")
    for requirement in [Requirement(line)]
}
NAMED = ("torch", "torchvision", "transformers", "ms-swift", "vllm", "deepspeed", "flash-attn", "decord")


@pytest.mark.swift
@pytest.mark.filterwarnings("default")  # importing ms-swift warns
def test_the_set_is_one_that_the_package_takes() -> None:
    from swift_stvg.adapters.versions import TESTED

    assert set(NAMED) <= set(PINNED)
    for name, (oldest, newest) in TESTED.items():
        assert Version(oldest) <= Version(PINNED[name]) <= Version(newest)
    other = (ROOT / "constraints.txt").read_text()
    assert all(
        f"{name}=={PINNED[name]}\n" in other for name in ("ms-swift", "transformers", "trl", "peft", "accelerate")
    )


@pytest.mark.long
def test_it_resolves(tmp_path: Path) -> None:
    """pip resolves the whole set from metadata. FlashAttention's setup.py makes its metadata and imports torch."""
    if sys.version_info < (3, 11):
        pytest.skip("this vLLM wants Python 3.11")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=300)
    python = tmp_path / "venv/bin/python"
    tools = "pip hatchling editables setuptools wheel ninja psutil packaging"
    pip("--python", str(python), "install", "--quiet", "--upgrade", *tools.split())
    minor = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (tmp_path / f"venv/lib/{minor}/site-packages/lent.pth").write_text(sysconfig.get_path("purelib"))  # torch
    words = "-m pip install --quiet --dry-run --ignore-installed --no-build-isolation --constraint constraints-gpu.txt"
    done = subprocess.run(
        [python, *words.split(), "--report", str(tmp_path / "report.json"), ".[gpu]"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        | {"FLASH_ATTENTION_SKIP_CUDA_BUILD": "TRUE", "DS_BUILD_OPS": "0"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    installed = json.loads((tmp_path / "report.json").read_text())["install"]
    found = {one["metadata"]["name"].lower().replace("_", "-"): one["metadata"]["version"] for one in installed}
    assert {name: found[name] for name in NAMED} == {name: PINNED[name] for name in NAMED}
