"""The quickstart over seeds and over the numerics that one machine can take on: what holds in every run?

    python examples/quickstart/robust.py [--seeds 1 2 3 4 5] [--results FILE.json]

Rounding differs between instruction sets and numbers of threads, and with it every training. Each run is the
quickstart's commands under one of them. What is done is not done again. The results file is written after each run. The
table of what it holds, from this call and from earlier ones, is printed at the end; `--print` prints that table alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from verdict import EITHER, LESS, MORE, NAMES, PAIRS, SHOWN, measured, sign

HERE = Path(__file__).resolve().parent
CAPABILITIES = ("avx512", "avx2", "default")
THREADS = (1, 2)
RUNNER = HERE.parent / "learning_benchmark/run.py"


def capabilities(flags: str) -> list[str]:
    """What ATEN_CPU_CAPABILITY can be on a processor with these flags."""
    return [
        name for name in CAPABILITIES if name == "default" or {"avx512": "avx512f"}.get(name, name) in flags.split()
    ]


def cpu() -> tuple[str, str]:
    """Name and flags of this machine's processor, as Linux has them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return known.get("model name", platform.machine()), known.get("flags", "")


def one_run(output: Path, seed: int, capability: str, threads: int) -> dict[str, Any]:
    """Run the quickstart's trainings under these numerics, or find them done; what was measured.

    Raises:
        CalledProcessError: a command failed; it has said why.
    """
    folder = output / f"{capability}-{threads}"
    env = os.environ | {"ATEN_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": str(threads)}
    words = [sys.executable, str(RUNNER), "--plan", str(HERE / "plan.yaml"), "--seeds", str(seed), "--no_headroom"]
    subprocess.run([*words, "--jobs", "1", "--output", str(folder)], env=env, check=True)
    return measured(folder, seed)


def claims(runs: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """(pair, metric) of the differences whose sign is the same, and not undecided, in every run, with that sign."""
    found = {}
    for pair, metric in product(PAIRS, SHOWN):
        signs = {sign(run["pairs"][pair][metric]) for run in runs}
        if len(signs) == 1 and EITHER not in signs:
            found[pair, metric] = signs.pop()
    return found


def table(runs: list[dict[str, Any]]) -> str:
    """Ranges over all runs, and which signs hold in each of them."""
    machines = ", ".join(sorted({run["cpu"] for run in runs}))
    numerics = sorted({f"{run['capability']} with {run['threads']}" for run in runs})
    lines = [
        f"{len(runs)} runs on {machines}: seeds {', '.join(map(str, sorted({run['seed'] for run in runs})))}; "
        f"instructions and threads {', '.join(numerics)}.",
        "",
        "| lowest to highest, percent | " + " | ".join(SHOWN) + " |",
        "|---" * (1 + len(SHOWN)) + "|",
    ]

    def reach(values: list[float], form: str) -> str:
        low, high = (format(100 * value + 0.0, form) for value in (min(values), max(values)))
        return low if low == high else f"{low} to {high}"

    for name, title in NAMES.items():
        figures = (reach([run["cells"][name][metric] for run in runs], ".1f") for metric in SHOWN)
        lines.append(f"| {title} | " + " | ".join(figures) + " |")
    claimed = claims(runs)
    for pair in PAIRS:
        one, other = pair.split(" - ")
        cells = []
        for metric in SHOWN:
            found = [run["pairs"][pair][metric] for run in runs]
            counts = {word: sum(sign(difference) == word for difference in found) for word in (MORE, LESS, EITHER)}
            said = ", ".join(f"{word} in {n}" for word, n in counts.items() if n)
            if (pair, metric) in claimed:
                said = f"**{claimed[pair, metric]} in all**"
            cells.append(f"{reach([difference['mean'] for difference in found], '+.1f')}: {said}")
        lines.append(f"| {NAMES[one]}, against {NAMES[other]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    name, flags = cpu()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="default: 1 to 5")
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS), help="default: 1 and 2")
    parser.add_argument("--capabilities", nargs="+", choices=CAPABILITIES, default=capabilities(flags))
    parser.add_argument("--output", type=Path, default=Path("robust_output"), help="default: robust_output")
    parser.add_argument(
        "--results", type=Path, default=HERE / "robust.json", help="default: robust.json beside this file"
    )
    parser.add_argument("--print", action="store_true", help="print the table of the results that are there")
    args = parser.parse_args()
    runs: list[dict[str, Any]] = json.loads(args.results.read_text()) if args.results.is_file() else []
    if not args.print:
        for seed, threads, capability in product(args.seeds, args.threads, args.capabilities):
            key = {"seed": seed, "capability": capability, "threads": threads, "cpu": name}
            print(f"== seed {seed}, {capability}, {threads} thread(s)", flush=True)
            try:
                found = one_run(args.output, seed, capability, threads)
            except subprocess.CalledProcessError as error:
                return error.returncode
            runs = [run for run in runs if any(run[part] != value for part, value in key.items())] + [key | found]
            part = args.results.with_suffix(".part")
            part.write_text(json.dumps(runs, indent=1) + "\n")
            part.replace(args.results)
    if not runs:
        print(f"robust.py: no results in {args.results}", file=sys.stderr)
        return 1
    print(table(runs), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
