"""Figures of others, in percent, as printed in "Thinking With Bounding Boxes" (STVG-o1), arXiv 2511.21375.

None of them was computed here. The paper does not name its evaluator; `cg_stvg` is the most plausible one (its first
author wrote CG-STVG and TA-STVG), which is an inference.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "arXiv 2511.21375"
METRICS = ("m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5")


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a published table.

    Attributes:
        split: dataset and subset.
        query: kind of sentences, or None for all.
        method: as named there.
        table: of the paper.
        values: percent, in the order of `METRICS`; None where not printed.
    """

    split: str
    query: str | None
    method: str
    table: str
    values: tuple[float | None, ...]


def _rows(split: str, query: str | None, table: str, *rows: tuple[str, tuple[float | None, ...]]) -> list[Published]:
    return [Published(split, query, method, table, values) for method, values in rows]


PUBLISHED = [
    *_rows(
        "hcstvg_v1:test",
        None,
        "Tab. 1",
        ("STVG-o1", (60.3, 44.1, 73.3, 43.5)),
        ("SpaceVLLM", (56.9, 39.3, 66.6, 36.9)),
        ("TA-STVG", (53.0, 39.1, 63.1, 36.8)),
        ("CG-STVG", (52.8, 38.4, 61.5, 36.3)),
        ("Qwen2.5-VL, SFT", (53.5, 28.6, 45.2, 21.9)),
        ("Qwen2.5-VL, zero-shot", (25.6, 19.1, 20.2, 12.6)),
        ("Gemini-2.5-Pro", (55.1, 25.9, 39.1, 9.9)),
    ),
    *_rows(
        "hcstvg_v1:test",
        None,
        "Tab. 4, trained on VidSTG",
        ("STVG-o1", (45.9, 32.2, 50.8, 25.5)),
        ("TA-STVG", (30.1, 20.9, 30.8, 11.5)),
    ),
    *_rows("hcstvg_v1:test", None, "Tab. 5", ("RFT without think boxes", (58.5, 41.8, None, None))),
    *_rows("hcstvg_v1:test", None, "Tab. 6", ("without the think reward", (59.3, 42.2, None, None))),
    *_rows(
        "hcstvg_v1:test",
        None,
        "Tab. 7",
        ("GIoU only", (58.6, 40.6, None, None)),
        ("L1 only", (58.5, 39.9, None, None)),
    ),
    *_rows(
        "hcstvg_v1:test",
        None,
        "Tab. 8",
        ("think weight 0.2", (None, 42.5, None, None)),
        ("think weight 1.0", (None, 43.8, None, None)),
    ),
    *_rows(
        "hcstvg_v2:val",
        None,
        "Tab. 2",
        ("STVG-o1", (63.8, 41.2, 68.5, 39.6)),
        ("TA-STVG", (60.4, 40.2, 65.8, 36.7)),
        ("Qwen2.5-VL, zero-shot", (22.9, 13.0, 15.6, 6.4)),
    ),
    *_rows(
        "vidstg:test",
        "declarative",
        "Tab. 3",
        ("STVG-o1", (52.1, 33.5, 48.4, 32.0)),
        ("TA-STVG", (51.7, 34.4, 48.2, 33.5)),
    ),
    *_rows(
        "vidstg:test",
        "interrogative",
        "Tab. 3",
        ("STVG-o1", (50.5, 27.9, 39.8, 26.0)),
        ("TA-STVG", (50.2, 29.5, 41.5, 28.0)),
    ),
]
"""The rows, dataset by dataset."""


def published_for(splits: list[str]) -> list[Published]:
    """The rows about these subsets, such as "vidstg:test"; those of one kind of query for its own subset."""
    return [row for row in PUBLISHED if row.split in splits or f"{row.split}_{row.query}" in splits]
