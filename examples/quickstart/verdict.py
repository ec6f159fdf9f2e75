"""What a run of the quickstart says about GRPO, computed from its answers.

    python examples/quickstart/verdict.py [--output DIR] [--json FILE.json]

Differences are taken clip by clip between two trainings, in points of the metric; intervals (95%) resample the clips.
They say what other clips might have given, not what another training, or another machine, might have.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "learning_benchmark"))
from report import METRICS, deliver, report
from run import Plan
from steps import RunnerError

HERE = Path(__file__).resolve().parent
NAMES = {
    "start": "the start",
    "sft": "SFT on the exact boxes",
    "grpo": "GRPO rewarded by these boxes",
}
PAIRS = ("grpo - start", "grpo - sft", "sft - start")
SHOWN = METRICS[:2]
MORE, LESS, EITHER = "more", "less", "undecided"


def sign(difference: dict[str, Any]) -> str:
    """MORE or LESS if the interval over clips leaves 0 out; else EITHER."""
    low, high = difference["clips"]
    return MORE if low > 0 else LESS if high < 0 else EITHER


def in_words(pair: str, metric: str, difference: dict[str, Any]) -> str:
    """One sentence about a difference."""
    one, other = pair.split(" - ")
    low, high = (100 * end for end in difference["clips"])
    figures = f"{100 * difference['mean']:+.1f} points [{low:+.1f}, {high:+.1f}]"
    said = {
        MORE: f"{NAMES[one]} is better than {NAMES[other]}",
        LESS: f"{NAMES[one]} is worse than {NAMES[other]}",
        EITHER: f"between {NAMES[one]} and {NAMES[other]} these clips do not decide",
    }[sign(difference)]
    return f"In {metric} {said}: {figures}."


def measured(output: Path, seed: int) -> dict[str, Any]:
    """Metrics of each training of a seed (`cells`), and the differences of PAIRS in SHOWN (`pairs`).

    Raises:
        RunnerError: results are missing.
    """
    found = report(Plan.read(HERE / "plan.yaml"), [seed], output, "test")
    pairs = {pair: values for question in found["questions"] for pair, values in question["pairs"].items()}
    if missing := [pair for pair in PAIRS if pair not in pairs]:
        raise RunnerError(f"no results of {', '.join(missing)} in {output}: run run.sh first")
    cells = {name: of_seed[str(seed)] for name, of_seed in found["cells"].items()}
    return {"clips": found["clips"], "cells": cells, "pairs": {p: {m: pairs[p][m] for m in SHOWN} for p in PAIRS}}


def as_text(found: dict[str, Any]) -> str:
    """The table and the sentences."""
    lines = [f"| {found['clips']} held-out clips, percent | " + " | ".join(METRICS) + " |", "|---" * 5 + "|"]
    for name, title in NAMES.items():
        figures = " | ".join(f"{100 * found['cells'][name][metric]:.1f}" for metric in METRICS)
        lines.append(f"| {title} | {figures} |")
    lines.append("")
    lines += [in_words(pair, metric, found["pairs"][pair][metric]) for metric in reversed(SHOWN) for pair in PAIRS]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("quickstart_output"), help="default: quickstart_output")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="write what was measured there, too")
    args = parser.parse_args()
    return int(deliver(lambda: measured(args.output, args.seed), as_text, args.json) is None)


if __name__ == "__main__":
    sys.exit(main())
