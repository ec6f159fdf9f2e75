"""Measuring things in turns, so that what else the machine does falls on all of them alike."""

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
        rounds: measurements of each thing, of which the median counts; one before them fills caches.
        quick: whether sizes are small, to see that everything runs and about where it lies.
    """

    rounds: int
    quick: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    Attributes:
        what: was measured.
        ours: by this package.
        unit: of `ours` and `theirs`.
        baseline: what it is compared with, if with anything.
        theirs: what that took.
        peak_mb: most memory of the process, if it had one of its own.
        at: numbers that `what` names, for plots.
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
        """How many times more the baseline takes."""
        return None if self.theirs is None else self.theirs / self.ours


def medians(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each function, called in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


# A process counts the memory of the one that it was forked from as its own: this small one stands in between
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
    """Medians of whole-process seconds, most memory in MB, and what was last printed, of commands run in turns."""
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
