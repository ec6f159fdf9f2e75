"""`swift-stvg bench`: what things cost here, as ratios to a baseline that is measured in the same run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from swift_stvg import __version__
from swift_stvg.bench.measure import Result, Scale
from swift_stvg.commands.shared import check_writable
from swift_stvg.errors import DataError
from swift_stvg.report.text.bench import render_bench
from swift_stvg.report.text.blocks import REPORT_FORMATS
from swift_stvg.settings import PREFIX, Settings
from swift_stvg.util.writing import write_text_atomic

ROUNDS = 5
BENCHMARKS = {
    "score": "whole `swift-stvg score` processes",
    "rewards": "the five rewards of a GRPO step",
    "video": "decoding and cached frames",
    "step": "the host's video work of a GRPO step, with the stock template and ours",
    "load": "VidSTG's annotations to rows",
}
"""Name of each module in `swift_stvg.bench` with a function `measure`, and what it measures."""
ONCE = ("step", "load")
"""Those of which one measurement takes minutes; it is taken once, after one that fills caches."""
PACKAGES = (
    *("ms-swift", "torch", "torchvision", "transformers", "qwen-vl-utils", "decord", "av", "torchcodec", "pillow"),
    *("msgspec", "numpy"),
)


def add_options(bench: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    kinds = "; ".join(f"{name}: {meaning}" for name, meaning in BENCHMARKS.items())
    bench.add_argument("what", nargs="*", help=f"{kinds} (default: all)")
    bench.add_argument("--rounds", type=int, help=f"measurements of each (default: {ROUNDS}, with --quick 1)")
    bench.add_argument("--quick", action="store_true", help="smaller sizes, and one round")
    bench.add_argument("--format", choices=REPORT_FORMATS, default="table", help="default: table")
    bench.add_argument("--out", type=Path, metavar="FILE", help="write the figures there too, as JSON")
    bench.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, and print a table."""
    unknown = [name for name in args.what if name not in BENCHMARKS]
    rounds = args.rounds if args.rounds is not None else 1 if args.quick else ROUNDS
    if unknown or rounds < 1:
        raise DataError(f"the benchmarks are: {', '.join(BENCHMARKS)}, with at least one round; got {args.what}")
    check_writable(args.out)
    scale = Scale(rounds, args.quick)
    results: list[Result] = []
    try:
        with _default_settings():
            for name in args.what or BENCHMARKS:
                print(f"measuring {BENCHMARKS[name]}", file=sys.stderr)
                measure: Callable[[Path, Scale], Iterator[Result]] = import_module(f"swift_stvg.bench.{name}").measure
                with tempfile.TemporaryDirectory() as folder:
                    results.extend(measure(Path(folder), scale))
    finally:  # what was measured is not lost by what fails later
        report = {
            **machine(),
            "settings": Settings().to_texts(),
            "rounds": {name: 1 if name in ONCE else rounds for name in args.what or BENCHMARKS},
            "quick": args.quick,
            "results": [asdict(result) | {"ratio": result.ratio} for result in results],
        }
        print(render_bench(report, args.format), end="")
        if args.out:
            write_text_atomic(args.out, json.dumps(report, indent=1) + "\n")
    return 0


@contextmanager
def _default_settings() -> Iterator[None]:
    """Without the caller's STVG_* settings: figures are those of the defaults."""
    mine = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(PREFIX)}
    try:
        yield
    finally:
        os.environ.update(mine)


def machine() -> dict[str, Any]:
    """What a figure was measured with: this package, the machine, and what is installed."""
    return {
        "swift_stvg": __version__,
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version()} | dict(_versions()),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _cpu() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
