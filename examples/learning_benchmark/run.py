"""What the rewards do, at a size that two CPU cores can train: plan.yaml's trainings, each a few stock swift commands.

    python examples/learning_benchmark/run.py [NAME ...] [--seeds 1 2 3] [--jobs 2] [--print]

What several trainings need is made once. What is done is not done again; training continues from its last checkpoint.
Answers and headroom lie in OUTPUT/SEED/NAME; report.py reads them.
"""

from __future__ import annotations

import argparse
import json
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


@dataclass(frozen=True)
class Plan:
    """The content of plan.yaml.

    Attributes:
        seeds: of models, trainings and samples.
        model: options of `swift-stvg tiny`.
        headroom: options of `swift-stvg headroom`.
        further: options of an SFT that goes on from another training.
        worlds: options and splits of `swift-stvg synth`, by name.
        trainings: by name: what each goes on from (`from`) or the world it begins in, its recipe, and its deviations.
        questions: pairs of trainings to compare, with what is asked.
    """

    seeds: list[int]
    model: str
    headroom: str
    further: str
    worlds: dict[str, dict[str, Any]]
    trainings: dict[str, dict[str, Any]]
    questions: list[dict[str, Any]]

    @classmethod
    def read(cls, path: Path = HERE / "plan.yaml") -> Plan:
        return cls(**yaml.safe_load(path.read_text()))

    def environment(self, name: str) -> dict[str, str]:
        """Settings of a training: those of the one that it goes on from, and its own."""
        spec = self.trainings[name]
        before = {"STVG_DATA_ROOT": f"OUTPUT/{spec['world']}"} if "world" in spec else self.environment(spec["from"])
        return before | as_texts(spec.get("env", {}))


@dataclass(frozen=True)
class Task:
    """One command.

    Attributes:
        result: what it makes, in OUTPUT; the task is done when that is there, with this command noted beside it.
        needs: results of other tasks.
        words: the command, where OUTPUT and RECIPES stand for folders, CHECKPOINT for the last checkpoint in one.
        env: settings that it runs under.
        makes: what the command itself writes, if it is not the result; it becomes the result when the command is done.
    """

    result: str
    needs: tuple[str, ...]
    words: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    makes: str | None = None

    @property
    def description(self) -> str:
        """The command, its settings and its recipe, wherever the folders are."""
        recipes = [(HERE / word.partition("/")[2]).read_text() for word in self.words if word.startswith("RECIPES/")]
        return json.dumps([self.words, self.env, recipes])

    def note(self, output: Path) -> Path:
        """Where that is written down when it is done."""
        return output / f"{self.result}.command"

    def is_done(self, output: Path) -> bool:
        """Whether its result is there.

        Raises:
            StaleResult: it was made by another command, under an older plan for instance.
        """
        if not (output / self.result).exists():
            return False
        if not self.note(output).is_file() or self.note(output).read_text() != self.description:
            raise StaleResult(f"{output / self.result} was made by another command: delete {output}, or what is older")
        return True


class StaleResult(Exception):
    """A result that the plan does not describe."""


def tasks(plan: Plan, names: Iterable[str], seeds: Iterable[int], split: str, with_headroom: bool = True) -> list[Task]:
    """All that the named trainings need, each thing once, in an order in which it can be done."""
    found: dict[str, Task] = {}

    def add(task: Task) -> str:
        found.setdefault(task.result, task)
        return task.result

    def clips(name: str, split: str) -> str:
        """One split of the world in which a training began; one at a time, for they share a manifest."""
        while "from" in plan.trainings[name]:
            name = plan.trainings[name]["from"]
        world = plan.trainings[name]["world"]
        spec = plan.worlds[world]
        words = next(word for word in spec["splits"].split() if word.startswith(f"{split}="))
        before = [task.result for task in found.values() if task.result.startswith(f"{world}/")]
        command = ["swift-stvg", "synth", f"OUTPUT/{world}/stvg_synthetic", "--split", words, *spec["args"].split()]
        return add(Task(f"{world}/{split}.done", tuple(before[-1:]), tuple(command)))

    def model(seed: int) -> str:
        command = ["swift-stvg", "tiny", f"OUTPUT/{seed}/tiny", "--seed", str(seed), *plan.model.split()]
        return add(Task(f"{seed}/tiny.done", (), tuple(command)))

    def train(name: str, seed: int) -> str:
        spec = plan.trainings[name]
        recipe, args = spec["recipe"], shlex.split(spec.get("args", ""))
        rows = spec.get("labels", "prompts")
        needs = [clips(name, rows)]
        if "from" in spec:
            needs.append(train(spec["from"], seed))
            start = f"OUTPUT/{seed}/{spec['from']}/CHECKPOINT"
            args = [*(shlex.split(plan.further) if recipe == "sft" else []), *args]
        else:
            needs.append(model(seed))
            start = f"OUTPUT/{seed}/tiny"
        options = ["--model", start, "--dataset", f"stvg_synthetic:{rows}"]
        options += ["--seed", str(seed), "--output_dir", f"OUTPUT/{seed}/{name}", *args]
        command = ["swift", "rlhf" if recipe == "grpo" else "sft", f"RECIPES/{recipe}.yaml", *options]
        return add(Task(f"{seed}/{name}/trained", tuple(needs), tuple(command), plan.environment(name)))

    def answer(name: str, seed: int) -> None:
        result = f"{seed}/{name}/{split}.jsonl"
        command = ["swift", "infer", "RECIPES/infer.yaml", "--model", f"OUTPUT/{seed}/{name}/CHECKPOINT"]
        command += ["--val_dataset", f"stvg_synthetic:{split}", "--result_path", f"OUTPUT/{result}.part"]
        needs = (train(name, seed), clips(name, split))
        add(Task(result, needs, tuple(command), plan.environment(name), makes=f"{result}.part"))

    def headroom(name: str, seed: int) -> None:
        result = f"{seed}/{name}/headroom.txt"
        command = ["swift-stvg", "headroom", "--model", f"OUTPUT/{seed}/{name}/CHECKPOINT", "--seed", str(seed)]
        command += ["--dataset", "stvg_synthetic:prompts", "--answers", f"OUTPUT/{seed}/{name}/headroom.jsonl"]
        command += ["--out", f"OUTPUT/{result}", *plan.headroom.split()]
        settings = as_texts(yaml.safe_load((HERE / "infer.yaml").read_text())["ENV"])
        needs = (train(name, seed), clips(name, "prompts"))
        add(Task(result, needs, tuple(command), settings | plan.environment(name)))

    for name in names:
        for seed in seeds:
            if with_headroom and plan.trainings[name]["recipe"] == "grpo":
                headroom(plan.trainings[name]["from"], seed)
            answer(name, seed)
    return list(found.values())


def command_of(task: Task, output: Path) -> list[str]:
    """The words of a task with its folders in place, and what a training that was interrupted goes on from."""
    words = []
    for word in task.words:
        word = word.replace("OUTPUT", str(output)).replace("RECIPES", str(HERE))
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
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    env = clean | {key: value.replace("OUTPUT", str(output)) for key, value in task.env.items()}
    command = command_of(task, output)
    tqdm.write(f"== {task.result}: {shlex.join(command)}")
    with log.open("a") as lines:
        status = subprocess.run(command, env=env, stdout=lines, stderr=subprocess.STDOUT).returncode
    if status:
        raise RuntimeError(f"{task.result}: the command ended with status {status}; see {log}")
    if task.makes:
        os.replace(output / task.makes, result)
    elif not result.exists():
        result.touch()
    task.note(output).write_text(task.description)


def run_all(wanted: list[Task], output: Path, jobs: int) -> None:
    """Run tasks as soon as what they need is there, so many at once; after a failure no other one is begun."""
    waiting = [task for task in wanted if not task.is_done(output)]
    running: dict[Future[None], Task] = {}
    failure: BaseException | None = None
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(waiting), unit="command", smoothing=0.05) as bar:
        while running or (waiting and failure is None):
            for task in list(waiting):
                ready = not any(other.result in task.needs for other in (*waiting, *running.values()))
                if ready and len(running) < jobs and failure is None:
                    waiting.remove(task)
                    running[pool.submit(run, task, output)] = task
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                failure = failure or future.exception()
                bar.update()
    if failure is not None:
        raise failure


def print_all(wanted: list[Task], output: Path) -> None:
    """The commands that are left to run."""
    for task in wanted:
        if not task.is_done(output):
            env = [f"{key}={shlex.quote(value.replace('OUTPUT', str(output)))}" for key, value in task.env.items()]
            print(" ".join([*env, shlex.join(command_of(task, output))]))


def add_options(parser: argparse.ArgumentParser) -> None:
    """What report.py takes, too."""
    parser.add_argument("--plan", type=Path, default=HERE / "plan.yaml", help="default: plan.yaml beside this file")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: those of the plan")
    parser.add_argument("--split", default="test", help="clips to answer; use val to choose settings (default: test)")
    parser.add_argument("--output", type=Path, default=Path("learning_output"), help="default: learning_output")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainings", nargs="*", metavar="NAME", help="trainings of the plan (default: all)")
    add_options(parser)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="commands at once (default: as cores)")
    parser.add_argument("--no_headroom", action="store_true", help="do not sample the starts of GRPO for headroom")
    parser.add_argument("--print", action="store_true", help="print the commands that are left to run")
    args = parser.parse_args()
    plan = Plan.read(args.plan)
    names = args.trainings or list(plan.trainings)
    if unknown := [name for name in names if name not in plan.trainings]:
        parser.error(f"no training {', '.join(unknown)} in {args.plan}, which has {', '.join(plan.trainings)}")
    if args.jobs < 1 or any(f"{args.split}=" not in world["splits"] for world in plan.worlds.values()):
        parser.error("--jobs must be at least 1, and --split one of the plan's splits")
    wanted = tasks(plan, names, args.seeds or plan.seeds, args.split, not args.no_headroom)
    output = args.output.resolve()
    try:
        if args.print:
            print_all(wanted, output)
        else:
            run_all(wanted, output, args.jobs)
    except (RuntimeError, StaleResult) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
