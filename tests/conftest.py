"""Fixtures that several test modules share."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from swift_stvg import start
from swift_stvg.sharing import trained_settings
from tests.running import EVALUATE, PREVIEW, SIZES, TRAIN, logged, swift

pytest_plugins = ["tests.browsing", "tests.shown", "tests.templated"]  # their fixtures

FEW, MANY = 25, 200
"""Examples of each property, and with `--all`."""
FIRST = ("swift", "docs", "startup", "backbones", "configs", "ground", "interrupts", "package", "ms_swift", "hub")
"""The files that take longest, in this order. If one of them began last, one process would work alone at the end."""


def pytest_configure(config: pytest.Config) -> None:
    """Set the number of examples of hypothesis.

    Time limits on single examples fail on a busy machine. Another test checks that time grows linearly.
    """
    examples = MANY if config.getoption("--all") else FEW
    unlimited = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
    hypothesis.settings.register_profile("stvg", max_examples=examples, **unlimited)
    hypothesis.settings.load_profile("stvg")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all`: with it, long tests run and other tests try more examples."""
    parser.addoption("--all", action="store_true", help="with the tests that take long")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files whose tests are all marked `swift` or `slow`, for --fast: importing such a file takes seconds."""
    if collection_path.suffix == ".py" and "not swift" in config.option.markexpr:
        text = collection_path.read_text("utf-8")
        return any(f"\npytestmark = [pytest.mark.{mark}" in text for mark in ("swift", "slow")) or None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take longest. Leave out tests marked `long`, unless `--all` is given."""
    names = [f"test_{name}" for name in FIRST]
    items.sort(key=lambda item: names.index(item.path.stem) if item.path.stem in names else len(names))
    if not config.getoption("--all"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A new folder that one process of pytest-xdist makes for all processes; the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    made = folder.with_suffix(".made")
    with FileLock(folder.with_suffix(".lock")):
        if not made.exists():
            make(folder)
            made.touch()
    return folder


def pytest_sessionfinish() -> None:
    """Make pytest's summary the last line: a report about unreadable videos of tests is not needed."""
    if templates := sys.modules.get("swift_stvg.adapters.templates"):
        atexit.unregister(templates.UNREAD.report)


@pytest.fixture(scope="session")
def stvg_test_data() -> Path:
    """The folder with public VidSTG annotations and one clip. It is not part of the repository."""
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
    monkeypatch.setattr(trained_settings, "_taken", {})
    monkeypatch.setattr(trained_settings, "_said", set())


def pip(*words: str) -> None:
    """Run pip. A test that needs it is skipped if pip cannot reach an index, but not in CI."""
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, timeout=300)
    if done.returncode:
        what = f"pip {' '.join(words)}: {done.stderr[-1000:].strip()}"
        if os.environ.get("CI"):
            pytest.fail(what)
        pytest.skip(what)


@pytest.fixture(scope="session")
def ms_swift_4_5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ms-swift 4.5.2 without its dependencies, to put before the installed version on the path."""

    def make(folder: Path) -> None:
        pip("install", "--quiet", "--no-deps", "--target", str(folder), "ms-swift==4.5.2")

    return once(tmp_path_factory, "ms_swift_4_5", make)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic clips of the kind that the start model was trained on, and a tiny random model."""

    def make(folder: Path) -> None:
        synth = ["synth", str(folder / "data/stvg_synthetic"), "--split", "train=64", "test=8", "--duration-s", "4"]
        synth += ["--difficulty", "easy"]
        tiny = ["tiny", str(folder / "tiny"), "--spatial-merge", "4", "--max-coordinate", "56", "--max-index", "7"]
        for command in (synth, tiny):
            subprocess.run([sys.executable, "-m", "swift_stvg.cli", *command], check=True, timeout=300)

    return once(tmp_path_factory, "swift", make)


@pytest.fixture(scope="session")
def env(workspace: Path) -> dict[str, str]:
    return SIZES | {"STVG_INDEX_UNIT": "second", "STVG_QUERY_FIRST": "true", "STVG_DATA_ROOT": str(workspace / "data")}


@pytest.fixture(scope="session")
def cold_start(tmp_path_factory: pytest.TempPathFactory, workspace: Path, env: dict[str, str]) -> Path:
    """A checkpoint whose answers are well-formed and mostly right: the start model, trained further on the clips.

    Its folder also holds the records of the training, with an evaluation by our metric and pictures at the end.
    """

    def make(folder: Path) -> None:
        options = {
            "model": str(start.folder()),
            "dataset": "stvg_synthetic:train",
            "output_dir": str(workspace / "sft"),
        }
        options |= {"max_steps": "16", "save_steps": "16", "eval_steps": "16", "per_device_train_batch_size": "8"}
        options |= {"learning_rate": "1e-3"}
        swift("sft", TRAIN | EVALUATE | PREVIEW | options, workspace / "elsewhere", env, record=workspace / "sft.jsonl")
        losses = [line["loss"] for line in logged(workspace / "sft")]
        assert losses[-1] < 0.5 * losses[0], "the loss must fall"

    once(tmp_path_factory, "cold_start", make)
    return workspace / "sft/checkpoint-16"
