"""Guarantees of the runners of examples/: no results of other commands, one runner at a time, no processes left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from steps import Commands, RunnerError, Task, hold, refuse_stale

EXAMPLES = Path(__file__).parent.parent / "examples"

# a runner whose command starts another process, as `swift` does, and says where it is
RUNNER = """
import os, sys
from pathlib import Path
from steps import Task, hold
output = Path(sys.argv[1])
words = ("bash", "-c", "sleep 300 & echo $! > OUTPUT/pid.part; mv OUTPUT/pid.part OUTPUT/pid; wait")
with hold(output) as commands:
    sys.exit(commands.run(Task("never", words, output), output, os.environ))
"""


def shell(result: str, script: str, folder: Path, *needs: Task, makes: str | None = None) -> Task:
    return Task(result, ("bash", "-c", script), folder, needs=needs, makes=makes)


def do(task: Task, output: Path) -> int:
    with hold(output) as commands:
        return commands.run(task, output, os.environ)


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def is_free(output: Path) -> bool:
    """Whether no process holds the folder's lock any more; processes of a group end at different moments."""
    try:
        with hold(output):
            return True
    except RunnerError:
        return False


@pytest.fixture
def runner(tmp_path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A runner that is working in tmp_path, and the process of its command."""
    words = [sys.executable, "-c", RUNNER, str(tmp_path)]
    process = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": str(EXAMPLES)})
    wait_for((tmp_path / "pid").exists)
    return process, int((tmp_path / "pid").read_text())


def test_a_result_is_that_of_its_own_command_and_of_what_it_was_made_from(tmp_path: Path) -> None:
    first = shell("a.txt", "echo 1 > OUTPUT/a.txt", tmp_path)
    second = shell("b.txt", "cat OUTPUT/a.txt >> OUTPUT/b.part", tmp_path, first, makes="b.part")
    (tmp_path / "b.part").write_text("left by a command that was interrupted\n")
    assert [do(task, tmp_path) for task in (first, second)] == [0, 0]
    assert (tmp_path / "b.txt").read_text() == "1\n"
    refuse_stale([first, second], tmp_path)
    assert first.is_done(tmp_path)
    assert second.is_done(tmp_path)
    other = shell("a.txt", "echo 2 > OUTPUT/a.txt", tmp_path)
    with pytest.raises(RunnerError, match=rf"delete them .*: {tmp_path}/a.txt {tmp_path}/b.txt$"):
        refuse_stale([other, replace(second, needs=(other,))], tmp_path)


def test_a_command_that_fails_has_no_result(tmp_path: Path) -> None:
    task = shell("a.txt", "echo half > OUTPUT/a.part; exit 3", tmp_path, makes="a.part")
    assert do(task, tmp_path) == 3
    assert not task.is_done(tmp_path)
    refuse_stale([task], tmp_path)


def test_a_command_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="no command 'no-such-swift'"):
        do(Task("a", ("no-such-swift",), tmp_path), tmp_path)


def test_a_recipe_counts_by_what_it_says_and_a_setting_unless_it_is_of_the_machine(tmp_path: Path) -> None:
    recipe = tmp_path / "sft.yaml"
    recipe.write_text("model: a\n")
    task = Task("a.txt", ("true", "RECIPES/sft.yaml"), tmp_path, {"STVG_FPS": "2"})
    assert do(task, tmp_path) == 0
    recipe.write_text("model: a   # a comment\n")
    refuse_stale([task, replace(task, env={"STVG_FPS": "2", "CUDA_VISIBLE_DEVICES": "1"})], tmp_path)
    for other in (replace(task, env={"STVG_FPS": "3"}), replace(task, env={})):
        assert other.is_stale(tmp_path)
    recipe.write_text("model: b\n")
    assert task.is_stale(tmp_path)


def test_a_checkpoint_of_another_training_is_not_gone_on_from(tmp_path: Path) -> None:
    task = shell("train/trained", "mkdir -p OUTPUT/train/checkpoint-1; exit 1", tmp_path)
    assert do(task, tmp_path) == 1
    (tmp_path / "train/checkpoint-1/trainer_state.json").write_text("{}")
    refuse_stale([task], tmp_path)
    with pytest.raises(RunnerError, match=rf": {tmp_path}/train$"):
        refuse_stale([shell("train/trained", "exit 0", tmp_path)], tmp_path)
    task.note(tmp_path).unlink()
    with pytest.raises(RunnerError, match=rf": {tmp_path}/train$"):
        refuse_stale([task], tmp_path)


def test_a_folder_has_one_runner(tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(RunnerError, match="is in use"), hold(tmp_path):
        pass
    with hold(tmp_path) as commands:
        assert isinstance(commands, Commands)


def test_a_runner_that_is_ended_takes_its_commands_along(
    runner: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    process, child = runner
    process.terminate()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    wait_for(lambda: not is_running(child))
    wait_for(lambda: is_free(tmp_path))


def test_what_a_killed_runner_left_behind_keeps_the_folder(
    runner: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    process, child = runner
    process.kill()
    process.wait()
    assert is_running(child)
    with pytest.raises(RunnerError, match=r"a killed run left: `fuser .*\.lock`"), hold(tmp_path):
        pass
    os.killpg(os.getpgid(child), signal.SIGKILL)
    wait_for(lambda: not is_running(child) and is_free(tmp_path))
