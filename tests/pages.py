"""Try the commands of the guide's pages, each in a forked process.

    python -m tests.pages TRIES.json RESULTS.json

The parent process imports ms-swift once. Commands of swift-stvg, scripts and Python blocks are run. Options of
ms-swift's commands are read by its argument classes, because most of these commands need a GPU. Commands that do not
need a GPU are run, with few steps.
"""

from __future__ import annotations

import io
import json
import os
import runpy
import sys
import tempfile
import threading
from argparse import ArgumentParser
from contextlib import redirect_stdout, suppress
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

LIMIT_S = 300
"""Seconds after which a command counts as hanging."""
ARGUMENTS = {
    "sft": "SftArguments",
    "rlhf": "RLHFArguments",
    "infer": "InferArguments",
    "deploy": "DeployArguments",
    "rollout": "RolloutArguments",
    "export": "ExportArguments",
    "app": "AppArguments",
    "sample": "SamplingArguments",
    "eval": "EvalArguments",
}
"""Classes of swift.arguments by command."""
NEEDS_MORE = {
    "deepspeed",
    "attn_impl",
    "use_vllm",
    "vllm_mode",
    "sleep_level",
    "infer_backend",
    "push_to_hub",
    "hub_token",
}
"""Options of ms-swift that need a GPU, an engine or a hub: their names are checked, their values are not."""
ON_CPU = ["--torch_dtype", "float32"]
FEW_STEPS = ["--max_steps", "2", "--save_steps", "2", "--logging_steps", "1", "--report_to", "none"]
TRAINING_ON_CPU = ["--use_cpu", "true", "--check_model", "false", "--report_to", "none"]
TRL = "examples/reuse/trl_grpo.py"
"""A script that needs a Python without ms-swift, because ms-swift changes TRL; test_reuse.py runs it."""
SHORT = "examples/step_cost/scaling.py"
"""The only script of its folder that does not take long."""
LONG = {"app", "bench", "pushed"}
"""Commands of swift-stvg that take long, wait or need a hub. Only their options are read; other tests run them."""
REALLY = "REALLY"
"""A word after a command of ms-swift that means: run the command."""
SERVER = "SERVER"
"""A placeholder in commands and code for the address of a server with OpenAI's chat completions."""
ANSWER = "<time> 1 - 2 </time> <think_bbox> 1. [10, 10, 30, 30], 2. [10, 10, 30, 30] </think_bbox> "
ANSWER += "<pred_bbox> 1. [20, 10, 40, 30], 2. [20, 10, 40, 30] </pred_bbox>"


class Failed(Exception):
    """A command ended with an error. The message holds the end of its output."""


class Server(BaseHTTPRequestHandler):
    """Gives every question the same answer."""

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "stvg", "object": "model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": ANSWER}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        self._send({"id": "1", "object": "chat.completion", "created": 0, "model": "stvg", "choices": [choice]})

    def _send(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Print nothing."""


def options(parser: ArgumentParser) -> set[str]:
    return {word for action in parser._actions for word in action.option_strings}


def known_options() -> dict[str, list[str]]:
    """The options of every command of `swift` and `swift-stvg`, as they are typed."""
    import swift.arguments

    from swift_stvg.cli import COMMANDS

    found = {}
    for name in (name for commands in COMMANDS.values() for name in commands):
        parser = ArgumentParser()
        import_module(f"swift_stvg.commands.{name}").add_options(parser)
        found[f"swift-stvg {name}"] = sorted(options(parser))
    for name, cls in ARGUMENTS.items():
        found[f"swift {name}"] = sorted(f"--{field.name}" for field in fields(getattr(swift.arguments, cls)))
    return found


def swift_stvg(command: str, *words: str) -> None:
    """Run a command of `swift-stvg`, or read its options."""
    from swift_stvg.cli import main

    if command in LONG:
        parser = ArgumentParser()
        import_module(f"swift_stvg.commands.{command}").add_options(parser)
        parser.parse_args(words)
        return
    status = main([command, *words])
    assert status == 0, f"status {status}"


def swift(command: str, *words: str) -> None:
    """Let ms-swift read the options of a command."""
    import swift.arguments
    from swift.cli.main import parse_yaml_args
    from swift.utils import parse_args

    if words[-1] == REALLY:
        really(command, *words[:-1])
        return
    argv = list(words)
    parse_yaml_args(argv)
    cls = getattr(swift.arguments, ARGUMENTS[command])
    names = {field.name for field in fields(cls)}
    kept: list[str] = []
    needs_more = False
    for word in argv:
        if word.startswith("--"):
            assert word[2:] in names, f"{word} is unknown to swift {command}"
            needs_more = word[2:] in NEEDS_MORE or "vllm" in word
        if not needs_more:
            kept.append(word)
    if command in ("rollout", "eval"):  # they want a GPU, and EvalScope, before all else
        return
    more = ON_CPU + (TRAINING_ON_CPU if command in ("sft", "rlhf") else [])
    _, rest = parse_args(cls, kept + more)
    assert not rest, f"not understood: {rest}"


def really(command: str, *words: str) -> None:
    """Run a command of ms-swift, trainings for two steps."""
    import swift.pipelines

    more = FEW_STEPS if command in ("sft", "rlhf") else []
    getattr(swift.pipelines, f"{command}_main")([*words, *more])


def python(script: str, *words: str) -> None:
    """Run a script. If the script takes long, only check that its help lists the options."""
    sys.argv = [script, *words]
    if script == TRL:
        assert Path(script).is_file()
        return
    long = ("examples/learning_benchmark/", "examples/step_cost/", "examples/quickstart/")
    if script.startswith(long) and script != SHORT:
        text = io.StringIO()
        sys.argv = [script, "--help"]
        with redirect_stdout(text), suppress(SystemExit):
            sys.path.insert(0, str(Path(script).parent.resolve()))
            runpy.run_path(script, run_name="__main__")
        missing = [word for word in words if word.startswith("--") and word not in text.getvalue()]
        assert text.getvalue(), "no help"
        assert not missing, f"{script} does not have {missing}"
        return
    runpy.run_path(script, run_name="__main__")


def code(text: str) -> None:
    """Run a block of Python."""
    exec(compile(text, "block", "exec"), {"__name__": "__main__"})


KINDS = {"swift-stvg": swift_stvg, "swift": swift, "python": python, "code": code}


def attempt(words: list[str], env: dict[str, str], folder: str, out: str | None) -> str:
    """Run a command in a forked process, so that it does not change this process. Returns its output.

    Args:
        words: kind and arguments, as in `KINDS`.
        env: more environment variables.
        folder: the working folder.
        out: a file in the folder for the standard output.

    Raises:
        Failed: the command ends with an error or hangs.
    """
    with tempfile.TemporaryDirectory() as scratch:
        printed = Path(scratch, "printed")
        child = get_context("fork").Process(target=_child, args=(words, env, folder, out, printed))
        child.start()
        child.join(LIMIT_S)
        if child.is_alive():
            child.kill()
            child.join()
        text = printed.read_text(errors="replace")
    if child.exitcode:
        raise Failed(text[-4000:] or f"ended with {child.exitcode}")
    return text


def _child(words: list[str], env: dict[str, str], folder: str, out: str | None, printed: Path) -> None:
    os.chdir(folder)
    os.environ.update(env)
    file = os.open(printed, os.O_WRONLY | os.O_CREAT)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    if out is not None:
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 1)
    kind, *rest = words
    KINDS[kind](*rest)


def run(tries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run all tries. Returns the output or the failure of each."""
    import swift.arguments
    import swift.pipelines  # noqa: F401  before swift_stvg, which registers itself with it then
    import torch

    torch.set_num_threads(1)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    results = []
    for each in tries:
        words = [word.replace(SERVER, address) for word in each["words"]]
        try:
            results.append({"printed": attempt(**each | {"words": words})})
        except Failed as error:
            results.append({"failed": str(error)})
    server.shutdown()
    return results


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps({"results": run(asked), "options": known_options()}))
