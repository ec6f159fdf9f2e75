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
import sys
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from steps import Commands, RunnerError, Task, as_texts, hold, refuse_stale

HERE = Path(__file__).resolve().parent
ALL_ROWS = 10**9
"""More rows than any split has."""


@dataclass(frozen=True)
class Plan:
    """The content of plan.yaml.

    Attributes:
        seeds: of trainings, samples and, where there are some, random models.
        worlds: options and splits of `swift-stvg synth`, by name.
        trainings: by name: what each goes on from (`from`; else the start), its recipe, the world and the split of its
            clips (else those of what it goes on from, the first world, and `train`), and its deviations. With
            `select` (sft, dpo or kto) it trains on rows that `swift-stvg select` chose from answers of what it goes on
            from, which `sampling` makes. One without a recipe is the start itself.
        questions: pairs of trainings to compare, with what is asked.
        also_on: worlds whose clips are answered too.
        model: options of `swift-stvg tiny` for a random start; without them the start is that of swift_stvg.
        headroom: options of `swift-stvg headroom`.
        sampling: options of `swift-stvg headroom` for the answers that `select` needs; a training adds its own.
    """

    seeds: list[int]
    worlds: dict[str, dict[str, Any]]
    trainings: dict[str, dict[str, Any]]
    questions: list[dict[str, Any]] = field(default_factory=list)
    also_on: list[str] = field(default_factory=list)
    model: str | None = None
    headroom: str = ""
    sampling: str = ""

    @classmethod
    def read(cls, path: Path = HERE / "plan.yaml") -> Plan:
        return cls(**yaml.safe_load(path.read_text()))

    def world(self, name: str) -> str:
        """The world of a training's clips."""
        spec = self.trainings[name]
        before = self.world(spec["from"]) if "from" in spec else next(iter(self.worlds))
        return str(spec.get("world", before))

    def folder(self, name: str, seed: int) -> str:
        """Where its results lie in the output folder; those of the start itself are the same for all seeds."""
        return f"{seed}/{name}" if "recipe" in self.trainings[name] else name

    def environment(self, name: str, world: str | None = None) -> dict[str, str]:
        """Settings of a training, those of the one that it goes on from and its own, on its world or another."""
        spec = self.trainings[name]
        before = self.environment(spec["from"]) if "from" in spec else {}
        return before | {"STVG_DATA_ROOT": f"OUTPUT/{world or self.world(name)}"} | as_texts(spec.get("env", {}))

    def answers(self, name: str, seed: int, split: str) -> dict[str, str]:
        """Result file of each world whose clips a training answers, its own first."""
        own, folder = self.world(name), self.folder(name, seed)
        others = {world: f"{folder}/{world}_{split}.jsonl" for world in self.also_on if world != own}
        return {own: f"{folder}/{split}.jsonl"} | others

    def samples(self, name: str, seed: int, split: str, voting: int) -> str:
        """File with so many sampled answers of a training to each clip of its own world."""
        return f"{seed}/{name}/{split}_{voting}_samples.jsonl"


def tasks(
    plan: Plan, names: Iterable[str], seeds: Iterable[int], split: str, with_headroom: bool = True, voting: int = 0
) -> list[Task]:
    """All that the named trainings need, each thing once, in an order in which it can be done.

    With `voting`, so many answers of each are sampled to each clip of the split, to be joined to one.
    """
    found: dict[str, Task] = {}

    def add(result: str, words: list[str], **more: Any) -> Task:
        return found.setdefault(result, Task(result, tuple(words), HERE, **more))

    def clips(world: str, split: str) -> Task:
        """One split of a world; one at a time, for they share a manifest."""
        spec = plan.worlds[world]
        words = next(word for word in spec["splits"].split() if word.startswith(f"{split}="))
        before = tuple(result for result in found if result.startswith(f"{world}/"))
        command = ["swift-stvg", "synth", f"OUTPUT/{world}/stvg_synthetic", "--split", words, *spec["args"].split()]
        return add(f"{world}/{split}.done", command, after=before[-1:])

    def made(name: str | None, seed: int) -> tuple[str, tuple[Task, ...]]:
        """A model as --model has it, and what makes it; the start if there is no name."""
        if name is not None and "recipe" in plan.trainings[name]:
            return f"OUTPUT/{seed}/{name}/CHECKPOINT", (train(name, seed),)
        if plan.model is None:
            return "START", ()
        command = ["swift-stvg", "tiny", f"OUTPUT/{seed}/tiny", "--seed", str(seed), *plan.model.split()]
        return f"OUTPUT/{seed}/tiny", (add(f"{seed}/tiny.done", command),)

    def train(name: str, seed: int) -> Task:
        spec = plan.trainings[name]
        recipe, rows = spec["recipe"], spec.get("labels", "train")
        model, needs = made(spec.get("from"), seed)
        kind = spec.get("select")
        data = f"OUTPUT/{seed}/{name}/rows.jsonl" if kind else f"stvg_synthetic:{rows}"
        options = ["--model", model, "--dataset", data]
        options += ["--seed", str(seed), "--data_seed", str(seed)]  # the latter sets the order of the clips
        options += ["--output_dir", f"OUTPUT/{seed}/{name}", *shlex.split(spec.get("args", ""))]
        if kind not in (None, "sft"):
            options += ["--rlhf_type", kind]
        command = ["swift", "rlhf" if "--rlhf_type" in options or recipe == "grpo" else "sft"]
        command += [f"RECIPES/{recipe}.yaml", *options]
        needs = (selected(name, seed, model, needs),) if kind else (clips(plan.world(name), rows), *needs)
        return add(f"{seed}/{name}/trained", command, needs=needs, env=plan.environment(name))

    def selected(name: str, seed: int, model: str, needs: tuple[Task, ...]) -> Task:
        """Rows that are chosen from sampled answers of a model to the clips of a training."""
        spec, folder = plan.trainings[name], f"{seed}/{name}"
        rows = spec.get("labels", "train")
        command = ["swift-stvg", "headroom", "--model", model, "--dataset", f"stvg_synthetic:{rows}"]
        command += ["--seed", str(seed), *plan.sampling.split(), *spec.get("sampling", "").split()]
        command += ["--answers", f"OUTPUT/{folder}/answers.jsonl", "--out", f"OUTPUT/{folder}/answers.txt"]
        settings = as_texts(yaml.safe_load((HERE / "infer.yaml").read_text())["ENV"]) | plan.environment(name)
        needs = (*needs, clips(plan.world(name), rows))
        answered = add(f"{folder}/answers.txt", command, needs=needs, env=settings)
        command = ["swift-stvg", "select", f"OUTPUT/{folder}/answers.jsonl", "--for", spec["select"]]
        command += ["--out", f"OUTPUT/{folder}/rows.jsonl"]
        return add(f"{folder}/rows.jsonl", command, needs=(answered,), env=settings)

    def answer(name: str, seed: int, world: str, result: str) -> None:
        model, needs = made(name, seed)
        command = ["swift", "infer", "RECIPES/infer.yaml", "--model", model]
        command += ["--val_dataset", f"stvg_synthetic:{split}", "--result_path", f"OUTPUT/{result}.part"]
        needs = (*needs, clips(world, split))
        add(result, command, needs=needs, env=plan.environment(name, world), makes=f"{result}.part")

    def headroom(name: str, seed: int) -> None:
        """What GRPO could gain from the model that it goes on from, on its own clips."""
        start, rows = plan.trainings[name].get("from"), plan.trainings[name].get("labels", "train")
        result = f"{seed}/{name}/headroom.txt"
        model, needs = made(start, seed)
        command = ["swift-stvg", "headroom", "--model", model, "--seed", str(seed), *plan.headroom.split()]
        command += ["--dataset", f"stvg_synthetic:{rows}", "--answers", f"OUTPUT/{seed}/{name}/headroom.jsonl"]
        command += ["--out", f"OUTPUT/{result}"]
        settings = as_texts(yaml.safe_load((HERE / "infer.yaml").read_text())["ENV"])
        needs = (*needs, clips(plan.world(name), rows))
        add(result, command, needs=needs, env=settings | plan.environment(name))

    def voted(name: str, seed: int) -> None:
        """A greedy answer and several sampled ones to each clip of the split, with the options of headroom."""
        result = plan.samples(name, seed, split, voting)
        model, needs = made(name, seed)
        command = ["swift-stvg", "headroom", "--model", model, "--seed", str(seed), *plan.headroom.split()]
        command += ["--dataset", f"stvg_synthetic:{split}", "--rows", str(ALL_ROWS), "--samples", str(voting)]
        command += ["--answers", f"OUTPUT/{result}.part", "--out", f"OUTPUT/{Path(result).with_suffix('.txt')}"]
        settings = as_texts(yaml.safe_load((HERE / "infer.yaml").read_text())["ENV"])
        needs = (*needs, clips(plan.world(name), split))
        add(result, command, needs=needs, env=settings | plan.environment(name), makes=f"{result}.part")

    for name in names:
        for seed in seeds:
            if with_headroom and plan.trainings[name].get("recipe") == "grpo":
                headroom(name, seed)
            for world, result in plan.answers(name, seed, split).items():
                answer(name, seed, world, result)
            if voting:
                voted(name, seed)
    return list(found.values())


def progress(task: Task, output: Path) -> str:
    """What is being done, and of a training that has begun how far it is."""
    log = output / Path(task.result).parent / "logging.jsonl"
    if not task.result.endswith("/trained") or not log.is_file():
        return task.result
    steps = [
        json.loads(line).get("global_step/max_steps")
        for line in log.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]
    return f"{Path(task.result).parent} {next((step for step in reversed(steps) if step), '')}".rstrip()


def run(task: Task, output: Path, commands: Commands) -> None:
    """Run one command; what it prints goes to a log beside its result.

    Raises:
        RunnerError: it failed; the message names the log.
    """
    result = output / task.result
    result.parent.mkdir(parents=True, exist_ok=True)
    if task.result.endswith("tiny.done"):
        shutil.rmtree(result.with_name("tiny"), ignore_errors=True)
    log = result.with_suffix(".log")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    tqdm.write(f"== {task.result}: {shlex.join(task.command(output))}")
    with log.open("a") as lines:
        status = commands.run(task, output, clean, lines)
    if status:
        raise RunnerError(f"{task.result}: the command ended with status {status}; see {log}")


def run_all(wanted: list[Task], output: Path, jobs: int) -> None:
    """Run tasks as soon as what they need is there, so many at once; after a failure no other one is begun.

    Raises:
        RunnerError: one failed, another runner is at work in `output`, or what is there was made by other commands.
    """
    running: dict[Future[None], Task] = {}
    failure: BaseException | None = None
    with hold(output) as commands, ThreadPoolExecutor(jobs) as pool:
        refuse_stale(wanted, output)
        waiting = [task for task in wanted if not task.is_done(output)]
        try:
            with tqdm(total=len(waiting), unit="command", smoothing=0.05) as bar:
                while running or (waiting and failure is None):
                    for task in list(waiting):
                        pending = {other.result for other in (*waiting, *running.values())}
                        ready = pending.isdisjoint([*task.after, *(need.result for need in task.needs)])
                        if ready and len(running) < jobs and failure is None:
                            waiting.remove(task)
                            running[pool.submit(run, task, output, commands)] = task
                    bar.set_postfix_str("; ".join(progress(task, output) for task in running.values()))
                    done, _ = wait(running, timeout=2, return_when=FIRST_COMPLETED)
                    for future in done:
                        del running[future]
                        failure = failure or future.exception()
                        bar.update()
        except BaseException:
            commands.end()
            raise
    if failure is not None:
        raise failure


def add_options(parser: argparse.ArgumentParser) -> None:
    """What report.py takes, too."""
    parser.add_argument("--plan", type=Path, default=HERE / "plan.yaml", help="default: plan.yaml beside this file")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: those of the plan")
    parser.add_argument("--split", default="test", help="clips to answer; use val to choose settings (default: test)")
    parser.add_argument(
        "--voting", type=int, default=0, metavar="K", help="also join K >= 2 sampled answers to each clip to one answer"
    )
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
    if args.voting < 0 or args.voting == 1:
        parser.error("--voting must be at least 2")
    wanted = tasks(plan, names, args.seeds or plan.seeds, args.split, not args.no_headroom, args.voting)
    output = args.output.resolve()
    try:
        if args.print:
            refuse_stale(wanted, output)
            for task in wanted:
                if not task.is_done(output):
                    print(task.line(output))
        else:
            run_all(wanted, output, args.jobs)
    except RunnerError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
