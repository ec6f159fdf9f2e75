"""Run Python in a process that is forked from a process with torch, transformers and ms-swift imported.

These imports take several times as long as a training of a few steps. The `swift` command starts another Python for its
work; here the forked process does this work itself.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

PRELOADED = (
    "swift.pipelines",
    "swift.rlhf_trainers.grpo_trainer",
    "trl.trainer.grpo_trainer",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
    "transformers.models.qwen2_5_vl.processing_qwen2_5_vl",
    "tensorboard.compat.proto.summary_pb2",
)


class Server:
    """Forks a process for each command, one after another."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        words = [sys.executable, "-m", "tests.warm", str(theirs.fileno())]
        env = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
        where = {"cwd": Path(__file__).parent.parent, "env": env | {"OMP_NUM_THREADS": "1"}}
        self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, **where)
        theirs.close()
        self._socket = ours
        self._answers = ours.makefile("r")

    def close(self) -> None:
        """End the server process."""
        self._answers.close()
        self._socket.close()
        self._process.wait()

    def run(self, words: list[str], folder: Path, env: dict[str, str], printed: Path, timeout_s: float) -> int:
        """Run `python WORDS`. Returns the exit status; it is negative if a signal ended the process.

        Args:
            words: `-m MODULE`, `-c CODE` or a script, and its arguments.
            folder: the working folder.
            env: the whole environment.
            printed: file for the output.
            timeout_s: time in seconds after which the process is killed.

        Raises:
            TimeoutError: the process took longer.
        """
        request = {"words": words, "folder": str(folder), "env": env, "printed": str(printed)}
        self._socket.settimeout(None)
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        pid = int(self._answers.readline())
        self._socket.settimeout(timeout_s)
        try:
            return int(self._answers.readline())
        except TimeoutError:
            os.killpg(pid, signal.SIGKILL)
            self._process.kill()  # its answers are out of step
            server.cache_clear()
            raise TimeoutError(
                f"python {' '.join(words)} takes over {timeout_s} s: {printed.read_text()[-3000:]}"
            ) from None


@cache
def server() -> Server:
    """The server of this process."""
    made = Server()
    atexit.register(made.close)
    return made


def _serve(link: socket.socket) -> None:
    for line in link.makefile("r"):
        pid = os.fork()
        if pid == 0:
            link.close()
            _become(**json.loads(line))
            return
        link.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        link.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(words: list[str], folder: str, env: dict[str, str], printed: str) -> None:
    import torch
    from swift.cli import main

    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    torch.set_num_threads(int(env["OMP_NUM_THREADS"]))
    main.subprocess = _InThisProcess  # type: ignore[attr-defined]
    first, *rest = words
    if words[:2] == ["-m", "swift.cli.main"]:
        sys.argv, sys.path[0] = ["swift", *rest[1:]], folder
        main.cli_main()
    elif first == "-m":
        sys.argv, sys.path[0] = rest, folder
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], folder
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = words, str(Path(folder, first).parent)
        runpy.run_path(str(Path(folder, first)), run_name="__main__")


class _InThisProcess:
    """Replaces the function with which `swift` starts another Python."""

    @staticmethod
    def run(words: list[str]) -> Any:
        _, script, *sys.argv[1:] = words
        sys.argv[0] = script
        runpy.run_path(script, run_name="__main__")
        return subprocess.CompletedProcess(words, 0)


if __name__ == "__main__":
    from importlib import import_module

    for name in PRELOADED:
        import_module(name)
    _serve(socket.socket(fileno=int(sys.argv[1])))
