"""`swift-stvg bench`: measure speed and memory on this machine, compared with a baseline in the same run."""

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
    "score": "whole processes of `swift-stvg score`",
    "rewards": "the five rewards of a GRPO step",
    "video": "decoding frames, and reading cached frames",
    "step": "the CPU's video work of a GRPO step, with the stock template and with ours",
    "load": "making rows from VidSTG's annotations",
}
"""For each module in `swift_stvg.bench` with a function `measure`, what it measures."""
ONCE = ("step", "load")
"""Benchmarks that take minutes. They are measured once, after a run that fills caches."""
PACKAGES = (
    *("ms-swift", "torch", "torchvision", "transformers", "qwen-vl-utils", "decord", "av", "torchcodec", "pillow"),
    *("msgspec", "numpy"),
)


def add_options(bench: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    kinds = "; ".join(f"{name}: {meaning}" for name, meaning in BENCHMARKS.items())
    bench.add_argument("what", nargs="*", help=f"what to measure. {kinds} (default: all)")
    bench.add_argument("--rounds", type=int, help=f"number of measurements (default: {ROUNDS}; with --quick: 1)")
    bench.add_argument("--quick", action="store_true", help="measure smaller sizes, and only once")
    bench.add_argument(
        "--format", choices=REPORT_FORMATS, default="table", help="format of the report (default: table)"
    )
    bench.add_argument("--out", type=Path, metavar="FILE", help="write the report to this file too, as JSON")
    bench.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, and print a table."""
    unknown = [name for name in args.what if name not in BENCHMARKS]
    rounds = args.rounds if args.rounds is not None else 1 if args.quick else ROUNDS
    if unknown or rounds < 1:
        raise DataError(
            f"the benchmarks are {', '.join(BENCHMARKS)}, and --rounds must be at least 1; "
            f"got {' '.join(args.what) or 'all'} with {rounds} rounds"
        )
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
    finally:  # results are kept if a later benchmark fails
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
    """Remove the STVG_* settings from the environment for a while: benchmarks use the default settings."""
    mine = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(PREFIX)}
    try:
        yield
    finally:
        os.environ.update(mine)


def machine() -> dict[str, Any]:
    """The versions of this package and of others, and the machine."""
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
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
