"""Fixtures that several test modules share."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

from tests.running import SIZES, TRAIN, logged, swift

# time limits on single examples fail on a busy machine; that time grows linearly has a test of its own
hypothesis.settings.register_profile("stvg", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("stvg")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What takes long is left out, or tried in small, unless it is asked for."""
    parser.addoption("--all", action="store_true", help="with what takes long")


def pytest_sessionfinish() -> None:
    """Let pytest's summary be the last line: videos that tests made unreadable need no report."""
    if templates := sys.modules.get("swift_stvg.adapters.templates"):
        atexit.unregister(templates.UNREAD.report)


@pytest.fixture(scope="session")
def stvg_test_data() -> Path:
    """The folder with public VidSTG annotations and one clip, which are not part of the repository."""
    folder = os.environ.get("STVG_TEST_DATA")
    if not folder:
        pytest.skip("STVG_TEST_DATA is not set: the public VidSTG files are not part of the repository")
    if not Path(folder).is_dir():
        pytest.fail(f"STVG_TEST_DATA={folder} is no folder")
    return Path(folder).resolve()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("STVG_") and n != "STVG_TEST_DATA"]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def ms_swift_4_6(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds ms-swift 4.6.0 without its dependencies, to go before the installed version."""
    folder = tmp_path_factory.mktemp("ms_swift_4_6")
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), "ms-swift==4.6.0"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"pip cannot install ms-swift 4.6.0: {done.stderr[-1000:]}")
        pytest.skip(f"ms-swift 4.6.0 cannot be installed here: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic clips and a tiny model."""
    folder = tmp_path_factory.mktemp("swift")
    synth = ["synth", str(folder / "data/stvg_synthetic"), "--split", "train=64", "test=8", "--duration-s", "4"]
    tiny = ["tiny", str(folder / "tiny"), "--spatial-merge", "4", "--max-coordinate", "56", "--max-index", "7"]
    for command in (synth, tiny):
        subprocess.run([sys.executable, "-m", "swift_stvg.cli", *command], check=True, timeout=300)
    return folder


@pytest.fixture(scope="session")
def env(workspace: Path) -> dict[str, str]:
    return SIZES | {"STVG_DATA_ROOT": str(workspace / "data")}


@pytest.fixture(scope="session")
def cold_start(workspace: Path, env: dict[str, str]) -> Path:
    """A checkpoint that has begun to write answers in the right form."""
    output = workspace / "sft"
    options = TRAIN | {
        "model": str(workspace / "tiny"),
        "dataset": "stvg_synthetic:train",
        "output_dir": str(output),
        "max_steps": "150",
        "save_steps": "150",
        "per_device_train_batch_size": "8",
        "learning_rate": "4e-3",
        "logging_steps": "10",
    }
    swift(
        "sft",
        options,
        workspace / "elsewhere",
        env,
        record=workspace / "sft.jsonl",
    )
    losses = [line["loss"] for line in logged(output)]
    assert losses[-1] < 0.5 * losses[0], "the loss must fall"
    return output / "checkpoint-150"
