"""Code in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from packaging.version import Version


def fresh(code: str, tmp_path: Path, *words: str, **env: str) -> str:
    """What a fresh interpreter prints in a foreign folder."""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, *words, str(script)], cwd=tmp_path, env=os.environ | env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


HAS_QWEN3_8 = Version(version("ms-swift")) >= Version("4.6.0")
