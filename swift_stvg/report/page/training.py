"""Training curves from ms-swift's `logging.jsonl`. A resumed run continues the file of the interrupted run."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from swift_stvg.errors import DataError
from swift_stvg.util.json_reading import PARSE_ERRORS, json_integer

STEP = "global_step/max_steps"
WANTED = re.compile(r"(eval_)?(loss|reward|token_acc|rewards/[^/]{1,60}/mean|m_tIoU|m_vIoU|v?t?IoU@[0-9.]+)")
"""Names of the figures that are shown, of training and of evaluation."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Logged figures.

    Attributes:
        of: for each name, the values by step, in the order of the steps.
        notes: notes about the file for the reader.
    """

    of: dict[str, dict[int, float]]
    notes: list[str] = field(default_factory=list)


def read_curves(path: Path) -> Curves:
    """Read a log. If a run was resumed at an earlier step or started again, only the later run's steps count.

    Raises:
        DataError: the file cannot be read, or holds no step of a training.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    curves: dict[str, dict[int, float]] = {}
    unreadable, resumed, last = 0, [], 0
    for line in filter(str.strip, lines):
        try:
            data = json.loads(line)
            step = json_integer(int(data[STEP].split("/")[0])) if data.get(STEP) is not None else None
        except PARSE_ERRORS:
            unreadable += 1
            continue
        if step is None:  # ms-swift's summary at the end of a run
            continue
        if step < last:
            resumed.append(step)
            for values in curves.values():
                for beyond in [known for known in values if known >= step]:
                    del values[beyond]
        last = step
        for name, value in data.items():
            if isinstance(value, int | float) and abs(value) < 1e30 and WANTED.fullmatch(name):
                curves.setdefault(name, {})[step] = float(value)
    curves = {name: values for name, values in curves.items() if values}
    if not curves:
        raise DataError(f"{path} holds no step of a training: give the logging.jsonl of ms-swift")
    notes = [f"{unreadable} lines could not be read"] if unreadable else []
    if resumed:
        notes.append(f"resumed or started again before step {', '.join(map(str, resumed[:8]))}; the later run counts")
    return Curves(curves, notes)
