"""PTD's protocol against results of PTD's own evaluation, and cases by hand."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.records import Truth, Tube
from swift_stvg.scoring.metrics import per_sample
from swift_stvg.scoring.protocols import evaluate
from tests.goldens_of_protocols import golden, samples


@cache
def expected() -> Any:
    return json.loads(gzip.decompress((Path(__file__).parent / "data/ptd.json.gz").read_bytes()))


def tube(entry: dict[str, Any]) -> Tube:
    frames = sorted(map(int, entry["boxes"]))
    boxes = np.array([entry["boxes"][str(f)] for f in frames], dtype=np.float64).reshape(-1, 4)
    return Tube(tuple(entry["span_frames"]), np.array(frames, dtype=np.int64), boxes)


def agree(truths: list[Any], tubes: list[Tube | None], names: list[str], theirs: Any, interpolate: bool) -> None:
    scores = evaluate(truths, tubes, "ptd", interpolate=interpolate)
    each = [theirs["each"][name] for name in names]
    np.testing.assert_allclose(scores.tiou, [tiou for tiou, _ in each], rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores.viou, [viou for _, viou in each], rtol=0, atol=1e-9)
    metrics = per_sample(scores.tiou, scores.viou, at_least=True)
    for metric, mean in theirs["mean"].items():
        assert 100 * metrics[metric].mean() == pytest.approx(mean, abs=1e-9)
        assert mean > 0


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_golden_of_hcstvg(kind: str) -> None:
    given = golden(f"predictions_{kind}")
    theirs = expected()["hcstvg"][kind]
    known = [sample for sample in samples() if sample.id in theirs["each"]]
    assert len(known) == 114, "events between two frames of the grid are left out there"
    tubes = [tube(given[s.id]) if s.id in given else None for s in known]
    agree(known, tubes, [s.id for s in known], theirs, kind == "sparse")


def test_golden_of_vidstg() -> None:
    theirs = expected()["vidstg"]
    truths, tubes, names = [], [], []
    for video in theirs["annotations"]["videos"]:
        name = video["original_video_id"]
        track = theirs["annotations"]["trajectories"][name]["3"]
        frames = sorted(map(int, track))
        truths.append(
            Truth(
                annotated_frames=video["frame_count"],
                annotated_fps=video["fps"],
                size_wh=(video["width"], video["height"]),
                span_frames=(video["tube_start_frame"], video["tube_end_frame"]),
                tube_frames=np.array(frames),
                tube_xyxy=np.array([track[str(f)]["bbox"] for f in frames], dtype=np.float64),
                clip_frames=(video["start_frame"], video["end_frame"] + 1),
            )
        )
        tubes.append(tube(theirs["tubes"][name]) if name in theirs["tubes"] else None)
        names.append(name)
    agree(truths, tubes, names, theirs, True)


def truth(n_frames: int, span: tuple[int, int], box: tuple[float, ...] = (0, 0, 50, 100), **how: Any) -> Truth:
    frames = np.arange(*span)
    return Truth(
        annotated_frames=n_frames,
        annotated_fps=10.0,
        size_wh=(100, 100),
        span_frames=span,
        tube_frames=frames,
        tube_xyxy=np.tile(np.array(box, dtype=np.float64), (len(frames), 1)),
        **how,
    )


def still(span: tuple[int, int], box: tuple[float, ...] = (0, 0, 50, 100)) -> Tube:
    return Tube(span, np.array([span[0]]), np.array([box], dtype=np.float64))


# 101 frames at 10 per second: 20 frames are looked at, at 0, 5, 11, 16, ..., 100
BY_HAND = [
    (truth(101, (0, 101)), still((0, 100)), 1, 1, "everything"),
    (truth(101, (0, 11)), still((0, 100)), 2 / 20, 2 / 20, "frames 0 and 5 of 20"),
    (truth(101, (0, 11)), still((1, 4)), 0, 0, "no frame of the grid is predicted"),
    (truth(101, (1, 5)), still((1, 5)), 0, 0, "the event lies between two frames of the grid"),
    (truth(101, (0, 101)), still((0, 100), (0, 0, 25, 100)), 1, 0.5, "half of the box"),
    (truth(101, (0, 101)), still((0, 100), (50, 100, 0, 0)), 1, 1, "swapped corners are ordered"),
    (truth(101, (0, 101)), still((0, 100), (0, 0, 49.96, 100.04)), 1, 1, "boxes are rounded to thousandths"),
    (truth(101, (0, 6)), still((95, 100)), 0, 0, "apart"),
    (truth(101, (0, 101)), None, 0, 0, "no prediction"),
]


@pytest.mark.parametrize(("true", "predicted", "tiou", "viou", "why"), BY_HAND, ids=[case[-1] for case in BY_HAND])
def test_by_hand(true: Truth, predicted: Tube | None, tiou: float, viou: float, why: str) -> None:
    scores = evaluate([true], [predicted], "ptd")
    assert (scores.tiou[0], scores.viou[0]) == pytest.approx((tiou, viou)), why


@pytest.mark.parametrize(("one_based", "viou", "why"), [(True, 1.0, "as HC-STVG's"), (False, 19 / 20, "as VidSTG's")])
def test_boxes_of_negative_size(one_based: bool, viou: float, why: str) -> None:
    boxes = np.tile([0.0, 0.0, 50.0, 100.0], (101, 1))
    boxes[4:7] = [100.0, 0.0, 60.0, 100.0]  # one frame of the grid
    given = Truth(
        annotated_frames=101,
        annotated_fps=10.0,
        size_wh=(100, 100),
        span_frames=(0, 101),
        tube_frames=np.arange(101),
        tube_xyxy=boxes,
        one_based=one_based,
    )
    assert evaluate([given], [still((0, 100))], "ptd").viou[0] == pytest.approx(viou), why


def test_a_value_equal_to_r_counts() -> None:
    metrics = per_sample(np.array([0.3]), np.array([0.5]), at_least=True)
    assert (metrics["tIoU@0.3"][0], metrics["vIoU@0.5"][0]) == (1, 1)
    metrics = per_sample(np.array([0.3]), np.array([0.5]))
    assert (metrics["tIoU@0.3"][0], metrics["vIoU@0.5"][0]) == (0, 0)
