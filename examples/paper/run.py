"""One run of configs/runs.yaml from annotations to report: look at the data, train, answer the test split, score.

    STVG_DATA_ROOT=/data python examples/paper/run.py grpo_hcstvg_v1 [--print] [--output DIR] [TRAINING OPTIONS]

A step that is done is not done again; training continues from its last checkpoint. On nodes other than the first, only
training is run.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from steps import as_texts, last_checkpoint, resume_options

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
Step = tuple[str, list[str]]


def runs(configs: Path = CONFIGS) -> dict[str, dict[str, Any]]:
    """The runs of a folder of recipes, those that are like another one completed from it."""
    table: dict[str, dict[str, Any]] = yaml.safe_load((configs / "runs.yaml").read_text())
    return {
        name: {"configs": configs, "trained_as": run.get("like", name), **table.get(run.get("like"), {}), **run}
        for name, run in table.items()
    }


def recipe(run: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run's recipe as they are in its file, but for those that the run goes without."""
    options: dict[str, Any] = yaml.safe_load((run["configs"] / f"{run['base']}.yaml").read_text())
    return {name: value for name, value in options.items() if name not in run.get("without", [])}


def environment(run: Mapping[str, Any]) -> dict[str, str]:
    """Settings of the recipe and of the run, as the shell would have them."""
    return as_texts(recipe(run).get("ENV", {}) | run.get("env", {}))


def train_command(run: Mapping[str, Any], output: Path, more: list[str]) -> list[str]:
    """The training into `output`, continued from the last checkpoint if there is one."""
    options = [*shlex.split(run.get("args", "")), "--output_dir", str(output), *more]
    for name in run.get("without", []):
        options += [f"--{name}", ""]
    options += resume_options(output)
    kind = "rlhf" if run["base"] == "grpo" else "sft"
    return ["swift", kind, str(run["configs"] / f"{run['base']}.yaml"), *options]


def answer_command(run: Mapping[str, Any], trained: Path, answers: Path) -> list[str]:
    """The answers of the last checkpoint in `trained` to the test split."""
    last = last_checkpoint(trained) or trained / "checkpoint-LAST"
    recipes = {"max_completion_length": 2048} | recipe(run)
    words = shlex.split(run.get("args", ""))
    length, template = (
        str(words[words.index(f"--{name}") + 1] if f"--{name}" in words else recipes[name])
        for name in ("max_completion_length", "template")
    )
    model = ["--adapters" if "--tuner_type lora" in run.get("args", "") else "--model", str(last)]
    return [
        *["swift", "infer", str(run["configs"] / "infer.yaml"), *model, "--val_dataset", run["test"]],
        *["--template", template, "--max_new_tokens", length, "--result_path", str(answers)],
    ]


def steps(name: str, run: Mapping[str, Any], folder: Path, more: list[str]) -> list[Step]:
    """(name, command) of each step, in order; runs that differ in what they are tested on share their training."""
    trained, answers = folder / run["trained_as"] / "train", folder / name / "answers.jsonl"
    score = ["swift-stvg", "score", str(answers), "--dataset", run["test"], "--compare-to", "published"]
    return [
        ("data", ["swift-stvg", "score", "--oracle", run["test"], "--out", str(folder / name / "exact.txt")]),
        ("train", train_command(run, trained, more)),
        ("answers", answer_command(run, trained, answers)),
        ("report", [*score, "--by", "query,area,length", "--out", str(folder / name / "report.txt")]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("name", help="a run of configs/runs.yaml")
    parser.add_argument("--configs", type=Path, default=CONFIGS, help="folder of the recipes, if you have your own")
    parser.add_argument("--print", action="store_true", help="print the commands, with the settings they run under")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder of all runs (default: output)")
    args, more = parser.parse_known_args()  # what is not ours is for the training
    more = [word for word in more if word != "--"]
    known = runs(args.configs)
    if args.name not in known:
        parser.error(f"no run {args.name!r} in {args.configs / 'runs.yaml'}; the runs are: {', '.join(known)}")
    run = known[args.name]
    env = environment(run)
    if args.print:
        for _, command in steps(args.name, run, args.output, more):
            print(" ".join([*(f"{key}={shlex.quote(value)}" for key, value in env.items()), shlex.join(command)]))
        return 0
    here = args.output / args.name
    here.mkdir(parents=True, exist_ok=True)
    first_node = os.environ.get("NODE_RANK", "0") == "0"
    for step in ("data", "train", "answers", "report") if first_node else ("train",):
        done = (args.output / run["trained_as"] if step == "train" else here) / f"{step}.done"
        if done.is_file():
            print(f"== {step}: done before")
            continue
        done.parent.mkdir(parents=True, exist_ok=True)
        command = dict(steps(args.name, run, args.output, more))[step]  # now: training has made the checkpoint
        print(f"== {step}: {shlex.join(command)}", flush=True)
        if step == "answers":
            (here / "answers.jsonl").unlink(missing_ok=True)  # swift appends to a result file
        given = env | os.environ
        if step != "train":
            given = {name: value for name, value in given.items() if name not in ("NNODES", "NODE_RANK")}
        status = subprocess.run(command, env=given).returncode
        if status:
            print(f"== {step} ended with status {status}", file=sys.stderr)
            return status
        done.touch()
    if first_node:
        print((here / "report.txt").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
