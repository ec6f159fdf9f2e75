"""The protocols against what the public evaluators themselves returned (golden files), and cases by hand."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.metrics import summarise
from swift_stvg.protocols import evaluate
from swift_stvg.records import Sample
from swift_stvg.sources.hcstvg import read_sample
from swift_stvg.tubes import Tube

GOLDEN = Path(__file__).parent / "data/golden_hcstvg"


@cache
def golden(name: str) -> Any:
    return json.loads(gzip.decompress((GOLDEN / f"{name}.json.gz").read_bytes()))


@cache
def samples() -> list[Sample]:
    annotations = golden("annotations_hcstvg_v1")
    return [read_sample(name, a, "hcstvg_v1", "test", Path(name)) for name, a in annotations.items()]


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
