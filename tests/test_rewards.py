"""The rewards against cases that were computed by hand, and their guarantees for any string."""

from __future__ import annotations

import pytest

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.errors import DataError
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import BOX_REWARDS, REWARDS, boxes_viou, check_rewards
from tests.helpers import EVERY_FORMAT, answer, boxes, row_truth, true_box

FIVE = ("stvg_format", "stvg_consistency", "stvg_temporal", "stvg_spatial", "stvg_think")

# The truth: frames 2 to 5 of 10, box (.2, .2, .6, .6), area .16. Per-frame GIoU - L1 of the boxes used below:
SHIFTED = "30, 20, 70, 60"  # IoU .12/.20 = .6, hull = union: GIoU .6; L1 .2
WHOLE = "0, 0, 100, 100"  # IoU = GIoU = .16; L1 .2 + .2 + .4 + .4 = 1.2
APART = "70, 70, 90, 90"  # IoU 0, union .20, hull .49: GIoU -.29/.49; L1 .5 + .5 + .3 + .3 = 1.6
OUTSIDE = (
    "200, 200, 300, 300"  # clipped to the corner point: union .16, hull .64, GIoU -.75; L1 .8 + .8 + .4 + .4 = 2.4
)
R_SHIFTED, R_WHOLE, R_APART, R_OUTSIDE, R_WORST = 0.4, -1.04, -0.29 / 0.49 - 1.6, -3.15, -5.0
EXACT = boxes(2, 5)

CASES = [
    # completion, (format, consistency, temporal, spatial, think), reason
    (answer("2 - 5", EXACT, EXACT), (1, 1, 1, 2, 0), "exact: 5 in all"),
    (f" \n{answer('2 - 5', EXACT, EXACT)}\n", (1, 1, 1, 2, 0), "space around the answer is allowed"),
    (answer("2-5", EXACT, EXACT).replace(", ", ","), (1, 1, 1, 2, 0), "spacing inside is free"),
    (answer("2 - 5", boxes(2, 5, SHIFTED), EXACT), (1, 1, 1, 1 + R_SHIFTED, 0.6), "refined to the truth"),
    (answer("2 - 5", EXACT, boxes(2, 5, SHIFTED)), (1, 1, 1, 1 + R_SHIFTED, 0), "made worse: no negative think reward"),
    (answer("2 - 5", boxes(2, 5, WHOLE), boxes(2, 5, WHOLE)), (1, 1, 1, 2 * R_WHOLE, 0), "whole-frame boxes"),
    (answer("2 - 5", boxes(2, 5, APART), EXACT), (1, 1, 1, 1 + R_APART, 1 - R_APART), "think boxes disjoint in space"),
    (
        answer("2 - 5", boxes(2, 5, OUTSIDE), EXACT),
        (1, 1, 1, 1 + R_OUTSIDE, 1 - R_OUTSIDE),
        "outside boxes are clipped",
    ),
    (answer("2 - 5", boxes(2, 5, "60, 20, 20, 60"), EXACT), (1, 1, 1, 1 + R_WORST, 6), "inverted boxes count as worst"),
    (answer("2 - 3", boxes(2, 3), boxes(2, 3)), (1, 1, 0.5, 2, 0), "half the span: the mean is over T_cap only"),
    (answer("0 - 9", boxes(0, 9), boxes(0, 9)), (1, 1, 0.4, 2, 0), "whole clip: 4 of 10 frames"),
    (answer("4 - 7", boxes(4, 7), boxes(4, 7)), (1, 1, 2 / 6, 2, 0), "overlap of 2 in a union of 6"),
    (answer("6 - 9", boxes(6, 9), boxes(6, 9)), (1, 1, 0, 0, 0), "disjoint in time: empty intersection gives 0"),
    (answer("5 - 2", EXACT, EXACT), (1, 0, 0, 0, 0), "reversed span: well formed, but nothing else"),
    (answer("2 - 5", EXACT, boxes(2, 4)), (1, 0, 1, 1 + (3 + R_WORST) / 4, 0), "a missing box counts as the worst one"),
    (answer("2 - 5", boxes(2, 4), EXACT), (1, 0, 1, 1 + (3 + R_WORST) / 4, 1.5), "a missing think box likewise"),
    (answer("2 - 5", EXACT, boxes(2, 6)), (1, 0, 1, 2, 0), "a box beyond the span breaks consistency only"),
    (
        answer("2 - 5", EXACT, EXACT + f", 5. [{WHOLE}]"),
        (1, 0, 1, 2, 0),
        "of a repeated index the first counts, and the list is not consistent",
    ),
    (
        answer("2 - 5", EXACT, "3. [20, 20, 60, 60], 2. [20, 20, 60, 60], " + boxes(4, 5)),
        (1, 0, 1, 2, 0),
        "out of order: not consistent, boxes still found",
    ),
    (
        answer("2 - 5", EXACT, boxes(2, 3) + ", " + boxes(3, 3) + ", " + boxes(5, 5)),
        (1, 0, 1, 1 + (3 + R_WORST) / 4, 0),
        "as many boxes as indices, but one twice and one not at all",
    ),
    (
        answer("2 - 5", EXACT, boxes(2, 2) + ", " + boxes(4, 4) + ", " + boxes(4, 5)),
        (1, 0, 1, 1 + (3 + R_WORST) / 4, 0),
        "the same the other way round",
    ),
    (answer("2 - 5", EXACT, ""), (0, 0, 1, 1, 0), "an empty list cannot be read: its terms are 0"),
    (answer("2 - 5", "", EXACT), (0, 0, 1, 1, 0), "no think boxes: no think reward either"),
    (answer("", EXACT, EXACT), (0, 0, 0, 0, 0), "no time: nothing that needs it"),
    (f"<time> 2 - 5 </time> <pred_bbox> {EXACT} </pred_bbox>", (0, 0, 1, 1, 0), "no think part"),
    ("Sure: " + answer("2 - 5", EXACT, EXACT), (0, 1, 1, 2, 0), "text before: format 0, the rest is read"),
    (answer("2 - 5", EXACT, EXACT) + " done", (0, 1, 1, 2, 0), "text after"),
    (answer("2 - 5", EXACT, EXACT) * 2, (0, 1, 1, 2, 0), "the whole answer twice, which is one and the same"),
    ("<time> 0 - 9 </time> " + answer("2 - 5", EXACT, EXACT), (0, 0, 0, 0, 0), "two times: nobody can say which"),
    (
        f"<time> 2 - 5 </time> <pred_bbox> {EXACT} </pred_bbox> <think_bbox> {EXACT} </think_bbox>",
        (0, 1, 1, 2, 0),
        "wrong order",
    ),
    (answer("2 - 5", EXACT, EXACT)[:-13], (0, 1, 1, 2, 0), "cut off before the last closing tag"),
    (answer("٢ - ٥", EXACT, EXACT), (0, 0, 0, 0, 0), "digits of other scripts are not numbers here"),
    (answer("２ － ５", EXACT, EXACT), (0, 1, 1, 2, 0), "full-width ones are, though not the form"),
    (answer("00:02 - 00:05", EXACT, EXACT), (0, 0, 0, 0, 0), "a clock time is no frame"),
    (answer("2s - 5s", EXACT, EXACT), (0, 0, 0, 0, 0), "nor are seconds"),
    (answer("2 - 5", EXACT, EXACT.replace(".", ".5:")), (0, 0, 1, 1, 0), "nor fractions"),
    (answer("2 - " + "9" * 400, EXACT, EXACT), (0, 0, 0, 0, 0), "a number of 400 digits is unreadable"),
    (answer("2 - 9999999", EXACT, EXACT), (1, 0, 4 / 9999998, 2, 0), "a huge but readable end"),
    (
        answer("2 - 5", EXACT, boxes(2, 4) + ", 5. [" + "9" * 300 + ", 0, 0, 0]"),
        (0, 0, 1, 1 + (3 + R_WORST) / 4, 0),
        "a box with an endless number is unusable",
    ),
    (answer("2 - 5", EXACT, boxes(2, 5, "nan, inf, 60, 60")), (0, 0, 1, 1, 0), "words for numbers: no readable box"),
    (
        answer("2 - 5", EXACT, boxes(2, 5, "20.0, 20.0, 60.0, 60.0")),
        (0, 1, 1, 2, 0),
        "decimals are read, but are not the form",
    ),
    (
        answer("2 - 5", EXACT, boxes(2, 5, "-9, 20, 60, 60")),
        (0, 1, 1, 2 - (1 - 0.16 / 0.24) - 0.2, 0),
        "negative: clipped",
    ),
    (answer("-2 - 5", EXACT, EXACT), (0, 0, 0, 0, 0), "a negative start is no index"),
    (
        answer("2 - 5", EXACT.replace(", ", ",\u00a0"), EXACT),
        (0, 1, 1, 2, 0),
        "a no-break space is not the form, but read",
    ),
    (answer("2 -\u30005", EXACT, EXACT), (0, 1, 1, 2, 0), "likewise an ideographic one"),
    (answer("2 - 5", EXACT, EXACT) + "\u2028", (0, 1, 1, 2, 0), "nor a line separator"),
    ("", (0, 0, 0, 0, 0), "empty"),
    ("I cannot see any object.", (0, 0, 0, 0, 0), "prose"),
]


@pytest.mark.parametrize(("completion", "expected", "reason"), CASES, ids=[case[2] for case in CASES])
def test_by_hand(completion: str, expected: tuple[float, ...], reason: str) -> None:
    batch = Batch([completion], [row_truth()])
    got = {name: REWARDS[name](batch)[0] for name in FIVE}
    assert got == pytest.approx(dict(zip(FIVE, expected, strict=True)), abs=1e-12), reason


def test_exact_answer_earns_exactly_five() -> None:
    weights = dict.fromkeys(FIVE, 1.0) | {"stvg_think": 0.5}
    row = row_truth(box=(13, 27, 61, 83))
    batch = Batch([row.format.render(row.answer)], [row])
    assert sum(weights[name] * REWARDS[name](batch)[0] for name in FIVE) == 5.0


def test_variants_by_hand() -> None:
    batch = Batch([answer("2 - 5", boxes(2, 5, APART), boxes(2, 5, SHIFTED))], [row_truth()])
    assert REWARDS["stvg_spatial_giou"](batch)[0] == pytest.approx(0.6 - 0.29 / 0.49)
    assert REWARDS["stvg_spatial_l1"](batch)[0] == pytest.approx(-0.2 - 1.6)
    assert REWARDS["stvg_viou"](batch)[0] == pytest.approx(0.6)
    assert REWARDS["stvg_tiou"](batch)[0] == 1.0


VIOU = [
    # span written, boxes written, vIoU of the boxes, reason
    ((2, 5), (2, 5), 1.0, "exact"),
    ((0, 9), (0, 9), 0.4, "4 of 10 frames"),
    ((4, 7), (4, 7), 2 / 6, "2 shared of 6"),
    ((2, 5), (2, 3), 0.5, "boxes missing in half the frames"),
    ((6, 9), (6, 9), 0.0, "disjoint"),
]


@pytest.mark.parametrize(("span", "listed", "expected", "reason"), VIOU, ids=[v[3] for v in VIOU])
def test_viou(span: tuple[int, int], listed: tuple[int, int], expected: float, reason: str) -> None:
    text = answer(f"{span[0]} - {span[1]}", boxes(*listed), boxes(*listed))
    batch = Batch([text], [row_truth()])
    assert boxes_viou(batch, batch.pred_terms)[0] == pytest.approx(expected), reason
    counted = expected if span == listed else 0.0
    assert REWARDS["stvg_viou"](batch)[0] == pytest.approx(counted), "an inconsistent answer counts 0"
    assert [REWARDS[f"stvg_viou@{r}"](batch)[0] for r in (0.3, 0.5)] == [counted > 0.3, counted > 0.5]
    assert REWARDS["stvg_tiou"](batch)[0] == (REWARDS["stvg_temporal"](batch)[0] if span == listed else 0.0)


def test_frames_without_truth_are_left_out() -> None:
    row = row_truth(gaps=(3,))
    text = answer("2 - 5", boxes(2, 5), f"2. [20, 20, 60, 60], 3. [{APART}], " + boxes(4, 5))
    batch = Batch([text], [row])
    assert [REWARDS[name](batch)[0] for name in FIVE] == [1, 1, 1, 2, 0]
    assert REWARDS["stvg_viou"](batch)[0] == 1.0
    assert row.format.is_valid(row.format.render(row.answer))


@pytest.mark.parametrize(
    ("floor", "expected"), [(None, -5.0), (-1.0, -1.0), (0.0, 0.0)], ids=["off", "-1", "0: never below an empty answer"]
)
def test_floor_clamps_each_frame(floor: float | None, expected: float) -> None:
    text = answer("2 - 5", EXACT, boxes(2, 5, "60, 60, 20, 20"))
    assert REWARDS["stvg_spatial"](Batch([text], [row_truth(floor=floor)]))[0] == pytest.approx(1 + expected)


Counts = tuple[int, int]
WORTH: list[tuple[str, tuple[int, int] | None, bool, bool, Counts, Counts]] = [
    # span, whether think and final boxes are written, (exact, worst) frames of a written list under `shared`, `either`
    ("exact", (2, 5), True, True, (4, 0), (4, 0)),
    ("half of the event", (2, 3), True, True, (2, 0), (2, 2)),
    ("the whole clip", (0, 9), True, True, (4, 0), (4, 6)),
    ("another time", (6, 9), True, True, (0, 0), (0, 8)),
    ("no think boxes", (2, 5), False, True, (4, 0), (4, 0)),
    ("no final boxes", (2, 5), True, False, (4, 0), (4, 0)),
    ("no boxes", (2, 5), False, False, (4, 0), (4, 0)),
    ("no boxes in the whole clip", (0, 9), False, False, (4, 0), (4, 6)),
    ("backwards", (5, 2), True, True, (0, 0), (0, 4)),
    ("no time", None, True, True, (0, 0), (0, 4)),
    ("nothing", None, False, False, (0, 0), (0, 4)),
]
TERMS = {"stvg_spatial": (1.0, -5.0), "stvg_spatial_giou": (1.0, -1.0), "stvg_spatial_l1": (0.0, -4.0)}
"""The terms of an exact box and of the worst box."""


def written(fmt: AnswerFormat, span: tuple[int, int] | None, think: bool, pred: bool) -> str:
    """An answer with the true boxes; a list that is left out is unreadable."""
    box = ", ".join(f"{side / 1000:g}" if fmt.shares else str(side) for side in true_box(fmt))
    first, last = span if span and span[0] <= span[1] else (2, 5)
    if fmt.style in ("csv", "fig8"):
        rows = [f"{i}, {box}" for i in range(first, last + 1)] if pred else []
        return "\n".join(([f"{span[0]}, {span[1]}"] if span else []) + rows)
    if fmt.style == "span_json":
        keyed = "{" + ", ".join(f'"{i}": [{box}]' for i in range(first, last + 1)) + "}"
        lists = [f'"{key}": {keyed}' for key, there in (("think_boxes", think), ("boxes", pred)) if there]
        return "{" + ", ".join(([f'"time": [{span[0]}, {span[1]}]'] if span else []) + lists) + "}"
    lists = [boxes(first, last, box) if there else "none" for there in (think, pred)]
    return answer(f"{span[0]} - {span[1]}" if span else "", *lists)


@pytest.mark.parametrize("fmt", [fmt for fmt in EVERY_FORMAT if fmt.style != "qwen_json"], ids=str)
@pytest.mark.parametrize("frames", ["shared", "either"])
@pytest.mark.parametrize("floor", [None, -1.0, 0.0, 1.0])
def test_what_a_box_list_is_worth(fmt: AnswerFormat, frames: str, floor: float | None) -> None:
    """For every setting that a reward depends on. README, GUARANTEES.md and the docstrings give the same values."""
    row = row_truth(box=true_box(fmt), fmt=fmt, frames=frames, floor=floor)
    for title, span, think, pred, shared, either in WORTH:
        batch = Batch([written(fmt, span, think, pred)], [row])
        exact_n, worst_n = shared if frames == "shared" else either

        def mean(there: bool, name: str, exact_n: int = exact_n, worst_n: int = worst_n) -> float:
            exact, worst = (value if floor is None else max(value, floor) for value in TERMS[name])
            if not there:
                exact_n, worst_n = (0, 0) if frames == "shared" else (0, exact_n + worst_n)
            return (exact_n * exact + worst_n * worst) / max(exact_n + worst_n, 1)

        for name in TERMS:
            expected = fmt.think * mean(think, name) + fmt.boxes * mean(pred, name)
            assert REWARDS[name](batch)[0] == pytest.approx(expected), (title, name)
        gain = max(0.0, mean(pred, "stvg_spatial") - mean(think, "stvg_spatial"))
        assert REWARDS["stvg_think"](batch)[0] == pytest.approx(gain if fmt.think and think and pred else 0.0), title
        if not fmt.boxes:
            assert all(REWARDS[name](batch)[0] == 0 for name in BOX_REWARDS), title


def test_without_think_boxes() -> None:
    row = row_truth(fmt=AnswerFormat(think=False))
    text = f"<time> 2 - 5 </time> <pred_bbox> {EXACT} </pred_bbox>"
    assert [REWARDS[name](Batch([text], [row]))[0] for name in FIVE] == [1, 1, 1, 1, 0]
    with_think = Batch([answer("2 - 5", EXACT, EXACT)], [row])
    assert REWARDS["stvg_format"](with_think)[0] == 0, "think boxes that were not asked for break the form"


@pytest.mark.slow
def test_rows_of_a_batch_do_not_touch_each_other() -> None:
    texts = [case[0] for case in CASES]
    rows = [row_truth(row_id=str(i)) for i in range(len(texts))]
    together = Batch(texts, rows)
    for name, reward in REWARDS.items():
        alone = [reward(Batch([text], [row]))[0] for text, row in zip(texts, rows, strict=True)]
        assert reward(together).tolist() == alone, name


def test_an_event_at_the_beginning() -> None:
    """An answer without a time has no frames at index 0 either; an event of one index counts."""
    row = row_truth(span=(0, 3))
    assert REWARDS["stvg_spatial"](Batch([answer("", boxes(0, 3), boxes(0, 3))], [row]))[0] == 0
    short = row_truth(span=(0, 0))
    assert REWARDS["stvg_temporal"](Batch([answer("0 - 0", boxes(0, 0), boxes(0, 0))], [short]))[0] == 1


def test_boxes_of_other_answers_are_never_taken() -> None:
    elsewhere = boxes(0, 300) + ", " + boxes(9_999_996, 9_999_999)
    texts = [answer("2 - 5", EXACT, elsewhere), answer("2 - 5", EXACT, boxes(9, 9))] * 2
    assert REWARDS["stvg_spatial"](Batch(texts, [row_truth()] * 4)).tolist() == [2, 1 + R_WORST] * 2


def test_mixed_conventions_in_a_batch() -> None:
    thousandths = row_truth(box=(200, 200, 600, 600), fmt=AnswerFormat(coords="norm1000"))
    texts = [answer("2 - 5", EXACT, EXACT), answer("2 - 5", boxes(2, 5, "200, 200, 600, 600"), EXACT)]
    spatial = REWARDS["stvg_spatial"](Batch(texts, [row_truth(), thousandths]))
    assert spatial[0] == 2.0
    assert spatial[1] < 0, "pixels where thousandths were asked for"


def test_names_that_no_reward_has_are_refused() -> None:
    check_rewards(["stvg_format", "stvg_viou@0.5"])
    with pytest.raises(
        DataError, match=r"unknown reward stvg_a, stvg_b; the rewards are stvg_format, stvg_consistency, "
    ):
        check_rewards(["stvg_b", "stvg_format", "stvg_a"])


def test_empty_batch() -> None:
    assert all(reward(Batch([], [])).shape == (0,) for reward in REWARDS.values())


def test_length_mismatch_is_an_error() -> None:
    with pytest.raises(ValueError, match="`row_truths` must hold one value for each completion, got 1 for 2"):
        Batch(["", ""], [row_truth()])
    with pytest.raises(ValueError, match="`row_truths` must hold one value for each completion, got 1 for 0"):
        Batch([], [row_truth()])
