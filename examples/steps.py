"""What the runners in this folder share: commands that are run once, go on where they stopped, and do not collide."""

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
    """What a runner cannot do, and why."""


@dataclass(frozen=True, eq=False)
class Task:
    """One command.

    Attributes:
        result: what it makes, in the runner's output folder: done when it is there. That of a training is the file
            `trained` in its folder.
        words: the command, where OUTPUT and RECIPES stand for folders, CHECKPOINT for the last checkpoint in one, and
            START for the model that comes with swift_stvg.
        recipes: the folder RECIPES.
        env: settings that it runs under.
        needs: tasks that it is made from.
        after: results that must not be made at the same time.
        makes: what the command itself writes, if it is not the result; it becomes the result when the command is done.
        reference: model that GRPO's KL refers to: without it ms-swift takes --model, which a resumed training changes.
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
        """The command, its settings and recipe, and those of all that it is made from, wherever and on what it runs."""
        paths = [self.recipes / word.partition("/")[2] for word in self.words if word.startswith("RECIPES/")]
        recipes = [yaml.safe_load(path.read_text()) for path in paths]
        env = {name: value for name, value in self.env.items() if name not in OF_THE_MACHINE}
        made_from = [sha256(task.description.encode()).hexdigest() for task in self.needs]
        if "START" in self.words:
            made_from.append(sha256((start() / "model.safetensors").read_bytes()).hexdigest())
        return json.dumps([self.words, env, recipes, made_from])

    def note(self, output: Path) -> Path:
        """Where that is written down before it is begun."""
        return output / f"{self.result}.command"

    def is_stale(self, output: Path) -> bool:
        """Whether its result is there, or has been begun, but by another command or from other things."""
        path, note = output / self.result, self.note(output)
        if not path.exists() and (path.name != "trained" or last_checkpoint(path.parent) is None):
            return False
        return not note.is_file() or note.read_text() != self.description

    def is_done(self, output: Path) -> bool:
        """Whether its result is there, and is its own."""
        return (output / self.result).exists() and not self.is_stale(output)

    def command(self, output: Path) -> list[str]:
        """The words with their folders in place, and what a training that was interrupted goes on from."""

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
    """Commands of a runner that holds its folders: they keep the hold, too, and end with the runner.

    A runner that is killed outright leaves them behind; the hold then says so to the next one.
    """

    def __init__(self, holds: Sequence[int]) -> None:
        self._holds = holds
        self._children: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()
        self._over = False

    def run(self, task: Task, output: Path, env: Mapping[str, str], log: IO[str] | None = None) -> int:
        """Exit status of a task's command, under its own settings and `env`; its result is there if that is 0.

        Raises:
            RunnerError: there is no such command.
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
            # in a group of its own, for swift starts processes that do not end with it
            try:
                child = subprocess.Popen(
                    command, env=given, stdout=log, stderr=log, pass_fds=self._holds, start_new_session=True
                )
            except FileNotFoundError:
                raise RunnerError(f"no command {command[0]!r}: is its environment the active one?") from None
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
        """End what is running, with all that it started, and begin nothing more."""
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
    """Keep folders from other runners while commands run in them; SIGTERM ends this one as an interrupt does.

    `name` is that of the file which says so.

    Raises:
        RunnerError: one of them is in use.
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
                    f"{folder} is in use by another run, or by a command that one left behind: "
                    f"`fuser {folder / name}` tells which"
                ) from None
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        stack.callback(signal.signal, signal.SIGTERM, before)
        yield Commands([file.fileno() for file in files])


def refuse_stale(tasks: Sequence[Task], output: Path) -> None:
    """Make sure that what is there is what would be made.

    Raises:
        RunnerError: it names what is to be deleted.
    """
    stale = [output / task.result for task in tasks if task.is_stale(output)]
    if stale:
        found = dict.fromkeys(str(path.parent if path.name == "trained" else path) for path in stale)
        raise RunnerError(
            "these were made or begun by other commands, or from other things, than now asked for: delete them to make "
            f"them again, or give another --output: {shlex.join(found)}"
        )


def start() -> Path:
    """The model that comes with swift_stvg."""
    from swift_stvg.start import folder

    return folder()


def as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Values of a YAML file as the shell would have them."""
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def last_checkpoint(trained: Path) -> Path | None:
    """The newest checkpoint that was written whole."""
    found = [path.parent for path in trained.glob("checkpoint-*/trainer_state.json")]
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def resume_options(trained: Path, reference: str | None = None) -> list[str]:
    """Options of `swift` that continue from the last checkpoint, if there is one; `reference` as in `Task`."""
    last = last_checkpoint(trained)
    if last is None:
        return []
    if (last / "adapter_config.json").is_file():
        return ["--resume_from_checkpoint", str(last)]
    # --resume_from_checkpoint alone brings back the optimizer, but not Qwen2.5-VL's weights
    kl = ["--ref_model", reference] if reference else []
    return ["--model", str(last), *kl, "--resume_from_checkpoint", str(last)]
