"""The published tables: they are complete, and every row keeps the rules for such rows."""

from __future__ import annotations

from collections import Counter

import pytest

from swift_stvg.scoring.ground_truth import AREA_EDGES
from swift_stvg.scoring.matching import ALL_PROTOCOLS
from swift_stvg.scoring.published import CANDIDATES, GAINS_BY_AREA, PAPER, PUBLISHED, Published, published_for
from swift_stvg.sources import SOURCES

ROWS = {"Tab. 1": 16, "Tab. 2": 16, "Tab. 3": 36, "Tab. 4": 6, "Tab. 5": 4, "Tab. 6": 2, "Tab. 7": 3, "Tab. 8": 3}
DASHES = {"Tab. 1": 3, "Tab. 2": 6, "Tab. 3": 4, "Tab. 4": 3}


def find(method: str, source: str, query: str | None = None) -> tuple[float | None, ...]:
    (row,) = [r for r in PUBLISHED if (r.method, r.source, r.query) == (method, source, query)]
    return row.values


def test_all_rows_of_the_paper_are_there() -> None:
    """Counts from the paper: the rows of each table, and the values that are printed as a dash."""
    paper = [row for row in PUBLISHED if row.source.startswith(PAPER)]
    assert Counter(row.source.removeprefix(f"{PAPER}, ") for row in paper) == ROWS
    dashes = Counter(row.source.removeprefix(f"{PAPER}, ") for row in paper for value in row.values if value is None)
    assert dashes == DASHES
    assert len(GAINS_BY_AREA) == len(AREA_EDGES) - 1
    assert max(GAINS_BY_AREA) == GAINS_BY_AREA[AREA_EDGES.index(0.04)], "its section 4.4 says so"


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.source}, {row.method}, {row.query or 'all'}")
def test_a_row_can_be_true(row: Published) -> None:
    tiou, viou, at_3, at_5 = row.values
    assert viou is not None
    assert all(value is None or (0 <= value <= 100 and round(value, 1) == value) for value in row.values)
    assert tiou is None or tiou >= viou, "the IoU of boxes is at most 1"
    assert (at_3 is None) == (at_5 is None)
    if at_3 is not None and at_5 is not None:
        assert at_3 >= at_5, "what exceeds 0.5 exceeds 0.3"
        assert 0.3 * at_3 + 0.2 * at_5 <= viou + 0.1, "Markov's inequality, and half a unit of the last digit"
    source, _, split = row.split.partition(":")
    assert split in SOURCES[source].splits
    assert (row.query is not None) == (source == "vidstg")


@pytest.mark.parametrize(
    ("table", "method"),
    [("Tab. 5", "RFT + thinking"), ("Tab. 6", "with"), ("Tab. 7", "GIoU + L1"), ("Tab. 8", "weight 0.5")],
)
def test_the_full_method_is_the_same_in_every_ablation(table: str, method: str) -> None:
    assert find(method, f"{PAPER}, {table}") == find("STVG-o1", f"{PAPER}, Tab. 1")


def test_differences_that_the_papers_text_states() -> None:
    """Abstract and sections 4.1 to 4.3, in points of m_tIoU and m_vIoU."""

    def gain(source: str, a: str, b: str, query: str | None = None) -> tuple[float, float]:
        ours, theirs = find(a, f"{PAPER}, {source}", query)[:2], find(b, f"{PAPER}, {source}", query)[:2]
        assert None not in (*ours, *theirs)
        return round(ours[0] - theirs[0], 1), round(ours[1] - theirs[1], 1)  # type: ignore[operator]

    assert gain("Tab. 1", "STVG-o1", "TA-STVG") == (7.3, 5.0)
    assert gain("Tab. 1", "STVG-o1", "Qwen2.5-VL") == (34.7, 25.0)
    assert gain("Tab. 3", "STVG-o1", "SpaceVLLM", "declarative") == (4.4, 6.1)
    assert gain("Tab. 3", "STVG-o1", "Qwen2.5-VL-SFT", "declarative") == (10.5, 13.2)
    assert gain("Tab. 4", "STVG-o1", "TA-STVG") == (15.8, 11.3)
    assert gain("Tab. 5", "RFT + thinking", "RFT") == (1.8, 2.3)


def test_rows_are_found_by_subset() -> None:
    assert len(published_for(["hcstvg_v1:test"])) == 16 + 6 + 4 + 2 + 3 + 3 + 2
    assert {row.query for row in published_for(["vidstg:test_declarative"])} == {"declarative"}
    assert {row.query for row in published_for(["vidstg:test"])} == {"declarative", "interrogative"}
    assert published_for(["hcstvg_v1:train"]) == []
    assert set(CANDIDATES) < set(ALL_PROTOCOLS)
