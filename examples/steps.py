"""Tasks and locks for the runners in this folder. A command runs once, continues after an interruption, and does not
collide with another runner.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import yaml

OF_THE_MACHINE = ("CUDA_VISIBLE_DEVICES", "MASTER_PORT", "PYTORCH_CUDA_ALLOC_CONF")


class RunnerError(Exception):
    """A runner cannot do its work; the message gives the reason."""


@dataclass(frozen=True, eq=False)
class Task:
    """One command.

    Attributes:
        result: path of the result in the runner's output folder. The task is done when this path exists. The result of
            a training is the file `trained` in its folder.
        words: the command. OUTPUT and RECIPES mean folders, CHECKPOINT means the last checkpoint in a folder, and START
            means the model that comes with swift_stvg.
        recipes: the folder RECIPES.
        env: settings of the command.
        needs: tasks whose results the command uses.
        after: results that must not be made at the same time.
        makes: path that the command writes, if it is not the result; it becomes the result when the command is done.
        reference: reference model for GRPO's KL term. Without it ms-swift takes --model, which a resumed training
            changes.
    """

    result: str
    words: tuple[str, ...]
    recipes: Path
    env: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[Task, ...] = ()
    after: tuple[str, ...] = ()
    makes: str | None = None
    reference: str | None = None

    @property
    def description(self) -> str:
        """The command, its settings and recipe, and those of all needed tasks, without folders and the machine."""
        paths = [self.recipes / word.partition("/")[2] for word in self.words if word.startswith("RECIPES/")]
        recipes = [yaml.safe_load(path.read_text()) for path in paths]
        env = {name: value for name, value in self.env.items() if name not in OF_THE_MACHINE}
        made_from = [sha256(task.description.encode()).hexdigest() for task in self.needs]
        if "START" in self.words:
            made_from.append(sha256((start() / "model.safetensors").read_bytes()).hexdigest())
        return json.dumps([self.words, env, recipes, made_from])

    def note(self, output: Path) -> Path:
        """The file that stores the description before the command starts."""
        return output / f"{self.result}.command"

    def is_stale(self, output: Path) -> bool:
        """Whether another command, or other inputs, made or started the result."""
        path, note = output / self.result, self.note(output)
        if not path.exists() and (path.name != "trained" or last_checkpoint(path.parent) is None):
            return False
        return not note.is_file() or note.read_text() != self.description

    def is_done(self, output: Path) -> bool:
        """Whether the result exists and this command made it."""
        return (output / self.result).exists() and not self.is_stale(output)

    def command(self, output: Path) -> list[str]:
        """The words with their folders, and the options that continue an interrupted training."""

        def place(word: str) -> str:
            if word == "START":
                return str(start())
            word = word.replace("OUTPUT", str(output)).replace("RECIPES", str(self.recipes))
            if word.endswith("/CHECKPOINT"):
                folder = Path(word).parent
                word = str(last_checkpoint(folder) or folder / "checkpoint-LAST")
            return word

        words = [place(word) for word in self.words]
        path = output / self.result
        if path.name == "trained":
            words += resume_options(path.parent, place(self.reference) if self.reference else None)
        return words

    def line(self, output: Path) -> str:
        """The command as typed in a shell, with its settings."""
        env = [f"{key}={shlex.quote(value.replace('OUTPUT', str(output)))}" for key, value in self.env.items()]
        return " ".join([*env, shlex.join(self.command(output))])


class Commands:
    """Commands of a runner that locks its folders. The commands keep the locks too, and end together with the runner.

    If a runner is killed with SIGKILL, its commands continue to run, and their locks stop the next runner.
    """

    def __init__(self, holds: Sequence[int]) -> None:
        self._holds = holds
        self._children: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()
        self._over = False

    def run(self, task: Task, output: Path, env: Mapping[str, str], log: IO[str] | None = None) -> int:
        """Run a task's command under its settings and `env`. Returns the exit status; 0 means that the result exists.

        Raises:
            RunnerError: the command does not exist.
        """
        result = output / task.result
        result.parent.mkdir(parents=True, exist_ok=True)
        if task.makes:
            (output / task.makes).unlink(missing_ok=True)  # swift appends to a result file
        command = task.command(output)
        given = {**env, **{key: value.replace("OUTPUT", str(output)) for key, value in task.env.items()}}
        task.note(output).write_text(task.description)
        with self._guard:
            if self._over:
                return -signal.SIGTERM
            # in a process group of its own, because swift starts processes that do not end together with it
            try:
                child = subprocess.Popen(
                    command, env=given, stdout=log, stderr=log, pass_fds=self._holds, start_new_session=True
                )
            except FileNotFoundError:
                raise RunnerError(f"no command {command[0]!r}: activate the environment that has it") from None
            self._children.add(child)
        try:
            status = child.wait()
        except BaseException:
            self.end()
            raise
        self._children.discard(child)
        if status == 0 and task.makes:
            os.replace(output / task.makes, result)
        elif status == 0 and not result.exists():
            result.touch()
        return status

    def end(self) -> None:
        """End all running commands with their child processes. No command starts after this."""
        with self._guard:
            self._over = True
        for child in list(self._children):
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
        for child in list(self._children):
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


@contextmanager
def hold(*folders: Path, name: str = ".lock") -> Iterator[Commands]:
    """Lock folders against other runners while commands run in them. SIGTERM ends this runner like an interrupt.

    `name` is the name of the lock file.

    Raises:
        RunnerError: another runner uses one of the folders.
    """
    with ExitStack() as stack:
        files = []
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            files.append(stack.enter_context((folder / name).open("a")))
            try:
                fcntl.flock(files[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunnerError(
                    f"{folder} is in use by another run, or by a command that a killed run left: "
                    f"`fuser {folder / name}` prints the process; end it or wait for it"
                ) from None
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        stack.callback(signal.signal, signal.SIGTERM, before)
        yield Commands([file.fileno() for file in files])


def refuse_stale(tasks: Sequence[Task], output: Path) -> None:
    """Refuse results that other commands or other inputs made.

    Raises:
        RunnerError: there are such results; the message names the paths to delete.
    """
    stale = [output / task.result for task in tasks if task.is_stale(output)]
    if stale:
        found = dict.fromkeys(str(path.parent if path.name == "trained" else path) for path in stale)
        raise RunnerError(
            "other commands or other inputs made these results: delete them to make them again, or give another "
            f"--output: {shlex.join(found)}"
        )


def start() -> Path:
    """The model that comes with swift_stvg."""
    from swift_stvg.start import folder

    return folder()


def as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Values of a YAML file as texts for the environment."""
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def last_checkpoint(trained: Path) -> Path | None:
    """The newest complete checkpoint."""
    found = [path.parent for path in trained.glob("checkpoint-*/trainer_state.json")]
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def resume_options(trained: Path, reference: str | None = None) -> list[str]:
    """Options of `swift` that continue from the last checkpoint, if there is one; `reference` as in `Task`."""
    last = last_checkpoint(trained)
    if last is None:
        return []
    if (last / "adapter_config.json").is_file():
        return ["--resume_from_checkpoint", str(last)]
    # --resume_from_checkpoint alone restores the optimizer, but not Qwen2.5-VL's weights
    kl = ["--ref_model", reference] if reference else []
    return ["--model", str(last), *kl, "--resume_from_checkpoint", str(last)]
