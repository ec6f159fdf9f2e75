"""One run of configs/runs.yaml: score the exact answers, train, answer the test split, score the answers.

    STVG_DATA_ROOT=/data python examples/paper/run.py grpo_hcstvg_v1 [--print] [--output DIR] [TRAINING OPTIONS]

A finished step is not repeated; a training continues from its last checkpoint. On nodes other than the first, only the
training runs, in the same output folder.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from steps import RunnerError, Task, as_texts, hold, refuse_stale

from swift_stvg.recipes.rules import options_of
from swift_stvg.settings import PREFIX, Settings

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def runs(configs: Path = CONFIGS) -> dict[str, dict[str, Any]]:
    """The runs of a folder of recipes. A run with `like` gets the missing fields from the run that it names."""
    table: dict[str, dict[str, Any]] = yaml.safe_load((configs / "runs.yaml").read_text())
    return {
        name: {"configs": configs, "trained_as": run.get("like", name), **table.get(run.get("like"), {}), **run}
        for name, run in table.items()
    }


def recipe(run: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run's recipe file, without the options that the run leaves out."""
    options: dict[str, Any] = yaml.safe_load((run["configs"] / f"{run['base']}.yaml").read_text())
    return {name: value for name, value in options.items() if name not in run.get("without", [])}


def values(run: Mapping[str, Any], more: Sequence[str] = ()) -> dict[str, list[str]]:
    """All options of a run as ms-swift sees them: the recipe's, its own, and further ones."""
    given = {name: value for name, value in recipe(run).items() if name != "ENV"}
    texts = {name: value if isinstance(value, list) else [str(value)] for name, value in given.items()}
    return texts | options_of([*shlex.split(run.get("args", "")), *more])


def environment(run: Mapping[str, Any], outside: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Settings of the recipe and of the run as texts, and settings of rows from the environment.

    Raises:
        RunnerError: a setting in the environment differs from the run's own setting.
    """
    own = as_texts(recipe(run).get("ENV", {}) | run.get("env", {}))
    of_rows = {PREFIX + name.upper() for name in Settings().to_texts()}
    for name in sorted(of_rows & outside.keys() & own.keys()):
        if outside[name] != own[name]:
            raise RunnerError(
                f"{name}={outside[name]} is set in the environment, but this run needs {own[name]}: unset it"
            )
    return {name: outside.get(name, value) for name, value in own.items()} | {
        name: outside[name] for name in sorted(of_rows & outside.keys())
    }


def train_task(name: str, known: Mapping[str, Mapping[str, Any]], more: Sequence[str] = ()) -> Task:
    """The training of a run; it needs the training of the run that it starts from, if there is one."""
    run = known[name]
    folder = f"{run['trained_as']}/train"
    words = [*shlex.split(run.get("args", "")), "--output_dir", f"OUTPUT/{folder}"]
    needs = ()
    if "from" in run:
        words += ["--model", f"OUTPUT/{known[run['from']]['trained_as']}/train/CHECKPOINT"]
        needs = (train_task(run["from"], known),)
    words += [*more, *(word for name in run.get("without", []) for word in (f"--{name}", ""))]
    # the reference model of the KL term; it is not used for LoRA or without a KL term
    start = values(run, words)["model"][0] if run["base"] == "grpo" else None
    kind = "rlhf" if "rlhf_type" in values(run, words) else "sft"
    command = ("swift", kind, f"RECIPES/{run['base']}.yaml", *words)
    return Task(f"{folder}/trained", command, run["configs"], environment(run), needs, reference=start)


def tasks(name: str, known: Mapping[str, Mapping[str, Any]], more: Sequence[str] = ()) -> list[Task]:
    """All steps of a run, in order. Runs that differ only in their test split share their training."""
    run, train = known[name], train_task(name, known, more)
    env = {name: value for name, value in environment(run).items() if name != "NNODES"}  # the other nodes only train
    used = {"max_completion_length": ["2048"]} | values(run, train.words)
    last = f"OUTPUT/{run['trained_as']}/train/CHECKPOINT"
    is_lora = used.get("tuner_type") == ["lora"]
    model = ["--model", used["model"][0], "--adapters", last] if is_lora else ["--model", last]
    result = f"{name}/answers.jsonl"
    command = ["swift", "infer", "RECIPES/infer.yaml", *model, "--val_dataset", run["test"]]
    command += ["--template", *used["template"], "--max_new_tokens", *used["max_completion_length"]]
    command += ["--result_path", f"OUTPUT/{result}.part"]
    configs = run["configs"]
    answers = Task(result, tuple(command), configs, env, (train,), makes=f"{result}.part")
    exact = ("swift-stvg", "score", "--oracle", run["test"], "--out", f"OUTPUT/{name}/exact.txt")
    score = ("swift-stvg", "score", f"OUTPUT/{result}", "--dataset", run["test"], "--compare-to", "published")
    score = (*score, "--by", "query,area,length", "--out", f"OUTPUT/{name}/report.txt")
    return [
        Task(f"{name}/exact.txt", exact, configs, env),
        *train.needs,
        train,
        answers,
        Task(f"{name}/report.txt", score, configs, env, (answers,)),
    ]


def run_all(steps: Sequence[Task], output: Path, rank: str) -> None:
    """Run the steps that are not done yet.

    Raises:
        RunnerError: a step failed, another runner is working, or other commands made the results that exist.
    """
    folders = dict.fromkeys(Path(task.result).parts[0] for task in steps)
    with hold(*(output / folder for folder in folders), name=f".lock{rank}") as commands:
        refuse_stale(steps, output)
        for task in steps:
            if task.is_done(output):
                print(f"== {task.result}: done before", flush=True)
                continue
            print(f"== {task.result}: {shlex.join(task.command(output))}", flush=True)
            env = dict(os.environ)
            if not task.result.endswith("/trained"):
                env = {name: value for name, value in env.items() if name not in ("NNODES", "NODE_RANK")}
            if status := commands.run(task, output, env):
                raise RunnerError(f"{task.result}: the command ended with status {status}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("name", help="a run of configs/runs.yaml")
    parser.add_argument("--configs", type=Path, default=CONFIGS, help="folder of the recipes, if you have your own")
    parser.add_argument("--print", action="store_true", help="print the commands, with the settings they run under")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder of all runs (default: output)")
    args, more = parser.parse_known_args()  # other options are for the training
    more = [word for word in more if word != "--"]
    known = runs(args.configs)
    if args.name not in known:
        parser.error(f"no run {args.name!r} in {args.configs / 'runs.yaml'}; the runs are: {', '.join(known)}")
    rank = os.environ.get("NODE_RANK", "0")
    try:
        steps = tasks(args.name, known, more)
        if rank != "0":
            steps = [task for task in steps if task.result.endswith("/trained")]
        if args.print:
            for task in steps:
                print(task.line(args.output))
            return 0
        run_all(steps, args.output, rank)
    except RunnerError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1
    if rank == "0":
        print((args.output / args.name / "report.txt").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
