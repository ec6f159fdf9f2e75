"""Result files for pages, and the data of a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.answers.format import Answer, BoxList
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows
from swift_stvg.synthetic.clips import SynthConfig, generate

CLIPS = 8


def moved(row: RowTruth, think: float, pred: float) -> str:
    """The exact answer with boxes shifted by so many of their widths."""

    def shifted(by: float) -> BoxList:
        xyxy = row.answer.pred.boxes_xyxy if row.answer.pred else np.empty((0, 4))
        by_x = np.rint(by * (xyxy[:, 2] - xyxy[:, 0]))
        return BoxList(np.arange(row.span[0], row.span[1] + 1), xyxy + np.outer(by_x, [1.0, 0.0, 1.0, 0.0]))

    return row.format.render(Answer(row.span, shifted(think) if row.format.think else None, shifted(pred)))


ANSWERS: list[Callable[[RowTruth], str]] = [
    lambda row: moved(row, 0.3, 0.0),  # best, and most improved
    lambda row: moved(row, 0.0, 0.3),  # most damaged
    lambda row: moved(row, 0.2, 0.1),
    lambda row: moved(row, 0.8, 0.8),  # worst that counts
    lambda row: moved(row, 0.1, 0.1),
    lambda row: "I do not know.",
    lambda row: moved(row, 0.1, 0.0)[:-20],
    lambda row: moved(row, 0.4, 0.3),
]


OTHERS: list[Callable[[RowTruth], str]] = [
    lambda row: moved(row, 0.3, 0.6),  # worse than ANSWERS, and no longer right
    lambda row: moved(row, 0.0, 0.0),  # better
    lambda row: moved(row, 0.2, 0.1),  # the same
    lambda row: moved(row, 0.8, 0.0),  # better, and now right
    lambda row: moved(row, 0.1, 0.2),
    lambda row: moved(row, 0.1, 0.0),  # right, where ANSWERS counts 0
    lambda row: "I do not know.",  # counts 0 in both
    lambda row: moved(row, 0.4, 0.3),
]
"""Answers of a second system to the rows of ANSWERS."""


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with synthetic clips."""
    root = tmp_path_factory.mktemp("shapes")
    generate(root / "stvg_synthetic", {"test": CLIPS}, SynthConfig(duration_s=2.0), workers=1)
    return root


def rows_of(root: Path, **settings: Any) -> list[dict[str, Any]]:
    return load_rows("stvg_synthetic", "test", Settings(data_root=str(root), cache_dir=None, **settings))[0]


def write_result(
    path: Path, rows: list[dict[str, Any]], answers: list[Callable[[RowTruth], str]] | None = None
) -> Path:
    """A result file of `swift infer`."""
    lines = []
    for row, write in zip(rows, answers or ANSWERS, strict=True):
        text = write(RowTruth.from_json(row["stvg"]))
        messages = [*row["messages"][:-1], {"role": "assistant", "content": text}]
        lines.append(json.dumps(row | {"response": text, "messages": messages}) + "\n")
    path.write_text("".join(lines))
    return path


def data_of(folder: Path) -> dict[str, Any]:
    text = (folder / "index.html").read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def logged(step: int, of: int = 20, **figures: Any) -> str:
    return json.dumps({"loss": 1.0 - step / 100, "global_step/max_steps": f"{step}/{of}"} | figures) + "\n"
