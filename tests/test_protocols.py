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
from swift_stvg.protocols import Truth, Tube, evaluate

GOLDEN = Path(__file__).parent / "data/golden_hcstvg"


@cache
def golden(name: str) -> Any:
    return json.loads(gzip.decompress((GOLDEN / f"{name}.json.gz").read_bytes()))


def truth(annotation: dict[str, Any]) -> Truth:
    boxes = np.array(annotation["bbox"], dtype=np.float64)
    first = annotation["st_frame"] - 1
    frames = np.arange(first, first + len(boxes))
    return Truth(
        tube=Tube(
            (first, int(frames[-1])), frames, np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        ),
        fps=annotation["img_num"] / 20,
        size_wh=(annotation["width"], annotation["height"]),
        clip_frames=(0, annotation["img_num"]),
        annotated_end=int(frames[-1]),
        one_based=True,
    )


def prediction(entry: dict[str, Any]) -> Tube:
    frames = sorted(map(int, entry["boxes"]))
    first, last = entry["span_frames"]
    return Tube((first, last), np.array(frames), np.array([entry["boxes"][str(f)] for f in frames], dtype=np.float64))


NAMES = {"tubedetr_zero_based": "tubedetr"}


@pytest.mark.parametrize("protocol", ["hcstvg_official", "tubedetr_as_shipped", "tubedetr_zero_based", "cg_stvg"])
@pytest.mark.parametrize("kind", ["dense", "sparse_interpolated"])
def test_golden(kind: str, protocol: str) -> None:
    expected = golden("expected")[kind][protocol]
    annotations = golden("annotations_hcstvg_v1")
    given = golden("predictions_dense" if kind == "dense" else "predictions_sparse")
    tubes = [prediction(given[name]) if name in given else None for name in annotations]
    if kind == "sparse_interpolated":
        tubes = [tube and tube.interpolated() for tube in tubes]
    scores = evaluate([truth(a) for a in annotations.values()], tubes, NAMES.get(protocol, protocol))
    each = [expected["per_sample"][name] for name in annotations]
    np.testing.assert_allclose(scores.tiou, [e["tiou"] for e in each], atol=1e-9)
    np.testing.assert_allclose(scores.viou, [e["viou"] for e in each], atol=1e-9)
    means = summarise(scores.tiou, scores.viou)
    assert means == pytest.approx(
        {
            "m_tIoU": expected["mean"]["m_tiou"],
            "m_vIoU": expected["mean"]["m_viou"],
            "vIoU@0.3": expected["mean"]["viou@0.3"],
            "vIoU@0.5": expected["mean"]["viou@0.5"],
        },
        abs=1e-9,
    )
