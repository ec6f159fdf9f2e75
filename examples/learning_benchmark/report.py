"""What the answers of run.py say: each cell's metrics, each question's differences, and whether headroom foretold them.

    python examples/learning_benchmark/report.py [--output DIR] [--figure FILE.png] [--json FILE.json]

Answers count as `swift-stvg score` counts them: inconsistent ones 0. A difference is taken clip by clip between two
trainings of the same seed. Its first interval resamples clips, the mean over the seeds being the value of a clip; its
second is Student's over the seeds, wide for three of them. What is not there yet is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scipy import stats

from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import WEIGHTS
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.ground_truth import GroundTruth
from swift_stvg.scoring.headroom import Sampled, measure
from swift_stvg.scoring.matching import NATIVE, Scored
from swift_stvg.scoring.metrics import means_with_intervals, per_sample
from swift_stvg.scoring.vote import RULES, vote
from swift_stvg.settings import PREFIX, Settings

sys.path.insert(0, str(Path(__file__).resolve().parent))
from run import Plan, add_options, tasks
from steps import RunnerError, Task, refuse_stale

METRICS = ("m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5")
GREEDY = "greedy"
Gains: TypeAlias = dict[str, dict[str, dict[str, Any]]]
"""By training, rule of voting and metric."""
PROMISES = {  # of headroom: what may foretell a gain
    "better": "samples better than greedy",
    "best - greedy": "best sample - greedy, m_vIoU",
    "too wide": "boxes too wide",
    "too long": "spans too long",
}


@dataclass(frozen=True, eq=False)
class Cell:
    """What one training with one seed came to on the N held-out clips.

    Attributes:
        ids: of the clips.
        metrics: (N,) each.
        scored: how many answers gave a tube.
    """

    ids: list[Any]
    metrics: dict[str, np.ndarray]
    scored: int


def read_cell(path: Path) -> Cell:
    """Score one result file on the sampled grid."""
    return score_cell(AnswerFile.read(path))


def score_cell(answers: AnswerFile) -> Cell:
    """Score the answers of one file on the sampled grid."""
    truth = GroundTruth.of_rows([answers])
    scored = Scored(answers, truth)
    scores = scored.scores(NATIVE)
    return Cell(truth.keys, per_sample(scores.tiou, scores.viou), scored.counts["scored"])


def difference(cells: dict[tuple[str, int], Cell], pair: tuple[str, str], metric: str) -> dict[str, Any] | None:
    """First minus second of a pair over the seeds that both have; None if there is none."""
    seeds = [seed for name, seed in cells if name == pair[0] and (pair[1], seed) in cells]
    if not seeds:
        return None
    rows = []
    for seed in seeds:
        one, other = (cells[name, seed] for name in pair)
        if one.ids != other.ids:
            raise SystemExit(f"{pair[0]} and {pair[1]} of seed {seed} answered different clips")
        rows.append(one.metrics[metric] - other.metrics[metric])
    values = np.stack(rows)  # (S, N)
    clips = values.mean(axis=0)[:, None]  # (N, 1)
    mean, *ends = means_with_intervals(clips, np.ones_like(clips), np.arange(len(clips)))[0]
    each = values.mean(axis=1)  # (S,)
    found: dict[str, Any] = {"mean": mean, "clips": ends}
    found["seeds"] = dict(zip(map(str, seeds), each.tolist(), strict=True))
    if len(seeds) > 1:
        reach = stats.t.ppf(0.975, len(seeds) - 1) * each.std(ddof=1) / np.sqrt(len(seeds))
        found["student"] = [float(each.mean() - reach), float(each.mean() + reach)]
    return found


def voting_cells(path: Path) -> dict[str, Cell]:
    """The greedy answers of a file of headroom, and for each rule of voting the answers joined by it."""
    sampled = Sampled.read(path)
    pairs = list(zip(sampled.samples, sampled.row_truths, strict=True))
    texts = {GREEDY: list(sampled.greedy)} | {rule: [vote(own, c, rule) for own, c in pairs] for rule in RULES}
    numbers, videos = list(range(1, len(pairs) + 1)), list(sampled.videos)
    return {
        name: score_cell(AnswerFile(name, str(path), Batch(own, sampled.row_truths), own, numbers, videos))
        for name, own in texts.items()
    }


def voting_gains(plan: Plan, known: dict[str, Task], seeds: list[int], output: Path, split: str, voting: int) -> Gains:
    """For each training and rule, the metrics of the joined answers minus those of the greedy ones, where known."""
    gains: Gains = {}
    for name in plan.trainings:
        cells: dict[tuple[str, int], Cell] = {}
        for seed in seeds:
            path = plan.samples(name, seed, split, voting)
            if known[path].is_done(output):
                cells |= {(of, seed): cell for of, cell in voting_cells(output / path).items()}
        if cells:
            greedy = [cell.metrics for (of, _), cell in cells.items() if of == GREEDY]
            gains[name] = {"greedy": {metric: float(np.mean([m[metric] for m in greedy])) for metric in METRICS}}
            for rule in RULES:
                gains[name][rule] = {metric: difference(cells, (rule, GREEDY), metric) for metric in METRICS}
    return gains


def _means(cell: Cell) -> dict[str, float]:
    return {"scored": cell.scored} | {metric: float(cell.metrics[metric].mean()) for metric in METRICS}


def train_seconds(folder: Path) -> float | None:
    """How long ms-swift says it trained; None where it was interrupted, since it only knows the last part."""
    if not (folder / "logging.jsonl").is_file():
        return None  # the start itself
    lines = [json.loads(line) for line in (folder / "logging.jsonl").read_text().splitlines()]
    steps = [int(line["global_step/max_steps"].split("/")[0]) for line in lines if "loss" in line]
    times = [line["elapsed_time"] for line in lines if "loss" in line]
    whole = all(_seconds(a) <= _seconds(b) for a, b in pairwise(times)) and steps == sorted(set(steps))
    return next((line["train_runtime"] for line in lines if "train_runtime" in line), None) if whole else None


def _seconds(text: str) -> int:
    """Of a duration such as 1h 2m 3s."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(int(part[:-1]) * units[part[-1]] for part in text.split())


def weights_of(spec: dict[str, Any]) -> dict[str, float]:
    """Reward and weight of each reward function of a GRPO training."""
    words = spec.get("args", "").split()
    funcs = _after(words, "--reward_funcs") or [*WEIGHTS, "stvg_tiou", "stvg_viou"]
    weights = _after(words, "--reward_weights") or ["1", "1", "1", "1", "0.5", "0", "0"]
    return {func: float(weight) for func, weight in zip(funcs, weights, strict=True)}


def _after(words: list[str], option: str) -> list[str]:
    if option not in words:
        return []
    rest = words[words.index(option) + 1 :]
    return rest[: next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))]


def headroom_of(plan: Plan, name: str, seed: int, output: Path) -> dict[str, Any] | None:
    """Headroom of what a GRPO training goes on from, under the training's own reward."""
    path = output / plan.folder(name, seed) / "headroom.jsonl"
    if not path.is_file():
        return None
    sampled = Sampled.read(path)
    own = {k: v for k, v in plan.environment(name).items() if k.startswith(PREFIX) and "OUTPUT" not in v}

    def with_own(row_truth: RowTruth) -> RowTruth:
        texts = row_truth.settings.to_texts() | {k.removeprefix(PREFIX).lower(): v for k, v in own.items()}
        return replace(row_truth, settings=Settings.from_texts(texts))

    mine = Sampled([with_own(c) for c in sampled.row_truths], sampled.videos, sampled.greedy, sampled.samples)
    return measure(mine, weights_of(plan.trainings[name]))["figures"]


def report(plan: Plan, seeds: list[int], output: Path, split: str, voting: int = 0) -> dict[str, Any]:
    """Everything as JSON data.

    Raises:
        RunnerError: there is nothing, or what is there was made by other commands than the plan's.
    """
    known = {task.result: task for task in tasks(plan, plan.trainings, seeds, split, voting=voting)}
    refuse_stale(list(known.values()), output)
    of_worlds: dict[str, dict[tuple[str, int], Cell]] = {}
    for name in plan.trainings:
        for seed in seeds:
            for world, path in plan.answers(name, seed, split).items():
                if known[path].is_done(output):
                    of_worlds.setdefault(world, {})[name, seed] = read_cell(output / path)
    world = next(iter(plan.worlds))
    cells = of_worlds.pop(world, {})
    if not cells:
        raise RunnerError(f"no answers to {split} of {world} in {output}: run run.py first")
    found: dict[str, Any] = {"split": split, "clips": len(next(iter(cells.values())).ids), "cells": {}, "questions": []}
    for (name, seed), cell in cells.items():
        own = _means(cell) | {"train_s": train_seconds(output / plan.folder(name, seed))}
        elsewhere = {other: _means(of[name, seed]) for other, of in of_worlds.items() if (name, seed) in of}
        found["cells"].setdefault(name, {})[str(seed)] = own | {"elsewhere": elsewhere}
    for question in plan.questions:
        pairs = {
            f"{one} - {other}": {metric: difference(cells, (one, other), metric) for metric in METRICS}
            for one, other in question["pairs"]
        }
        pairs = {name: values for name, values in pairs.items() if values["m_vIoU"] is not None}
        found["questions"].append({"ask": question["ask"], "pairs": pairs})
    if voting:
        gains = voting_gains(plan, known, seeds, output, split, voting)
        found |= {"voting": {"samples": voting, "gains": gains}} if gains else {}
    found["headroom"] = []
    for name, seed in cells:
        start, args = plan.trainings[name].get("from"), plan.trainings[name].get("args", "")
        start = start or next((other for other, spec in plan.trainings.items() if "recipe" not in spec), None)
        if plan.trainings[name].get("recipe") != "grpo" or (start, seed) not in cells or "--temperature" in args:
            continue  # headroom was sampled at the temperature of the others
        figures = headroom_of(plan, name, seed, output)
        if figures is None:
            continue
        gain = difference({k: v for k, v in cells.items() if k[1] == seed}, (name, start), "m_vIoU")
        better = figures["gain"]["share of samples"]["better than greedy"]
        found["headroom"].append(
            {
                "cell": name,
                "start": start,
                "seed": seed,
                "better": better,
                "gain": gain and [gain["mean"], *gain["clips"]],
            }
            | {"worse": figures["gain"]["share of samples"]["worse than greedy"]}
            | {"best - greedy": figures["gain"]["m_vIoU"]["best - greedy"]}
            | {"too wide": figures["bias"]["boxes: share too wide"]["greedy"]}
            | {"too long": figures["bias"]["span: length, share too long"]["greedy"]}
        )
    return found


def as_markdown(found: dict[str, Any]) -> str:
    """The report as tables."""
    lines = [f"{found['clips']} clips of {found['split']}, percent, mean over seeds", ""]
    lines += [
        "| training | seeds | scored | " + " | ".join(METRICS) + " |",
        "|---" * (3 + len(METRICS)) + "|",
    ]
    for name, seeds in found["cells"].items():
        means = [f"{100 * np.mean([s[metric] for s in seeds.values()]):.1f}" for metric in METRICS]
        scored = np.mean([s["scored"] for s in seeds.values()]) / found["clips"]
        lines.append(f"| {name} | {len(seeds)} | {100 * scored:.0f} | " + " | ".join(means) + " |")
    worlds = sorted({world for seeds in found["cells"].values() for s in seeds.values() for world in s["elsewhere"]})
    if worlds:
        lines += [
            "",
            "| m_tIoU / m_vIoU on other clips | " + " | ".join(worlds) + " |",
            "|---" * (1 + len(worlds)) + "|",
        ]
        for name, seeds in found["cells"].items():
            texts = [_elsewhere([s["elsewhere"][w] for s in seeds.values() if w in s["elsewhere"]]) for w in worlds]
            lines.append(f"| {name} | " + " | ".join(texts) + " |")
    lines += ["", "| difference, points | " + " | ".join(METRICS[:2]) + " | seeds, m_vIoU |", "|---" * 4 + "|"]
    for question in found["questions"]:
        if question["pairs"]:
            lines.append(f"| **{question['ask']}** | | | |")
        for name, metrics in question["pairs"].items():
            each = ", ".join(f"{100 * value:+.1f}" for value in metrics["m_vIoU"]["seeds"].values())
            lines.append(f"| {name} | {_figure(metrics['m_tIoU'])} | {_figure(metrics['m_vIoU'])} | {each} |")
    if "voting" in found:
        lines += ["", *_voting_lines(**found["voting"])]
    if found["headroom"]:
        lines += ["", *_headroom_lines(found["headroom"])]
    return "\n".join(lines) + "\n"


def _voting_lines(samples: int, gains: Gains) -> list[str]:
    """What joining sampled answers gives over the greedy answer."""
    head = f"| {samples} answers joined, minus the greedy answer, points | {' | '.join(METRICS[:2])} | seeds, m_vIoU |"
    lines = [head, "|---" * 4 + "|"]
    for name, rules in gains.items():
        for rule in RULES:
            gain = rules[rule]
            each = ", ".join(f"{100 * value:+.1f}" for value in gain["m_vIoU"]["seeds"].values())
            lines.append(f"| {name}, {rule} | {_figure(gain['m_tIoU'])} | {_figure(gain['m_vIoU'])} | {each} |")
    return lines


def _headroom_lines(points: list[dict[str, Any]]) -> list[str]:
    """What the starts promised and GRPO with all its rewards, the plan's first from each, gave; and its rank order."""
    names = {point["start"]: point["cell"] for point in reversed(points)}
    mine = [point for point in points if point["cell"] == names[point["start"]]]
    lines = [f"| start, seed | {' | '.join(PROMISES.values())} | GRPO's gain in m_vIoU |", "|---" * 6 + "|"]
    for point in mine:
        values = [point[column][0] for column in (*PROMISES, "gain")]
        texts = ("-" if value is None else f"{100 * value:+.1f}" for value in values)
        lines.append(f"| {point['start']}, {point['seed']} | {' | '.join(texts)} |")
    lines += ["", "Rank order of the gain with", ""]
    return [*lines, *(f"- {title}: {_correlation(mine, column)}" for column, title in PROMISES.items())]


def _elsewhere(cells: list[dict[str, Any]]) -> str:
    """Means over seeds on the clips of one other world."""
    return " / ".join(f"{100 * np.mean([cell[m] for cell in cells]):.1f}" for m in METRICS[:2]) if cells else "-"


def _figure(values: dict[str, Any]) -> str:
    ends = "[{:+.1f}, {:+.1f}]".format(*(100 * end for end in values["clips"]))
    student = " ({:+.1f}, {:+.1f})".format(*(100 * e for e in values["student"])) if "student" in values else ""
    return f"{100 * values['mean']:+.1f} {ends}{student}"


def _correlation(points: list[dict[str, Any]], column: str) -> str:
    points = [point for point in points if point[column][0] is not None]
    if len(points) < 3:
        return "too few starts"
    result = stats.spearmanr([p[column][0] for p in points], [p["gain"][0] for p in points])
    return f"Spearman's rho {result.statistic:.2f} over {len(points)} starts"


def deliver(
    find: Callable[[], dict[str, Any]], as_text: Callable[[dict[str, Any]], str], json_file: Path | None
) -> dict[str, Any] | None:
    """Print a report as text, and write it as JSON. Returns it; None after an error message."""
    try:
        found = find()
    except RunnerError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return None
    print(as_text(found), end="")
    if json_file:
        json_file.write_text(json.dumps(found, indent=1) + "\n")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--figure", type=Path, metavar="FILE.png")
    parser.add_argument("--json", type=Path, metavar="FILE.json")
    args = parser.parse_args()
    plan = Plan.read(args.plan)
    found = deliver(
        lambda: report(plan, args.seeds or plan.seeds, args.output, args.split, args.voting), as_markdown, args.json
    )
    if found is None:
        return 1
    if args.figure:
        from figure import draw

        draw(found, args.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
