"""Rewards of mistakes against the method's equations in plain Python, and settings under which mistakes pay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.rewards.functions import REWARDS, WEIGHTS, usual_weights
from swift_stvg.rewards.known_mistakes import EXACT, MISTAKES, rewards_of_mistakes
from swift_stvg.rows.row_truth import RowTruth
from tests.helpers import EVERY_FORMAT, row_truth

Boxes = dict[int, tuple[float, float, float, float]]
TRUE: Boxes = {2: (10, 20, 30, 60), 3: (14, 20, 34, 60), 4: (18, 22, 38, 62), 5: (22, 24, 42, 64)}
INDICES, WIDTH, HEIGHT = 10, 100, 80


def row(fmt: AnswerFormat | None = None, floor: float | None = None) -> RowTruth:
    made = row_truth(fmt=fmt, floor=floor)
    boxes_xyxy = np.array(list(TRUE.values()), dtype=np.float64)
    factor = {"pixel": np.ones(4), "source": np.full(4, 2.5)}.get(made.format.coords, np.array([10, 12.5, 10, 12.5]))
    boxes_xyxy = np.rint(boxes_xyxy * factor)
    return replace(made, size_wh=(WIDTH, HEIGHT), source_wh=(250, 200), boxes_xyxy=boxes_xyxy[: len(made.index)])


def term(box: tuple[float, ...] | None, true: tuple[float, ...]) -> float:
    """GIoU - L1 (Eq. 7) of a box in pixels, clipped to the frame, in shares of it; the worst value without a box."""
    if box is None or box[0] > box[2] or box[1] > box[3]:
        return -5.0
    sides = (WIDTH, HEIGHT, WIDTH, HEIGHT)
    a = [min(max(value / side, 0.0), 1.0) for value, side in zip(box, sides, strict=True)]
    b = [value / side for value, side in zip(true, sides, strict=True)]
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return shared / union - (hull - union) / hull - sum(abs(p - q) for p, q in zip(a, b, strict=True))


def five(span: tuple[int, int] | None, think: Boxes | None, pred: Boxes | None, form: int = 1) -> list[float]:
    """Eq. 3 to 9 and the total of Eq. 10, for an answer in pixels and sampled frames."""
    if span is None:
        return [0.0] * 6
    shared = [i for i in TRUE if span[0] <= i <= span[1]]
    either = set(TRUE) | set(range(span[0], span[1] + 1))

    def spatial(boxes: Boxes | None) -> float:
        return sum(term(boxes.get(i), TRUE[i]) for i in shared) / len(shared) if boxes is not None and shared else 0.0

    wanted = list(range(span[0], span[1] + 1))
    consistent = float(think is not None and pred is not None and list(think) == wanted and list(pred) == wanted)
    gain = spatial(pred) - spatial(think) if think is not None and pred is not None else 0.0
    parts = [float(form), consistent, len(shared) / len(either), spatial(think) + spatial(pred), max(gain, 0.0)]
    return [*parts, sum(parts[:4]) + 0.5 * parts[4]]


def every(change: object) -> Boxes:
    return {i: change(*box) for i, box in TRUE.items()}  # type: ignore[operator]


FAR = dict.fromkeys(TRUE, (99, 0, 100, 1))  # the object is on the left, its centre at half the height or below
BESIDE = {i + 4: box for i, box in TRUE.items()}
HALF = every(lambda x, y, u, v: (x + 10, y, u + 10, v))
WHOLE = dict.fromkeys(TRUE, (0, 0, WIDTH, HEIGHT))
STRETCHED = {i: TRUE[min(max(i, 2), 5)] for i in range(INDICES)}
SECONDS = {1: TRUE[2], 2: TRUE[4]}  # indices 2 to 5 are 1.0 to 2.5 s
LATE = {i + 1: box for i, box in TRUE.items()}
NORMALISED = every(lambda x, y, u, v: (x * 10, y * 12.5, u * 10, v * 12.5))
FILE = every(lambda x, y, u, v: (x * 2.5, y * 2.5, u * 2.5, v * 2.5))
TURNED = every(lambda x, y, u, v: (y, x, v, u))
SIDES = every(lambda x, y, u, v: (x, y, u - x, v - y))
FIRST = dict.fromkeys(TRUE, TRUE[2])
HALVED = {2: TRUE[2], 4: TRUE[4]}

EQUATIONS = {
    EXACT: five((2, 5), TRUE, TRUE),
    "span one index off": five((3, 6), LATE, LATE),
    "span beside the event": five((6, 9), BESIDE, BESIDE),
    "span of the whole clip": five((0, 9), STRETCHED, STRETCHED),
    "first index of the event only": five((2, 2), {2: TRUE[2]}, {2: TRUE[2]}),
    "indices in the other unit": five((1, 2), SECONDS, SECONDS),
    "coordinates of the other convention": five((2, 5), NORMALISED, NORMALISED),
    "coordinates in pixels of the file": five((2, 5), FILE, FILE),
    "y before x": five((2, 5), TURNED, TURNED),
    "x, y, width, height": five((2, 5), SIDES, SIDES),
    "first box repeated": five((2, 5), FIRST, FIRST),
    "boxes of the whole frame": five((2, 5), WHOLE, WHOLE),
    "all boxes half a width off": five((2, 5), HALF, HALF),
    "all boxes far off": five((2, 5), FAR, FAR),
    "think boxes far off, final boxes right": five((2, 5), FAR, TRUE),
    "think boxes right, final boxes far off": five((2, 5), TRUE, FAR),
    "every second box left out": five((2, 5), HALVED, HALVED),
    "no think boxes": five((2, 5), None, TRUE, 0),
    "no boxes": five((2, 5), None, None, 0),
    "text after the exact answer": five((2, 5), TRUE, TRUE, 0),
    "empty answer": five(None, None, None, 0),
}


NAMED = ("always object 1", "always the largest object", "a number that no object has")
"""Mistakes of answers that name an object; test_named_objects.py has their rewards."""
OF_BOXES = [name for name in MISTAKES if name not in NAMED]


def test_every_mistake_has_its_equations() -> None:
    assert list(EQUATIONS) == OF_BOXES
    assert EQUATIONS[EXACT] == [1, 1, 1, 2, 0, 5]


@pytest.mark.parametrize("name", OF_BOXES)
def test_mistakes_earn_what_the_equations_say(name: str) -> None:
    found = rewards_of_mistakes([row()], WEIGHTS)["lines"][name]
    assert found["rows"] == 1
    for (reward, (mean, low, high)), expected in zip(found["earns"].items(), EQUATIONS[name], strict=True):
        assert mean == low == high == pytest.approx(expected, abs=1e-9), reward


@pytest.mark.slow
def test_the_usual_settings_pay_for_no_mistake() -> None:
    for fmt in EVERY_FORMAT:
        row_truths = [row(fmt), row(fmt, floor=-1.0)]
        found = rewards_of_mistakes(row_truths, usual_weights(row_truths))
        assert found["faults"] == {}
        full = 5.0 - (not fmt.think) - (not fmt.boxes)
        assert found["lines"][EXACT]["earns"]["total"] == [full] * 3, "exactly, on each row"


def test_mistakes_that_a_row_leaves_no_room_for_are_left_out() -> None:
    whole_frame = row_truth(span=(0, 9), box=(0, 0, 100, 100))
    lines = rewards_of_mistakes([whole_frame], WEIGHTS)["lines"]
    for name in ("span one index off", "span beside the event", "span of the whole clip", "first box repeated"):
        assert name not in lines
    for name in ("boxes of the whole frame", "coordinates of the other convention", "y before x"):
        assert name not in lines, "once clipped to the frame, these boxes are the exact ones"
    assert rewards_of_mistakes([whole_frame, row()], WEIGHTS)["lines"]["y before x"]["rows"] == 1
    assert "no think boxes" not in rewards_of_mistakes([row(AnswerFormat(think=False))], WEIGHTS)["lines"]


HACKABLE = [
    # weights or floor, the mistake that then pays, and why
    (
        WEIGHTS | {"stvg_think": 1.0},
        None,
        "think boxes far off, final boxes right",
        "R_s + R_k is the same for any think",
    ),
    (WEIGHTS | {"stvg_think": 2.0}, None, "think boxes far off, final boxes right", "bad think boxes are worth more"),
    (WEIGHTS, 1.0, "y before x", "every readable box earns 1"),
    ({"stvg_format": 1.0, "stvg_temporal": 1.0}, None, "all boxes far off", "nobody looks at boxes"),
    ({"stvg_spatial": 1.0}, None, "span of the whole clip", "nobody looks at the span"),
    (WEIGHTS | {"stvg_temporal": 0.0}, None, "first index of the event only", "nor here"),
]


@pytest.mark.parametrize(("weights", "floor", "name", "reason"), HACKABLE)
def test_settings_that_pay_for_mistakes_are_found(
    weights: dict[str, float], floor: float | None, name: str, reason: str
) -> None:
    found = rewards_of_mistakes([row(floor=floor)], weights)
    assert found["faults"][name]["rows"] == 1, reason
    assert found["faults"][name]["example"].startswith("row row: earns ")
    assert EXACT not in found["faults"]


def test_an_exact_answer_that_does_not_earn_its_mark_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = REWARDS["stvg_temporal"]
    monkeypatch.setitem(REWARDS, "stvg_temporal", lambda batch: broken(batch) * 0.9)
    assert rewards_of_mistakes([row()], WEIGHTS)["faults"][EXACT]["example"] == "row row: earns 4.9, not 5"
