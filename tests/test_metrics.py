"""Means and intervals against formulas, and the native frames of an answer against cases by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swift_stvg.errors import RecordError
from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.scoring.metrics import bootstrap_intervals, means_with_intervals, per_sample, summarise


def test_thresholds_are_exceeded_not_met() -> None:
    values = np.array([0.3, 0.31, 0.5, 0.7])
    assert summarise(values, values, values, (0.3, 0.5)) == {
        "m_tIoU": pytest.approx(0.4525),
        "m_vIoU": pytest.approx(0.4525),
        "m_sIoU": pytest.approx(0.4525),
        "tIoU@0.3": 0.75,
        "tIoU@0.5": 0.25,
        "vIoU@0.3": 0.75,
        "vIoU@0.5": 0.25,
    }


UNFIT = [
    ([], [], "`tiou` must hold at least one sample"),
    ([1.0], [1.0, 1.0], "`viou` must hold one value for each sample, got 2 for 1 in `tiou`"),
    ([0.5, np.nan], [0.5, 0.5], r"`tiou` must be finite numbers in \[0, 1\], got nan at position 1"),
    ([0.5], [1.5], r"`viou` must be finite numbers in \[0, 1\], got 1.5 at position 0"),
    ([[0.5]], [0.5], r"`tiou` must be numbers \(K,\), got float64 \(1, 1\)"),
]


@pytest.mark.parametrize(("tiou", "viou", "message"), UNFIT)
def test_what_cannot_be_averaged_is_an_error(tiou: list[Any], viou: list[float], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        per_sample(np.array(tiou), np.array(viou))


WITH_BOXES = [
    # which samples have boxes, m_tIoU, m_vIoU and vIoU@0.3 or what is left out, reason
    (None, 0.5, 0.2, 0.25, "all of them"),
    ([True, True, True, True], 0.5, 0.2, 0.25, "all of them"),
    ([True, True, False, False], 0.5, 0.4, 0.5, "means of boxes are over those that have some"),
    ([False, False, False, False], 0.5, None, None, "none: nothing is said of boxes, rather than 0"),
]


@pytest.mark.parametrize(("boxes", "m_tiou", "m_viou", "above", "reason"), WITH_BOXES)
def test_samples_without_boxes(
    boxes: list[bool] | None, m_tiou: float, m_viou: float | None, above: float | None, reason: str
) -> None:
    tiou, viou = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.2, 0.6, 0.0, 0.0])
    found = summarise(tiou, viou, boxes=None if boxes is None else np.array(boxes))
    assert found["m_tIoU"] == pytest.approx(m_tiou), reason
    assert found.get("m_vIoU") == (m_viou and pytest.approx(m_viou)), reason
    assert found.get("vIoU@0.3") == above, reason


def intervals(values: FloatArray, groups: IntArray) -> tuple[FloatArray, FloatArray]:
    return bootstrap_intervals(values, np.ones(values.shape, dtype=bool), groups)


def test_intervals_are_those_of_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.2, 3000)
    (low,), (high,) = intervals(values[:, None], np.arange(3000))
    half = 1.96 * values.std() / 3000**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 10)


def test_intervals_resample_groups() -> None:
    """Ten sentences with the same score on each of 50 videos say no more than 50 sentences."""
    scores = np.random.default_rng(2).random(50)
    alone = intervals(scores[:, None], np.arange(50))
    repeated = intervals(np.repeat(scores, 10)[:, None], np.repeat(np.arange(50), 10))
    np.testing.assert_allclose(np.concatenate(alone), np.concatenate(repeated))


def test_intervals_of_differences_are_paired() -> None:
    rng = np.random.default_rng(3)
    a = rng.random(400)
    b = a + 0.05 + rng.normal(0, 0.01, 400)
    low, high = intervals(np.stack([a, b, b - a], axis=1), np.arange(400))
    assert low[1] < high[0], "apart they overlap"
    assert 0.048 < low[2] < high[2] < 0.052, "paired they do not"


def test_intervals_of_parts() -> None:
    """A column uses its members only; a column with a single group has no interval."""
    values = np.tile(np.arange(20.0)[:, None], (1, 4))
    members = np.stack([np.arange(20) < n for n in (20, 10, 1, 0)], axis=1)
    low, high = bootstrap_intervals(values, members, np.arange(20))
    assert low[0] < 9.5 < high[0]
    assert 0 < low[1] < 4.5 < high[1] < 9
    assert np.isnan([*low[2:], *high[2:]]).all()


def test_what_is_no_number_is_never_averaged() -> None:
    one = np.ones((2, 1))
    for values, weights, groups, message in (
        (np.array([[1.0], [np.nan]]), one, [0, 1], "`values` must be finite, got nan"),
        (one, one[:1], [0, 1], r"`weights` must be \(N, M\), as `values`, got \(1, 1\) for \(2, 1\)"),
        (one, -one, [0, 1], "`weights` must be finite and at least 0, got -1.0"),
        (one, one, [0], "`groups` must hold one value for each row, got 1 for 2"),
        (one, one, [0, 2], r"`groups` must count from 0 without gaps, got \[0, 2\]"),
    ):
        with pytest.raises(RecordError, match=message):
            bootstrap_intervals(values, weights, np.array(groups))


def test_intervals_are_repeatable() -> None:
    values = np.random.default_rng(4).random((30, 2))
    first, again = (intervals(values, np.arange(30)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_means_for_a_report() -> None:
    values = np.array([[1.0, 1.0, 7.0], [3.0, 0.0, 7.0], [5.0, 9.0, 7.0]])
    members = np.array([[True, True, False], [True, True, False], [True, False, False]])
    several, one, none = means_with_intervals(values, members, np.array([0, 1, 2]))
    assert several[0] == 3.0
    assert 1.0 <= several[1] < 3.0 < several[2] <= 5.0
    assert one[0] == 0.5
    assert none == [None, None, None]
    alike = means_with_intervals(values, members, np.array([0, 0, 1]))[1]
    assert alike == [0.5, None, None], "rows of one group say nothing about others"
    weighted = means_with_intervals(values, np.array([[3.0, 0, 0], [1, 0, 0], [0, 0, 0]]), np.array([0, 1, 2]))
    assert weighted[0][0] == 1.5


def test_intervals_by_hand() -> None:
    """Two groups are drawn 0, 1 or 2 times: of 0 and 1 the mean is 0, .5 or 1, each end in a quarter of the draws."""
    values, members = np.array([[0.0], [1.0]]), np.ones((2, 1))
    for level, ends in ((0.6, (0.0, 1.0)), (0.4, (0.5, 0.5))):
        low, high = bootstrap_intervals(values, members, np.arange(2), level=level)
        assert (low[0], high[0]) == ends
