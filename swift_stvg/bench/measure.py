"""Measurements in turns, so that other work of the machine affects all of them alike."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swift_stvg.errors import StvgError


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to measure.

    Attributes:
        rounds: number of measurements; their median counts. One more run before them fills caches.
        quick: whether sizes are small, for a quick trial.
    """

    rounds: int
    quick: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    Attributes:
        what: description of the measurement.
        ours: the value of this package.
        unit: unit of `ours` and `theirs`.
        baseline: name of the baseline; None without a comparison.
        theirs: the value of the baseline.
        peak_mb: largest memory of the process in MB, if the measurement had its own process.
        at: the numbers in `what` by name, for plots.
    """

    what: str
    ours: float
    unit: str
    baseline: str | None = None
    theirs: float | None = None
    peak_mb: float | None = None
    at: Mapping[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The baseline's value divided by ours."""
        return None if self.theirs is None else self.theirs / self.ours


def medians(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each function. The functions are called in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


# a forked process counts the memory of its parent as its own: this small process is the parent
_LAUNCHER = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
os.write(int(sys.argv[1]), f"{time.perf_counter() - start} {usage.ru_maxrss}".encode())
sys.exit(0 if status == 0 else 1)
"""


def processes(
    commands: Mapping[str, list[str]], rounds: int, env: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Run commands in turns. Returns their median seconds, their largest memory in MB, and their last output."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    megabytes = dict.fromkeys(commands, 0.0)
    printed: dict[str, str] = {}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    for _ in range(rounds + 1):  # the first round fills the disk's cache
        for name, words in commands.items():
            with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as told:
                launcher = [sys.executable, "-S", "-c", _LAUNCHER, str(told.fileno()), *words]
                status = subprocess.run(
                    launcher, env=clean | dict(env), stdout=out, stderr=subprocess.STDOUT, pass_fds=[told.fileno()]
                ).returncode
                for file in (out, told):
                    file.seek(0)
                printed[name] = out.read()
                if status:
                    raise StvgError(f"{' '.join(words)} ended with status {status}: {printed[name][-500:]}")
                took_s, peak_kb = map(float, told.read().split())
            seconds[name].append(took_s)
            megabytes[name] = max(megabytes[name], peak_kb / 1024)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}, megabytes, printed
