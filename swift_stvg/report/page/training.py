"""Training curves from the `logging.jsonl` of ms-swift, which an interrupted run goes on writing to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from swift_stvg.errors import DataError
from swift_stvg.util.json_reading import PARSE_ERRORS, json_integer

STEP = "global_step/max_steps"
WANTED = re.compile(r"(eval_)?(loss|reward|token_acc|rewards/[^/]{1,60}/mean|m_tIoU|m_vIoU|v?t?IoU@[0-9.]+)")
"""Names of the figures that are shown; evaluation's stand beside training's."""


@dataclass(frozen=True, slots=True)
class Curves:
    """What was logged, by name: step to value.

    Attributes:
        of: name to values by step, in the order of the steps.
        notes: what is worth knowing of the file.
    """

    of: dict[str, dict[int, float]]
    notes: list[str] = field(default_factory=list)


def read_curves(path: Path) -> Curves:
    """Read a log. Where a run was resumed, or begun anew, at an earlier step, what was logged beyond it is forgotten.

    Raises:
        DataError: the file cannot be read or holds no step.
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
        raise DataError(f"{path} holds no step of a training as ms-swift's logging.jsonl does")
    notes = [f"{unreadable} lines could not be read"] if unreadable else []
    if resumed:
        notes.append(f"resumed, or begun anew, before step {', '.join(map(str, resumed[:8]))}; the later run counts")
    return Curves(curves, notes)
