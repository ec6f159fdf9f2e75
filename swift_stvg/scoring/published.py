"""Figures of others, in percent, as their sources print them. None was computed here.

Where they were read, in November 2026:

- Tab. 1 to 8 and Fig. 4 of STVG-o1, "Thinking With Bounding Boxes" (arXiv 2511.21375v1, 26 November 2025): the text of
  its PDF. Figures of other methods are what these tables print of them. In the row of PCC the text lacks one of three
  dashes; ScanFocus prints the same row with m_vIoU alone.
- ScanFocus, "A Coarse-to-Fine Framework for Spatio-Temporal Video Grounding" (arXiv 2607.13421, July 2026): the text of
  its Tab. 1 to 3, which agree with STVG-o1's on every row that both print.
- STVG-R1 (arXiv 2602.11730, February 2026): README.md of github.com/XiaowZhang00/stvg-r1 at commit 0bea9e57. Its
  evaluate.py follows none of the protocols here: tIoU is of seconds, vIoU of frames with both ends included.

Left out: Bridge-STG (arXiv 2604.08014, April 2026). Its tables were not found, only its average over both kinds of
VidSTG's sentences, m_vIoU 34.3.

No official code of STVG-o1 was found by then, and its paper does not name its evaluator: see `CANDIDATES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

METRICS = ("m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5")
PAPER = "arXiv 2511.21375"
CANDIDATES = ("tubedetr", "cg_stvg")
"""Protocols that STVG-o1's tables may follow, equally likely by what is known.

Its text sends the reader to TubeDETR for the details of the metrics. Its first author wrote CG-STVG and TA-STVG, whose
READMEs say that their evaluation is borrowed from TubeDETR; their code scores every frame, TubeDETR's 5 per second.
"""


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a published table.

    Attributes:
        split: dataset and subset.
        query: kind of sentences, or None for all.
        part: the table and the part of it that the row stands in, or when it was published.
        method: as named there, or what is varied.
        source: where it is printed.
        date: year and month of the source.
        values: percent, in the order of `METRICS`; None where a dash is printed.
    """

    split: str
    query: str | None
    part: str
    method: str
    source: str
    date: str
    values: tuple[float | None, ...]


def _paper(split: str, table: str, title: str, text: str, queries: tuple[str | None, ...] = (None,)) -> list[Published]:
    """The rows of a part of one of the paper's tables, as text: a method, and four figures for each kind of query."""
    source, date = f"{PAPER}, {table}", "2025-11"
    return [
        Published(split, query, f"{source} ({date}), {title}", method, source, date, values)
        for i, query in enumerate(queries)
        for method, figures in _lines(text, len(queries))
        for values in [figures[i]]
    ]


def _since(split: str, query: str | None, text: str) -> list[Published]:
    """Figures of later sources, as text: a method, its date, four figures and the source."""
    rows = []
    for line in text.strip().splitlines():
        words, _, source = line.partition("|")
        [(method, [values])] = _lines(words, 1)
        name, date = method.rsplit(maxsplit=1)
        rows.append(Published(split, query, "since then", name, source.strip(), date, values))
    return rows


def _lines(text: str, kinds: int) -> Iterator[tuple[str, list[tuple[float | None, ...]]]]:
    """The name at the beginning of each line, and its figures, four for each of some kinds."""
    for line in text.strip().splitlines():
        name, *words = line.rsplit(maxsplit=len(METRICS) * kinds)
        figures = [None if word == "-" else float(word) for word in words]
        yield name.strip(), [tuple(figures[i : i + len(METRICS)]) for i in range(0, len(figures), len(METRICS))]


_KINDS = ("declarative", "interrogative")

PUBLISHED = [
    *_paper(
        "hcstvg_v1:test",
        "Tab. 1",
        "multimodal language models",
        """
        Gemini-2.5-Pro      55.1 25.9 39.1 9.9
        GPT-4o              27.5 7.9  4.0  0.3
        GroundingGPT        22.2 16.7 15.0 4.9
        Qwen2.5-VL          25.6 19.1 20.2 12.6
        LLaVA-Video-SFT     52.8 27.7 43.1 21.3
        Qwen2.5-VL-SFT      53.5 28.6 45.2 21.9
        SpaceVLLM           56.9 39.3 66.6 36.9
        STVG-o1             60.3 44.1 73.3 43.5
        """,
    ),
    *_paper(
        "hcstvg_v1:test",
        "Tab. 1",
        "task-specific methods",
        """
        STVGBert            -    20.4 29.4 11.3
        TubeDETR            43.7 32.4 49.8 23.5
        STCAT               49.4 35.1 57.7 30.1
        SGFDN               46.9 35.8 56.3 37.1
        STVGFormer          -    36.9 62.2 34.8
        VG-DINO             -    38.3 62.5 36.1
        CG-STVG             52.8 38.4 61.5 36.3
        TA-STVG             53.0 39.1 63.1 36.8
        """,
    ),
    *_since(
        "hcstvg_v1:test",
        None,
        """
        STVG-R1 2026-02     56.9 39.1 66.7 38.6 | README of XiaowZhang00/stvg-r1
        ScanFocus 2026-07   55.5 41.8 67.5 42.2 | arXiv 2607.13421, Tab. 1
        """,
    ),
    *_paper(
        "hcstvg_v1:test",
        "Tab. 4",
        "trained on VidSTG",
        """
        TubeDETR            -    16.8 22.3 9.2
        STCAT               -    22.6 32.1 20.8
        CG-STVG             31.2 21.7 31.1 17.8
        VG-DINO             -    27.5 40.1 29.9
        TA-STVG             30.1 20.9 30.8 11.5
        STVG-o1             45.9 32.2 50.8 25.5
        """,
    ),
    *_paper(
        "hcstvg_v1:test",
        "Tab. 5",
        "training",
        """
        none                25.6 19.1 20.2 12.6
        SFT                 53.5 28.6 45.2 21.9
        RFT                 58.5 41.8 68.7 38.9
        RFT + thinking      60.3 44.1 73.3 43.5
        """,
    ),
    *_paper(
        "hcstvg_v1:test",
        "Tab. 6",
        "think reward",
        """
        without             59.3 42.2 69.1 39.9
        with                60.3 44.1 73.3 43.5
        """,
    ),
    *_paper(
        "hcstvg_v1:test",
        "Tab. 7",
        "spatial reward",
        """
        GIoU                58.6 40.6 67.6 36.6
        L1                  58.5 39.9 67.0 34.6
        GIoU + L1           60.3 44.1 73.3 43.5
        """,
    ),
    *_paper(
        "hcstvg_v1:test",
        "Tab. 8",
        "think weight",
        """
        weight 0.2          59.5 42.5 70.9 40.6
        weight 0.5          60.3 44.1 73.3 43.5
        weight 1.0          60.5 43.8 72.4 42.9
        """,
    ),
    *_paper(
        "hcstvg_v2:val",
        "Tab. 2",
        "multimodal language models",
        """
        Gemini-2.5-Pro      60.4 24.5 34.6 9.6
        GPT-4o              32.7 9.1  5.7  0.0
        GroundingGPT        19.6 14.7 16.6 3.1
        Qwen2.5-VL          22.9 13.0 15.6 6.4
        LLaVA-Video-SFT     54.2 24.8 40.1 15.5
        Qwen2.5-VL-SFT      55.3 26.5 38.6 20.2
        SpaceVLLM           58.0 34.0 56.9 24.7
        STVG-o1             63.8 41.2 68.5 39.6
        """,
    ),
    *_paper(
        "hcstvg_v2:val",
        "Tab. 2",
        "task-specific methods",
        """
        PCC                 -    30.0 -    -
        2D-Tan              -    30.4 50.4 18.8
        MMN                 -    30.3 49.0 25.6
        TubeDETR            53.9 36.4 58.8 30.6
        STVGFormer          58.1 38.7 65.5 33.8
        VG-DINO             -    39.9 67.1 34.5
        CG-STVG             60.0 39.5 64.5 36.3
        TA-STVG             60.4 40.2 65.8 36.7
        """,
    ),
    *_since(
        "hcstvg_v2:val",
        None,
        """
        STVG-R1 2026-02     62.0 40.2 67.8 38.8 | README of XiaowZhang00/stvg-r1
        ScanFocus 2026-07   62.4 41.7 68.4 39.3 | arXiv 2607.13421, Tab. 2
        """,
    ),
    *_paper(
        "vidstg:test",
        "Tab. 3",
        "multimodal language models",
        """
        Gemini-2.5-Pro      49.9 22.5 33.6 12.0 45.4 13.7 17.3 8.1
        GPT-4o              38.3 9.2  7.1  1.6  39.8 6.1  3.5  0.6
        GroundingGPT        15.5 12.3 13.2 4.1  11.9 8.7  9.6  2.9
        Qwen2.5-VL          16.8 10.9 14.3 5.4  13.8 8.5  11.3 4.4
        LLaVA-Video-SFT     39.5 19.2 20.3 13.8 38.6 15.7 15.3 10.4
        LLaVA-ST            45.5 24.8 36.0 22.9 43.2 20.0 28.1 17.5
        Qwen2.5-VL-SFT      41.6 20.3 26.1 15.4 40.9 17.1 17.6 13.9
        SpaceVLLM           47.7 27.4 39.1 26.2 48.5 25.4 35.9 22.2
        STVG-o1             52.1 33.5 48.4 32.0 50.5 27.9 39.8 26.0
        """,
        _KINDS,
    ),
    *_paper(
        "vidstg:test",
        "Tab. 3",
        "task-specific methods",
        """
        STGRN               48.5 19.8 25.8 14.6 47.0 18.3 21.1 12.8
        STVGBert            -    24.0 30.9 18.4 -    22.5 26.0 16.0
        TubeDETR            48.1 30.4 42.5 28.2 46.9 25.7 35.7 23.2
        STCAT               50.8 33.1 46.2 32.6 49.7 28.2 39.2 26.6
        SGFDN               45.1 28.3 41.7 29.1 44.8 25.8 36.9 23.9
        STVGFormer          -    33.7 47.2 32.8 -    28.5 39.9 26.2
        CG-STVG             51.4 34.0 47.7 33.1 49.9 29.0 40.5 27.5
        VG-DINO             52.0 34.7 48.1 34.0 50.8 29.9 41.0 27.6
        TA-STVG             51.7 34.4 48.2 33.5 50.2 29.5 41.5 28.0
        """,
        _KINDS,
    ),
    *_since("vidstg:test", "declarative", "ScanFocus 2026-07 53.3 36.5 50.6 36.0 | arXiv 2607.13421, Tab. 3"),
    *_since("vidstg:test", "interrogative", "ScanFocus 2026-07 51.4 30.7 42.5 29.4 | arXiv 2607.13421, Tab. 3"),
]
"""The rows, dataset by dataset, in the order of a report; within a part as printed."""

GAINS_BY_AREA = (6, 8, 11, 7, 8, 7, 6, 5, 4, 3)
"""Fig. 4: what the final boxes gain over the think boxes in average vIoU, one for each bin of `scoring.AREA_EDGES`.

Printed as "+ 6%" and so on; its axis is of vIoU from 0 to 0.5, so we take them for points, but the caption says
"relative improvement". The paper does not say on which dataset.
"""


def published_for(splits: list[str]) -> list[Published]:
    """The rows about these subsets, such as "vidstg:test"; those of one kind of query for its own subset."""
    return [row for row in PUBLISHED if row.split in splits or f"{row.split}_{row.query}" in splits]
