"""Commands that are killed, that run twice at once, and that meet a full disk."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from steps import last_checkpoint, resume_options

from swift_stvg.cli import main
from swift_stvg.errors import DataError
from swift_stvg.util.writing import strip_checksum, write_bytes_atomic
from tests import preloaded
from tests.running import TRAIN, as_words, swift
from tests.shown import rows_of, write_result

KILLS = 3
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.preloaded"])


@pytest.fixture
def world(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a result file, beside settings for eight synthetic clips."""
    monkeypatch.setenv("STVG_DATA_ROOT", str(shapes))
    monkeypatch.setenv("STVG_CACHE_DIR", str(tmp_path / "kept"))
    write_result(tmp_path / "result.jsonl", rows_of(shapes))
    return tmp_path


COMMANDS: dict[str, Callable[[Path, Path], list[Any]]] = {
    "synth": lambda world, out: ["synth", out, "--split", "train=6", "--duration-s", "2", "--size-wh", "96", "64"],
    "cache": lambda world, out: ["cache", "stvg_synthetic:test", out, "--workers", "1"],
    "score": lambda world, out: ["score", world / "result.jsonl", "--out", out],
    "show": lambda world, out: ["show", world / "result.jsonl", "--out", out, "--workers", "1", "--overlays", "1"],
    "check": lambda world, out: ["check", "stvg_synthetic:test", "--videos", "--rows", "2", "--out", out],
}


def started(words: list[Any], *more: Any) -> Any:
    """A process that runs a command."""
    env = {name: value for name, value in os.environ.items() if name.startswith("STVG_")}
    process = SERVER.Process(target=preloaded.run, args=([str(word) for word in words], env, *more))
    process.start()
    return process


def content(path: Path) -> dict[str, bytes]:
    """The content of all files, except temporary files of killed writers."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path] * path.exists()
    return {str(p.relative_to(path)): p.read_bytes() for p in found if p.is_file() and not p.name.endswith(".part")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=pytest.mark.long if name in ("cache", "show") else []) for name in COMMANDS]
)
def test_killed_at_any_moment(world: Path, command: str) -> None:
    words = COMMANDS[command]
    process, start = started(words(world, world / "whole")), time.monotonic()
    process.join()
    took_s = time.monotonic() - start
    whole = content(world / "whole")
    assert process.exitcode == 0
    assert whole
    moments, killed = random.Random(command), 0
    while killed < KILLS:
        process = started(words(world, world / "cut"))
        process.join(took_s * moments.uniform(0.02, 0.95))
        if process.is_alive():
            killed += 1
        else:  # it was faster, with what it found there, or on a machine that does less else now
            took_s /= 2
        process.kill()
        process.join()
        for name, data in content(world / "cut").items():
            if command != "show" or not name.endswith((".html", ".json")):  # which hold no more than their whole text
                assert data == whole[name], f"{name} is there whole or not at all"
            if name.endswith(".frames"):
                strip_checksum(data)
    process = started(words(world, world / "cut"))
    process.join()
    assert process.exitcode == 0
    assert content(world / "cut") == whole


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_twice_at_once(world: Path, command: str) -> None:
    both = [started(COMMANDS[command](world, world / "out")) for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    alone = started(COMMANDS[command](world, world / "alone"))
    alone.join()
    assert content(world / "out") == content(world / "alone")
    assert not list(world.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk(world: Path, command: str) -> None:
    """A limit of a file's size replaces a full disk: writing fails with EFBIG instead of ENOSPC."""
    printed, end = SERVER.Pipe(duplex=False)
    process = started(COMMANDS[command](world, world / "out"), end, 700)
    end.close()
    with open(printed.fileno(), "rb", closefd=False) as pipe:
        lines = pipe.read().decode().replace("\r", "\n").splitlines()
    process.join()
    errors = [text for text in lines if text.startswith("swift-stvg: error:")]
    assert process.exitcode == 1
    assert len(errors) == 1, "\n".join(lines)
    assert "File too large" in errors[0]
    assert str(world / "out") in errors[0]
    assert not any("Traceback" in text for text in lines)
    assert not list(world.rglob("*.part")), "nothing is left half written"
    found = content(world / "out")
    process = started(COMMANDS[command](world, world / "out"))
    process.join()
    assert process.exitcode == 0
    assert found.items() <= content(world / "out").items()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_device(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(world / "result.jsonl"), "--out", "/dev/full"]) == 1
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_end_with_a_command_that_is_killed(world: Path) -> None:
    words = [sys.executable, "-m", "swift_stvg.cli", "synth", str(world / "out"), "--split", "train=400"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    workers: list[int] = []
    for _ in range(600):
        workers = list(_children(process.pid))
        if len(workers) > 2 and (world / "out/videos").is_dir() and any((world / "out/videos").iterdir()):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(workers) > 1
    for _ in range(200):
        if not any(map(_is_running, workers)):
            break
        time.sleep(0.1)
    assert not [worker for worker in workers if _is_running(worker)]


def _children(pid: int) -> Iterator[int]:
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has ended
            continue
        if parent == pid:
            yield int(status.parent.name)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_write_that_fails_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.json'"):
        write_bytes_atomic(tmp_path / "a.json", b"{}")
    assert not issubclass(DataError, OSError)


@pytest.mark.swift
@pytest.mark.long
@pytest.mark.filterwarnings("default")  # importing torch warns
def test_training_that_is_killed_goes_on_to_the_same_weights(
    workspace: Path, env: dict[str, str], tmp_path: Path
) -> None:
    """It continues from the last complete checkpoint, as the runners in examples do."""
    from safetensors.torch import load_file

    options = TRAIN | {"model": str(workspace / "tiny"), "dataset": "stvg_synthetic:train", "max_steps": "8"}
    options |= {"save_steps": "2", "per_device_train_batch_size": "2", "learning_rate": "1e-3"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    swift("sft", options | {"output_dir": str(whole)}, tmp_path, env)
    words = [sys.executable, "-m", "swift.cli.main", "sft", "--external_plugins", "swift_stvg"]
    words += as_words(options | {"output_dir": str(killed)})
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    how: dict[str, Any] = {"env": clean | {"OMP_NUM_THREADS": "1"} | env, "start_new_session": True}
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(words, cwd=tmp_path, stdout=log, stderr=log, **how)
    while last_checkpoint(killed) is None:
        assert process.poll() is None, (tmp_path / "log.txt").read_text()[-3000:]
        time.sleep(0.01)
    time.sleep(random.Random(5).uniform(0.0, 0.2))
    os.killpg(process.pid, signal.SIGKILL)  # `swift` starts another process
    process.wait()
    assert not (killed / "checkpoint-8").exists(), "it was killed on its way"
    _, model, _, checkpoint = resume_options(killed)
    again = {"output_dir": str(killed), "model": model, "resume_from_checkpoint": checkpoint}
    swift("sft", options | again, tmp_path, env)
    expected, found = (load_file(folder / "checkpoint-8/model.safetensors") for folder in (whole, killed))
    assert all(expected[name].equal(found[name]) for name in expected)
