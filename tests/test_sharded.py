"""Training with weights that FSDP2 shards, in two processes on a CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.running import run

pytestmark = [pytest.mark.swift, pytest.mark.long]
ROOT = Path(__file__).parent.parent
CASES = ("sft-full-2-none32", "sft-full-2-fsdp2", "grpo-full-2-fsdp2", "grpo-lora-2-fsdp2")


def test_fsdp2(tmp_path: Path) -> None:
    """Losses are those without it, GRPO generates, and a checkpoint answers and goes on: tests/engines/zero.py."""
    words = [sys.executable, str(ROOT / "tests/engines/zero.py"), str(tmp_path), *CASES]
    printed = run(words, tmp_path, {"PYTHONPATH": str(ROOT)}, anew=True)
    reports = [json.loads(line) for line in printed.splitlines() if line.startswith(('{"case"', '{"checkpoint'))]
    assert [report.get("case", report.get("checkpoint of")) for report in reports] == [*CASES, CASES[1]]
    assert all(report["good"] for report in reports)
