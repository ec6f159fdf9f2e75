"""The runs of configs/runs.yaml."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent


def load_runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paper_run", ROOT / "examples/paper/run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


runner = load_runner()


RUNS: dict[str, dict[str, Any]] = runner.runs()
