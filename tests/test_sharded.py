"""Training with weights that FSDP2 shards, in two processes on a CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.running import run

pytestmark = [pytest.mark.swift, pytest.mark.filterwarnings("default")]  # importing torch and ms-swift warns
ROOT = Path(__file__).parent.parent
CASES = ("sft-full-2-none32", "sft-full-2-fsdp2", "grpo-full-2-fsdp2")


@pytest.mark.long
def test_fsdp2(tmp_path: Path) -> None:
    """Losses are those without it, GRPO generates, and a checkpoint answers and goes on: tests/engines/zero.py."""
    words = [sys.executable, str(ROOT / "tests/engines/zero.py"), str(tmp_path), *CASES]
    printed = run(words, tmp_path, {"PYTHONPATH": str(ROOT)}, anew=True)
    reports = [json.loads(line) for line in printed.splitlines() if line.startswith(('{"case"', '{"checkpoint'))]
    assert [report.get("case", report.get("checkpoint of")) for report in reports] == [*CASES, CASES[1]]
    assert all(report["good"] for report in reports)


class _SeenError(Exception):
    """Ends a generation at its begin."""


@pytest.mark.parametrize("is_sharded", [False, True])
def test_sharded_weights_generate_outside_of_inference_mode(is_sharded: bool) -> None:
    """If others do too, `adapters/sharded.py` goes: ms-swift needs it no more."""
    import torch
    from swift.infer_engine import TransformersEngine
    from torch.distributed.fsdp import FSDPModule

    from swift_stvg.adapters.sharded import register

    class Model(FSDPModule if is_sharded else object):  # type: ignore[misc]
        def eval(self) -> Any:
            raise _SeenError(torch.is_inference_mode_enabled(), torch.is_grad_enabled())

    register()
    register()
    with pytest.raises(_SeenError) as seen:
        TransformersEngine._infer(SimpleNamespace(model=object.__new__(Model)), [], None)
    assert seen.value.args == (not is_sharded, False)
