"""Code in an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.running import run


def fresh(code: str, tmp_path: Path, *words: str, **env: str) -> str:
    """The output of a new interpreter in another folder."""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, *words, str(script)], cwd=tmp_path, env=os.environ | env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def beside_swift(code: str, tmp_path: Path, **env: str) -> str:
    """The output of a process that is forked from a process with ms-swift imported, but without this package."""
    script = tmp_path / "script.py"
    script.write_text(code)
    return run([sys.executable, str(script)], tmp_path, env)
