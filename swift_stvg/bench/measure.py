"""Measuring things in turns, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import os
import statistics
import subprocess
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
            with tempfile.TemporaryFile("w+") as out:
                start = time.perf_counter()
                process = subprocess.Popen(words, env=clean | dict(env), stdout=out, stderr=subprocess.STDOUT)
                _, status, usage = os.wait4(process.pid, 0)
                seconds[name].append(time.perf_counter() - start)
                process.returncode = os.waitstatus_to_exitcode(status)
                out.seek(0)
                printed[name] = out.read()
            if process.returncode:
                raise StvgError(f"{' '.join(words)} ended with status {process.returncode}: {printed[name][-500:]}")
            megabytes[name] = max(megabytes[name], usage.ru_maxrss / 1024)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}, megabytes, printed
