"""What the rewards do, at a size that two CPU cores can train: plan.yaml's trainings, each a few stock swift commands.

    python examples/learning_benchmark/run.py [NAME ...] [--seeds 1 2 3] [--split test] [--jobs 2] [--print]

What several trainings need is made once. What is done is not done again; training continues from its last checkpoint.
Answers and headroom lie in OUTPUT/SEED/NAME; report.py reads them.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from steps import as_texts, last_checkpoint, resume_options

HERE = Path(__file__).resolve().parent
PLAN: dict[str, Any] = yaml.safe_load((HERE / "plan.yaml").read_text())
TRAININGS: dict[str, dict[str, Any]] = PLAN["trainings"]
HEADROOM = "--rows 128 --samples 8 --temperature 0.8 --max_batch_size 64 --max_new_tokens 72 --torch_dtype float32"


@dataclass(frozen=True)
class Task:
    """One command.

    Attributes:
        result: what it makes, in OUTPUT; the task is done when that is there.
        needs: results of other tasks.
        words: the command, where a folder named CHECKPOINT stands for the last checkpoint in it.
        env: settings that it runs under.
        makes: what the command itself writes, if it is not the result; it becomes the result when the command is done.
    """

    result: str
    needs: tuple[str, ...]
    words: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    makes: str | None = None


def environment(name: str) -> dict[str, str]:
    """Settings of a training: those of the one that it goes on from, and its own."""
    spec = TRAININGS[name]
    before = environment(spec["from"]) if "from" in spec else {"STVG_DATA_ROOT": f"OUTPUT/{spec['world']}"}
    return before | as_texts(spec.get("env", {}))


def tasks(names: Iterable[str], seeds: Iterable[int], split: str) -> list[Task]:
    """All that the named trainings need, each thing once, in an order in which it can be done."""
    found: dict[str, Task] = {}

    def add(task: Task) -> str:
        found.setdefault(task.result, task)
        return task.result

    def train(name: str, seed: int) -> str:
        spec = TRAININGS[name]
        recipe, args = spec["recipe"], shlex.split(spec.get("args", ""))
        if "from" in spec:
            needs = [train(spec["from"], seed)]
            model = f"OUTPUT/{seed}/{spec['from']}/CHECKPOINT"
            args += shlex.split(PLAN["further"]) if recipe == "sft" else []
        else:
            needs = [add(_clips(spec["world"])), add(_model(seed))]
            model = f"OUTPUT/{seed}/tiny"
        options = ["--model", model, "--dataset", f"stvg_synthetic:{spec.get('labels', 'prompts')}"]
        options += ["--seed", str(seed), "--output_dir", f"OUTPUT/{seed}/{name}", *args]
        command = ["swift", "rlhf" if recipe == "grpo" else "sft", str(HERE / f"{recipe}.yaml"), *options]
        return add(Task(f"{seed}/{name}/trained", tuple(needs), tuple(command), environment(name)))

    def answer(name: str, seed: int) -> None:
        result = f"{seed}/{name}/{split}.jsonl"
        command = ["swift", "infer", str(HERE / "infer.yaml"), "--model", f"OUTPUT/{seed}/{name}/CHECKPOINT"]
        command += ["--val_dataset", f"stvg_synthetic:{split}", "--result_path", f"OUTPUT/{result}.part"]
        add(Task(result, (train(name, seed),), tuple(command), environment(name), makes=f"{result}.part"))

    def headroom(name: str, seed: int) -> None:
        result = f"{seed}/{name}/headroom.jsonl"
        command = ["swift-stvg", "headroom", "--model", f"OUTPUT/{seed}/{name}/CHECKPOINT"]
        command += ["--dataset", "stvg_synthetic:prompts", "--answers", f"OUTPUT/{result}", "--format", "json"]
        command += ["--out", f"OUTPUT/{seed}/{name}/headroom.json", *shlex.split(HEADROOM)]
        settings = as_texts(yaml.safe_load((HERE / "infer.yaml").read_text())["ENV"])
        add(Task(result, (train(name, seed),), tuple(command), settings | environment(name)))

    for name in names:
        for seed in seeds:
            if TRAININGS[name]["recipe"] == "grpo":
                headroom(TRAININGS[name]["from"], seed)
            answer(name, seed)
    return list(found.values())


def _clips(world: str) -> Task:
    spec = PLAN["worlds"][world]
    command = ["swift-stvg", "synth", f"OUTPUT/{world}/stvg_synthetic", "--split", *spec["splits"].split()]
    return Task(f"{world}/clips.done", (), (*command, *spec["args"].split()))


def _model(seed: int) -> Task:
    command = ["swift-stvg", "tiny", f"OUTPUT/{seed}/tiny", "--seed", str(seed), *PLAN["model"].split()]
    return Task(f"{seed}/tiny.done", (), tuple(command))


def command_of(task: Task, output: Path) -> list[str]:
    """The words of a task with its folders in place, and what a training that was interrupted goes on from."""
    words = []
    for word in task.words:
        word = word.replace("OUTPUT", str(output))
        if word.endswith("/CHECKPOINT"):
            folder = Path(word).parent
            word = str(last_checkpoint(folder) or folder / "checkpoint-LAST")
        words.append(word)
    if task.result.endswith("/trained"):
        words += resume_options((output / task.result).parent)
    return words


def run(task: Task, output: Path) -> None:
    """Run one command; what it prints goes to a log beside its result.

    Raises:
        RuntimeError: it failed; the message names the log.
    """
    result = output / task.result
    result.parent.mkdir(parents=True, exist_ok=True)
    if task.makes:
        (output / task.makes).unlink(missing_ok=True)  # swift appends to a result file
    if task.result.endswith("tiny.done"):
        shutil.rmtree(result.with_name("tiny"), ignore_errors=True)
    log = result.with_suffix(".log")
    env = os.environ | {key: value.replace("OUTPUT", str(output)) for key, value in task.env.items()}
    with log.open("a") as lines:
        status = subprocess.run(command_of(task, output), env=env, stdout=lines, stderr=subprocess.STDOUT).returncode
    if status:
        raise RuntimeError(f"{task.result}: the command ended with status {status}; see {log}")
    if task.makes:
        os.replace(output / task.makes, result)
    elif not result.exists():
        result.touch()


def run_all(wanted: list[Task], output: Path, jobs: int) -> None:
    """Run tasks as soon as what they need is there, so many at once; after a failure no other one is begun."""
    waiting = [task for task in wanted if not (output / task.result).exists()]
    running: dict[Future[None], Task] = {}
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(waiting), unit="task", smoothing=0.05) as bar:
        failure: BaseException | None = None
        while running or (waiting and failure is None):
            for task in list(waiting):
                ready = all((output / need).exists() for need in task.needs)
                if ready and len(running) < jobs and failure is None:
                    waiting.remove(task)
                    running[pool.submit(run, task, output)] = task
            bar.set_postfix_str(", ".join(task.result for task in running.values()))
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                failure = failure or future.exception()
                bar.update()
    if failure is not None:
        raise failure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainings", nargs="*", metavar="NAME", help="trainings of plan.yaml (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=PLAN["seeds"], help=f"default: {PLAN['seeds']}")
    parser.add_argument("--split", default="test", help="clips to answer; use val to choose settings (default: test)")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1)), help="commands at once")
    parser.add_argument("--output", type=Path, default=Path("learning_output"), help="default: learning_output")
    parser.add_argument("--print", action="store_true", help="print the commands that are left to run")
    args = parser.parse_args()
    names = args.trainings or list(TRAININGS)
    if unknown := [name for name in names if name not in TRAININGS]:
        parser.error(f"no training {', '.join(unknown)} in plan.yaml, which has {', '.join(TRAININGS)}")
    wanted = tasks(names, args.seeds, args.split)
    output = args.output.resolve()
    if args.print:
        for task in wanted:
            if not (output / task.result).exists():
                env = [f"{key}={shlex.quote(value.replace('OUTPUT', str(output)))}" for key, value in task.env.items()]
                print(" ".join([*env, shlex.join(command_of(task, output))]))
        return 0
    try:
        run_all(wanted, output, args.jobs)
    except RuntimeError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
