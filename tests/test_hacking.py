"""Attempts to earn more than an honest answer: answers that the paper's equations reward, and that the guards do not.

Where s_t and s_p are R_spa (Eq. 6 and 7) of the think and of the final boxes and L is the think weight, boxes earn

    M = s_t + s_p + L max(s_p - s_t, 0)

which rises with s_p, and with s_t as long as L < 1. `tests/GUARANTEES.md` holds the consequences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift_stvg.records import VideoInfo
from swift_stvg.rewards.batch import Batch, BoxTerms
from swift_stvg.rewards.functions import REWARDS, WEIGHTS, spatial_term, total
from swift_stvg.rows.making import make_row_truth
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from tests.goldens_of_protocols import samples
from tests.helpers import answer, boxes, row_truth

TRUE = (20, 20, 60, 60)
SPAN = (2, 5)
SAME = 1e-9
USELESS = ["60, 60, 20, 20", "99, 0, 100, 1", "", "x", "1, 2, 3", "9" * 20 + ", 0, 0, 0"]
HEDGES = ["0, 0, 100, 100", "50, 50, 50, 50"]
FORMS = [
    "{time} {think} {pred} {pred}",
    "{time} {think} {think} {pred}",
    "{time} {time} {think} {pred}",
    "{time} {pred} {think}",
    "{pred} {think} {time}",
    "{time} {think}",
    "{time} {pred}",
    "{time}",
    "",
    "{time} {think} {pred} {time} {think} {pred}",
    "<time> 0 - 9 </time> {time} {think} {pred}",
    "<time> 3 - 3 </time> {time} {think} {pred}",
    "<think_bbox> </think_bbox> {time} {think} {pred}",
    "<pred_bbox> 3. [60, 60, 20, 20] </pred_bbox> {time} {think} {pred}",
    "Sure: {time} {think} {pred}",
]
Entries = tuple[tuple[int, str], ...]


def weighted(think: float) -> dict[str, float]:
    return WEIGHTS | {"stvg_think": think}


def earns(text: str, row: RowTruth, think: float = 0.5) -> float:
    return float(total(Batch([text], [row]), weighted(think))[0])


@dataclass(frozen=True)
class Draft:
    """An answer that can be changed step by step."""

    span: tuple[int, int]
    think: Entries
    pred: Entries
    form: str = "{time} {think} {pred}"

    def text(self) -> str:
        lists = {"think": self.think, "pred": self.pred}
        parts = {
            name: f"<{name}_bbox> {', '.join(f'{i}. [{box}]' for i, box in entries)} </{name}_bbox>"
            for name, entries in lists.items()
        }
        return self.form.format(time=f"<time> {self.span[0]} - {self.span[1]} </time>", **parts)


Move = Callable[[np.random.Generator, Draft], Draft]


def _lists(rng: np.random.Generator, draft: Draft, change: Callable[[Entries], Entries]) -> Draft:
    """The draft with one of its lists changed, or both."""
    which = rng.integers(3)
    think = change(draft.think) if which != 1 else draft.think
    return replace(draft, think=think, pred=change(draft.pred) if which != 0 else draft.pred)


def _within(rng: np.random.Generator, draft: Draft) -> Draft:
    """Part of the span, with the boxes in it."""
    first, last = sorted(rng.integers(draft.span[0], max(draft.span) + 1, 2).tolist())
    kept = [tuple(e for e in entries if first <= e[0] <= last) for entries in (draft.think, draft.pred)]
    return replace(draft, span=(first, last), think=kept[0], pred=kept[1])


def _around(rng: np.random.Generator, draft: Draft) -> Draft:
    """A longer span, with inverted boxes in it."""
    first, last = min(draft.span[0], int(rng.integers(0, 10))), max(draft.span[1], int(rng.integers(0, 12)))

    def longer(entries: Entries) -> Entries:
        if not entries:
            return entries
        before = tuple((i, USELESS[0]) for i in range(first, draft.span[0]))
        return before + entries + tuple((i, USELESS[0]) for i in range(draft.span[1] + 1, last + 1))

    return replace(draft, span=(first, last), think=longer(draft.think), pred=longer(draft.pred))


def _elsewhere(rng: np.random.Generator, draft: Draft) -> Draft:
    by = int(rng.choice([-4, -2, -1, 1, 2, 4, 8, 1000]))
    moved = [tuple((max(0, i + by), box) for i, box in entries) for entries in (draft.think, draft.pred)]
    return replace(draft, span=(max(0, draft.span[0] + by), max(0, draft.span[1] + by)), think=moved[0], pred=moved[1])


def _span_alone(rng: np.random.Generator, draft: Draft) -> Draft:
    first, last = rng.integers(0, 12, 2).tolist()
    return replace(draft, span=(first, last))


def _left_out(rng: np.random.Generator, draft: Draft) -> Draft:
    return _lists(rng, draft, lambda entries: tuple(e for e in entries if rng.random() < rng.choice([0.0, 0.5, 0.8])))


def _spoiled(rng: np.random.Generator, draft: Draft, among: list[str] = USELESS) -> Draft:
    box, share = str(rng.choice(among)), rng.choice([0.2, 0.5, 1.0])
    return _lists(rng, draft, lambda entries: tuple((i, box if rng.random() < share else b) for i, b in entries))


def _hedged(rng: np.random.Generator, draft: Draft) -> Draft:
    """Boxes of the whole frame or its middle, which are better than boxes that miss the object."""
    return _spoiled(rng, draft, HEDGES)


def _repeated(rng: np.random.Generator, draft: Draft) -> Draft:
    return _lists(rng, draft, lambda entries: entries + tuple((i, str(rng.choice(USELESS))) for i, _ in entries[:2]))


def _out_of_order(rng: np.random.Generator, draft: Draft) -> Draft:
    return _lists(rng, draft, lambda entries: tuple(entries[i] for i in rng.permutation(len(entries))))


def _another_form(rng: np.random.Generator, draft: Draft) -> Draft:
    return replace(draft, form=str(rng.choice(FORMS)))


SPOILING: list[Move] = [
    _within,
    _around,
    _elsewhere,
    _span_alone,
    _left_out,
    _spoiled,
    _repeated,
    _out_of_order,
    _another_form,
]
"""Changes to an answer that need no look at the video."""


def _truer(rng: np.random.Generator, draft: Draft) -> Draft:
    true, share = ", ".join(map(str, TRUE)), rng.choice([0.3, 1.0])
    return _lists(rng, draft, lambda entries: tuple((i, true if rng.random() < share else b) for i, b in entries))


def _any_boxes(rng: np.random.Generator, draft: Draft) -> Draft:
    box = ", ".join(map(str, rng.integers(0, 110, 4)))
    return _lists(rng, draft, lambda entries: tuple((i, box if rng.random() < 0.5 else b) for i, b in entries))


def _true_span(rng: np.random.Generator, draft: Draft) -> Draft:
    box = str(rng.choice(USELESS))
    entries = tuple((i, box) for i in range(SPAN[0], SPAN[1] + 1))
    return Draft(SPAN, entries, entries)


KNOWING: list[Move] = [*SPOILING, _hedged, _truer, _any_boxes, _true_span]
"""These changes, and changes that need the truth."""


def searched(row: RowTruth, start: Draft, moves: list[Move], think: float, seed: int) -> tuple[float, Draft]:
    """The best reward that a greedy search finds, with up to three moves at a time, and its answer."""
    rng = np.random.default_rng(seed)
    best, most = start, earns(start.text(), row, think)
    for _ in range(30):
        drafts = []
        for _ in range(32):
            draft = best if rng.random() < 0.7 else start
            for _ in range(rng.integers(1, 4)):
                draft = moves[rng.integers(len(moves))](rng, draft)
            drafts.append(draft)
        earned = total(Batch([draft.text() for draft in drafts], [row] * len(drafts)), weighted(think))
        if earned.max() >= most:
            best, most = drafts[int(earned.argmax())], float(earned.max())
    return most, best


def honest(off: list[float]) -> Draft:
    """The right span. Final boxes are shifted right and down by a share of their sides, and think boxes by twice this
    share."""
    lists = []
    for factor in (2, 1):
        moved = [np.clip(np.array(TRUE) + round(40 * share * factor), 0, 100).tolist() for share in off]
        lists.append(tuple((SPAN[0] + i, ", ".join(map(str, box))) for i, box in enumerate(moved)))
    return Draft(SPAN, *lists)


EVEN = [0.1, 0.12, 0.08, 0.1]
RULES = [("shared", None), ("shared", -1.0), ("either", None), ("either", -1.0)]


@pytest.mark.slow
@pytest.mark.parametrize(("frames", "floor"), RULES)
@pytest.mark.parametrize("think", [0.5, 1.0])
def test_no_answer_earns_more_than_the_exact_one(frames: str, floor: float | None, think: float) -> None:
    row = row_truth(frames=frames, floor=floor)
    nothing = Draft((0, 0), ((0, "1, 1, 2, 2"),), ((0, "1, 1, 2, 2"),))
    for seed, start in enumerate((nothing, honest(EVEN))):
        most, found = searched(row, start, KNOWING, think, seed)
        assert 4 - SAME <= most <= 5 + SAME, found.text()
        assert most < 5 - SAME or (found.span == SPAN and REWARDS["stvg_viou"](Batch([found.text()], [row]))[0] == 1)


def test_beyond_a_weight_of_1_think_boxes_are_made_bad_on_purpose() -> None:
    """The worst case is inverted think boxes, s_t = -5, and exact final ones: they earn 6 L - 1."""
    worst = answer("2 - 5", boxes(2, 5, USELESS[0]), EXACT)
    assert [earns(worst, row_truth(), weight) for weight in (0.5, 1.0, 2.0)] == pytest.approx([2, 5, 11])
    most, found = searched(row_truth(), honest(EVEN), KNOWING, 2.0, 0)
    assert 10 < most <= 11 + SAME, "which the search finds"
    assert REWARDS["stvg_think"](Batch([found.text()], [row_truth()]))[0] == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("off", "gaps"),
    [(EVEN, ()), ([0.0, 0.4, 0.35, 0.4], ()), ([0.4, 0.4, 0.1, 0.4], (3,))],
    ids=["even", "first", "third"],
)
@pytest.mark.parametrize("floor", [None, -1.0])
@pytest.mark.parametrize("think", [0.5, 1.0])
def test_over_the_frames_of_either_span_no_spoiling_pays(
    think: float, floor: float | None, off: list[float], gaps: tuple[int, ...]
) -> None:
    row = row_truth(frames="either", floor=floor, gaps=gaps)
    start = honest(off)
    most, found = searched(row, start, [*SPOILING, _hedged] if off == EVEN else SPOILING, think, 0)
    assert most <= earns(start.text(), row, think) + SAME, found.text()


@pytest.mark.slow
@pytest.mark.parametrize("think", [0.2, 0.5, 1.0])
def test_in_the_papers_equations_none_pays_for_boxes_that_are_evenly_right(think: float) -> None:
    start = honest(EVEN)
    most, found = searched(row_truth(), start, [*SPOILING, _hedged], think, 0)
    assert most <= earns(start.text(), row_truth(), think) + SAME, found.text()


@pytest.mark.slow
def test_in_the_papers_equations_the_search_finds_what_pays() -> None:
    """Boxes that are right in one frame only shrink the span to it. With bad boxes everywhere, the event is missed."""
    start = honest([0.0, 1.5, 1.5, 1.5])
    most, found = searched(row_truth(), start, SPOILING, 0.5, 0)
    assert found.span[0] == found.span[1]
    assert most == pytest.approx(4.25)
    start = honest([1.5] * 4)
    assert earns(start.text(), row_truth()) < 2
    most, found = searched(row_truth(), start, SPOILING, 0.5, 0)
    assert most >= 2
    assert REWARDS["stvg_temporal"](Batch([found.text()], [row_truth()]))[0] < 1


TOUCHING = "60, 20, 100, 60"  # IoU 0, union = hull: GIoU 0; L1 .8
FAR = "60, 60, 100, 100"  # IoU 0, union .32 of a hull of .64: GIoU -.5; L1 1.6
EXACT = boxes(*SPAN)
UNEVEN = "2. [20, 20, 60, 60], " + boxes(3, 5, TOUCHING)
BEYOND = answer("99 - 99", boxes(99, 99), boxes(99, 99))
ONE = answer("2 - 2", boxes(2, 2), boxes(2, 2))
SILENT = "<time> 2 - 5 </time>"
ALL = answer("0 - 9", boxes(0, 9), boxes(0, 9))

HACKS = [
    # honest answer, what is tried instead, STVG_SPATIAL_FRAMES, floor, what each earns, reason
    (answer("2 - 5", UNEVEN, UNEVEN), ONE, "shared", None, 3 + 2 * -0.35, 2.25 + 2, "the one easy frame: pays"),
    (answer("2 - 5", UNEVEN, UNEVEN), ONE, "shared", 0.0, 3 + 2 * 0.25, 2.25 + 2, "even with a floor of 0"),
    (answer("2 - 5", UNEVEN, UNEVEN), ONE, "either", None, 3 + 2 * -0.35, 2.25 + 2 * -3.5, "not over either span"),
    (answer("2 - 5", UNEVEN, UNEVEN), ONE, "either", -1.0, 3 + 2 * -0.35, 2.25 + 2 * -0.5, "nor with a floor"),
    (answer("2 - 5", EXACT, EXACT), ONE, "shared", None, 5, 4.25, "exact boxes: the rest of the event is worth .75"),
    (
        answer("2 - 5", boxes(2, 5, FAR), boxes(2, 5, FAR)),
        BEYOND,
        "shared",
        None,
        3 + 2 * -2.1,
        2,
        "an event that is missed on purpose, beyond the clip: 2 for nothing, pays where R_t + M < 0",
    ),
    (answer("2 - 5", boxes(2, 5, FAR), boxes(2, 5, FAR)), BEYOND, "shared", -1.0, 1, 2, "still, with a floor of -1"),
    (answer("2 - 5", boxes(2, 5, FAR), boxes(2, 5, FAR)), BEYOND, "shared", 0.0, 3, 2, "not with a floor of 0"),
    (answer("2 - 5", boxes(2, 5, FAR), boxes(2, 5, FAR)), BEYOND, "either", None, 3 + 2 * -2.1, -8, "nor over either"),
    (answer("2 - 5", boxes(2, 5, FAR), boxes(2, 5, FAR)), SILENT, "shared", None, -1.2, 1, "no boxes, if M < -2"),
    (answer("2 - 5", boxes(2, 5, FAR), boxes(2, 5, FAR)), SILENT, "shared", -1.0, 1, 1, "with a floor of -1 never"),
    (answer("2 - 5", boxes(2, 5, FAR), boxes(2, 5, FAR)), SILENT, "either", None, -1.2, -9, "nor over either span"),
    (
        answer("4 - 7", boxes(4, 7), boxes(4, 7)),
        ALL,
        "shared",
        None,
        4 + 1 / 3,
        4.4,
        "the whole clip, for fear of missing",
    ),
    (answer("4 - 7", boxes(4, 7), boxes(4, 7)), ALL, "either", -1.0, 5 / 3, 2, "as tIoU orders them"),
]


@pytest.mark.parametrize(("text", "tried", "frames", "floor", "worth", "pays", "reason"), HACKS)
def test_what_is_paid_by_hand(
    text: str, tried: str, frames: str, floor: float | None, worth: float, pays: float, reason: str
) -> None:
    row = row_truth(frames=frames, floor=floor)
    assert earns(text, row) == pytest.approx(worth), reason
    assert earns(tried, row) == pytest.approx(pays), reason


box_texts = st.lists(st.integers(0, 100), min_size=4, max_size=4).map(lambda b: ", ".join(map(str, b)))
tubes = st.lists(box_texts, min_size=10, max_size=10)
spans = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda s: (min(s), max(s)))


def written(span: tuple[int, int], think: list[str], pred: list[str]) -> str:
    parts = [", ".join(f"{i}. [{tube[i]}]" for i in range(span[0], span[1] + 1)) for tube in (think, pred)]
    return answer(f"{span[0]} - {span[1]}", *parts)


@pytest.mark.slow
@given(tubes, tubes, spans, st.sampled_from([None, -1.0, 0.0]), st.sampled_from([0.0, 0.5, 1.0]))
def test_over_either_span_the_true_one_is_best_whatever_the_boxes(
    think: list[str], pred: list[str], span: tuple[int, int], floor: float | None, weight: float
) -> None:
    row = row_truth(frames="either", floor=floor)
    assert earns(written(SPAN, think, pred), row, weight) >= earns(written(span, think, pred), row, weight) - SAME


@pytest.mark.slow
@given(tubes, tubes, tubes, spans, st.sampled_from(RULES), st.sampled_from([0.0, 0.5, 1.0]))
def test_worse_think_boxes_never_earn_more(
    think: list[str],
    other: list[str],
    pred: list[str],
    span: tuple[int, int],
    rule: tuple[str, float | None],
    weight: float,
) -> None:
    """At a weight of L they cost (1 - L) of their own R_spa, or all of it if they are better than the final boxes."""
    row = row_truth(frames=rule[0], floor=rule[1])
    texts = [written(span, tube, pred) for tube in (think, other)]
    worse, better = sorted(texts, key=lambda text: earns(text, row, 0.0))
    lost = earns(better, row, 0.0) - earns(worse, row, 0.0)
    assert (1 - weight) * lost - SAME <= earns(better, row, weight) - earns(worse, row, weight) <= lost + SAME


@pytest.mark.slow
@given(tubes, tubes, st.sets(st.integers(*SPAN), min_size=1), st.sampled_from(RULES), st.sampled_from([0.5, 1.0]))
def test_leaving_boxes_out_never_pays(
    think: list[str], pred: list[str], out: set[int], rule: tuple[str, float | None], weight: float
) -> None:
    """This holds while the list is readable: an index without a box counts as the worst box."""
    row = row_truth(frames=rule[0], floor=rule[1])
    text = written(SPAN, think, pred)
    for number, tag in enumerate(("think_bbox", "pred_bbox")):
        tube = (think, pred)[number]
        kept = ", ".join(f"{i}. [{tube[i]}]" for i in range(SPAN[0], SPAN[1] + 1) if i not in out)
        if kept:
            less = text.replace(f"<{tag}> " + text.split(f"<{tag}> ")[1].split(" </")[0], f"<{tag}> {kept}")
            assert earns(less, row, weight) <= earns(text, row, weight) - 1 + SAME, "and consistency is lost"


def test_boxes_of_the_whole_frame_by_size() -> None:
    """They earn (1 + w)(1 + h) - 3 a frame, less than a box that only touches the object, except for a large object."""
    for side in (10, 25, 50, 70, 80):
        row = row_truth(box=(0, 0, side, side))
        text = answer("2 - 5", boxes(2, 5, "0, 0, 100, 100"), boxes(2, 5, "0, 0, 100, 100"))
        share = side / 100
        assert REWARDS["stvg_spatial"](Batch([text], [row]))[0] == pytest.approx(2 * ((1 + share) ** 2 - 3))
        if 2 * side <= 100:
            beside = f"{side}, 0, {2 * side}, {side}"
            touching = answer("2 - 5", boxes(2, 5, beside), boxes(2, 5, beside))
            assert earns(touching, row) == pytest.approx(3 + 2 * -2 * share)
            assert (earns(touching, row) > earns(text, row)) == (share < 0.45)


def frame_terms(terms: BoxTerms, count: int) -> list[list[float]]:
    """GIoU - L1 of each frame of each completion."""
    ends = np.searchsorted(terms.owner, np.arange(count + 1))
    per_frame = spatial_term(terms.giou, terms.l1)
    return [per_frame[a:b].tolist() for a, b in pairwise(ends.tolist())]


def best_part(think: list[float], pred: list[float], weight: float) -> float:
    """The gain of the best part of the true span, chosen with knowledge of the terms, over the whole span."""
    sums = [np.concatenate([[0.0], np.cumsum(values)]) for values in (think, pred)]

    def worth(first: int, last: int) -> float:
        length = last - first
        s_t, s_p = ((values[last] - values[first]) / length for values in sums)
        return length / len(pred) + s_t + s_p + weight * max(s_p - s_t, 0)

    whole = worth(0, len(pred))
    return max(worth(a, b) for a in range(len(pred)) for b in range(a + 1, len(pred) + 1)) - whole


ON_TUBES = [
    # boxes off by (standard deviation, share of the sides), their mean IoU, share of answers that a part of the span
    # pays more, by how much over all answers, share that missing the event pays more, the same were R_t .25
    (0.1, 0.75, 0.0, 0.0, 0.0, 0.0),
    (0.2, 0.57, 0.09, 0.003, 0.0, 0.0),
    (0.4, 0.33, 0.58, 0.17, 0.017, 0.47),
]


@pytest.mark.parametrize(("off", "iou", "share", "gain", "missed", "missed_late"), ON_TUBES)
def test_how_often_it_pays_on_tubes_of_hcstvgs_shape(
    off: float, iou: float, share: float, gain: float, missed: float, missed_late: float
) -> None:
    """The right span, and boxes with a random error of each side in each frame; the paper's weights and equations."""
    rows = [make_row_truth(s, VideoInfo.nominal(s), Settings()) for s in samples()]
    rng = np.random.default_rng(0)
    texts = []
    for row in rows:
        exact = row.answer.pred
        assert exact is not None
        sides = np.tile(exact.boxes_xyxy[:, 2:] - exact.boxes_xyxy[:, :2], 2)
        lists = []
        for _ in range(2):
            moved = np.rint(np.maximum(exact.boxes_xyxy + rng.normal(0, off, sides.shape) * sides, 0))
            moved = np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], 1)
            lists.append(replace(exact, boxes_xyxy=moved))
        texts.append(row.format.render(replace(row.answer, think=lists[0], pred=lists[1])))
    batch = Batch(texts, rows)
    assert (total(batch, WEIGHTS) > 0).all()
    both = zip(*(frame_terms(t, len(rows)) for t in (batch.think_terms, batch.pred_terms)), strict=True)
    gains = np.array([best_part(think, pred, 0.5) for think, pred in both])
    assert np.mean(batch.pred_terms.iou) == pytest.approx(iou, abs=0.01)
    assert np.mean(gains > SAME) == pytest.approx(share, abs=0.01)
    assert np.mean(np.maximum(gains, 0)) == pytest.approx(gain, abs=0.01)
    assert np.mean(total(batch, WEIGHTS) < 2) == pytest.approx(missed, abs=0.01)
    assert np.mean(total(batch, WEIGHTS) < 2.75) == pytest.approx(missed_late, abs=0.01)
