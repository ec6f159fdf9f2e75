"""The protocols against results of the public evaluators (golden files), and cases by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.geometry import FloatArray
from swift_stvg.records import Sample, Tube
from swift_stvg.scoring.metrics import summarise
from swift_stvg.scoring.protocols import PROTOCOLS, evaluate
from tests.goldens_of_protocols import golden, samples


def tube(entry: dict[str, Any]) -> Tube:
    frames = sorted(map(int, entry["boxes"]))
    first, last = entry["span_frames"]
    boxes = np.array([entry["boxes"][str(f)] for f in frames], dtype=np.float64)
    return Tube((first, last), np.array(frames), boxes)


NAMES = {"tubedetr_zero_based": "tubedetr"}


@pytest.mark.parametrize("protocol", ["hcstvg_official", "tubedetr_as_shipped", "tubedetr_zero_based", "cg_stvg"])
@pytest.mark.parametrize("kind", ["dense", "sparse_interpolated"])
def test_golden(kind: str, protocol: str) -> None:
    expected = golden("expected")[kind][protocol]
    given = golden("predictions_dense" if kind == "dense" else "predictions_sparse")
    tubes = [tube(given[s.id]) if s.id in given else None for s in samples()]
    scores = evaluate(samples(), tubes, NAMES.get(protocol, protocol), interpolate=kind != "dense")
    each = [expected["per_sample"][s.id] for s in samples()]
    np.testing.assert_allclose(scores.tiou, [e["tiou"] for e in each], atol=1e-9)
    np.testing.assert_allclose(scores.viou, [e["viou"] for e in each], atol=1e-9)
    means = summarise(scores.tiou, scores.viou)
    for ours, theirs in {
        "m_tIoU": "m_tiou",
        "m_vIoU": "m_viou",
        "vIoU@0.3": "viou@0.3",
        "vIoU@0.5": "viou@0.5",
    }.items():
        assert means[ours] == pytest.approx(expected["mean"][theirs], abs=1e-9)


def by_hand(sample: Sample, tube: Tube | None, protocol: str) -> tuple[float, float, float]:
    """tIoU, vIoU and mean spatial IoU frame by frame, straight from the protocol's definition."""
    if tube is None:
        return 0.0, 0.0, 0.0
    shift = 1 if protocol == "tubedetr_as_shipped" and sample.one_based else 0
    width, height = sample.size_wh
    truth = {}
    for frame, (x1, y1, x2, y2) in zip(sample.tube_frames.tolist(), sample.tube_xyxy.tolist(), strict=True):
        clipped = protocol == "cg_stvg" and sample.one_based
        truth[frame + shift] = (x1, y1, min(x2, width), min(y2, height)) if clipped else (x1, y1, x2, y2)
    begin, end = sample.span_frames[0] + shift, sample.span_frames[1] + shift
    if protocol == "cg_stvg":
        end = min(end - sample.one_based, sample.clip[1] - 1)
    p_begin, p_end = tube.span_frames[0], tube.span_frames[1] + 1
    given = dict(zip(tube.frames.tolist(), tube.boxes_xyxy.tolist(), strict=True))
    predicted = {}
    for frame in range(p_begin, p_end):
        if len(given):
            known = sorted(given)
            predicted[frame] = [float(np.interp(frame, known, [given[k][i] for k in known])) for i in range(4)]
    low, high = min(begin, p_begin), max(end, p_end)
    if protocol.startswith("tubedetr"):
        first, stop = sample.clip
        rate = 5 / sample.annotated_fps
        counted = [first]
        for frame in range(first, stop - 1):
            if int(counted[-1] * rate) < int(frame * rate):
                counted.append(frame)
        if len(counted) > 200:
            counted = [counted[j * len(counted) // 200] for j in range(200)]
    else:
        counted = list(range(low, high))
    hull = [frame for frame in counted if low <= frame < high]
    total = sum(
        iou(predicted[frame], truth[frame])
        for frame in hull
        if max(begin, p_begin) <= frame < min(end, p_end) and frame in truth and frame in predicted
    )
    event = [frame for frame in truth if frame in counted or protocol in ("hcstvg_official", "cg_stvg")]
    spatial = sum(iou(predicted[f], truth[f]) for f in event if f in predicted) / max(len(event), 1)
    if protocol == "hcstvg_official":
        shared = len(set(predicted) & set(truth))
        return shared / (high - low), total / (high - low), spatial
    shared = max(0, min(end, p_end) - max(begin, p_begin))
    return shared / ((end - begin) + (p_end - p_begin) - shared), total / max(len(hull), 1), spatial


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high)


def random_case(rng: np.random.Generator, number: int) -> tuple[Sample, Tube | None]:
    """A clip anywhere in a video, with gaps in the annotation, boxes beyond the frame, and a sparse prediction."""
    n, fps = int(rng.integers(30, 2500)), float(rng.choice([10.0, 24.0, 25.0, 29.97, 30.0]))
    clip = tuple(sorted(rng.choice(n, 2, replace=False).tolist()))
    clip = (clip[0], clip[1] + 1)
    span = tuple(sorted(rng.choice(np.arange(clip[0], clip[1] + 1), 2, replace=False).tolist()))
    frames = np.arange(*span)
    frames = frames[rng.random(len(frames)) < 0.9] if len(frames) > 3 else frames

    def some_boxes(count: int) -> FloatArray:
        corner = rng.uniform(-20, 60, (count, 2))
        return np.concatenate([corner, corner + rng.uniform(0, 80, (count, 2))], axis=1)

    sample = Sample(
        id=str(number),
        dataset="made",
        split="up",
        sentence="it moves",
        video=Path("v.mp4"),
        annotated_frames=n,
        annotated_fps=fps,
        size_wh=(100, 90),
        span_frames=(span[0], span[1]),
        tube_frames=frames,
        tube_xyxy=some_boxes(len(frames)),
        clip_frames=(clip[0], clip[1]),
        one_based=bool(rng.random() < 0.5),
    )
    first, last = sorted(rng.integers(clip[0], clip[1], 2).tolist())
    known = np.unique(rng.integers(first, last + 1, max(1, (last - first) // 10)))
    return sample, None if rng.random() < 0.1 else Tube((first, last), known, some_boxes(len(known)))


@pytest.mark.slow
@pytest.mark.parametrize("protocol", sorted(PROTOCOLS.keys() - {"ptd"}))  # tests/test_ptd.py
def test_whole_datasets_agree_with_a_loop_over_frames(protocol: str) -> None:
    rng = np.random.default_rng(5)
    cases = [random_case(rng, i) for i in range(60)]
    scores = evaluate([s for s, _ in cases], [t for _, t in cases], protocol)
    expected = np.array([by_hand(s, t, protocol) for s, t in cases])
    found = np.stack([scores.tiou, scores.viou, scores.siou], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert (expected > 0).mean() > 0.2


def test_the_exact_tube_and_the_quirk_of_the_last_frame() -> None:
    """A perfect prediction scores 1, but (n - 1) / n where the last annotated frame never counts."""
    exact = [Tube((s.span_frames[0], s.span_frames[1] - 1), s.tube_frames, s.tube_xyxy) for s in samples()]
    n = np.array([s.span_frames[1] - s.span_frames[0] for s in samples()])
    assert evaluate(samples(), exact, "hcstvg_official").tiou.tolist() == [1.0] * len(n)
    assert evaluate(samples(), exact, "tubedetr").tiou.tolist() == [1.0] * len(n)
    np.testing.assert_allclose(evaluate(samples(), exact, "cg_stvg").tiou, (n - 1) / n)


def test_boxes_without_area_or_unreadable_score_nothing() -> None:
    first = samples()[0]
    span = (first.span_frames[0], first.span_frames[1] - 1)
    for box in ([5.0, 5, 5, 5], [np.nan] * 4, [50.0, 50, 10, 10]):
        still = Tube(span, first.tube_frames, np.tile(box, (len(first.tube_frames), 1)))
        scores = evaluate([first], [still], "hcstvg_official")
        assert (scores.tiou[0], scores.viou[0]) == (1.0, 0.0)


def test_nothing_predicted_at_all() -> None:
    for protocol in PROTOCOLS:
        scores = evaluate(
            samples()[:3], [None, None, Tube((5, 9), np.empty(0, dtype=np.int64), np.empty((0, 4)))], protocol
        )
        assert not scores.viou.any()


def test_boxes_outside_the_span_count_for_the_spatial_mean_only() -> None:
    first = samples()[0]
    begin, end = first.span_frames
    half = (begin + end) // 2
    tube = Tube((begin, half - 1), first.tube_frames, first.tube_xyxy)
    scores = evaluate([first], [tube], "hcstvg_official")
    assert scores.viou[0] <= scores.tiou[0] == (half - begin) / (end - begin)
    everywhere = evaluate([first], [Tube((begin, end - 1), first.tube_frames, first.tube_xyxy)], "hcstvg_official")
    assert scores.siou[0] == everywhere.siou[0]


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown protocol 'coco'; the protocols are: hcstvg_official"):
        evaluate(samples()[:1], [None], "coco")
    with pytest.raises(ValueError, match="`predictions` must hold one value for each truth, got 1 for 2"):
        evaluate(samples()[:2], [None], "cg_stvg")
