"""The baselines of `swift-stvg bench score`: HC-STVG's protocol in a Python loop over frames, written for comparison.

    python loops.py plain|arrays ANNOTATIONS PREDICTIONS

plain   compares boxes as Python numbers, as HC-STVG's own script does
arrays  compares them as one-row numpy arrays, as TubeDETR's evaluators and their descendants do

It stands alone, so that neither imports more than it needs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence


def iou(box: Sequence[float], other: Sequence[float]) -> float:
    """IoU of two boxes, number by number."""
    x1, y1, x2, y2 = max(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), min(box[3], other[3])
    if x1 >= x2 or y1 >= y2:
        return 0.0
    shared = (x2 - x1) * (y2 - y1)
    return shared / ((box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)


def iou_of_arrays(box: Sequence[float], other: Sequence[float]) -> float:
    """IoU of two boxes as a 1 x 1 matrix."""
    import numpy as np

    a, b = np.array([box], dtype=np.float64), np.array([other], dtype=np.float64)
    low = np.maximum(a[:, None, :2], b[:, :2])
    high = np.minimum(a[:, None, 2:], b[:, 2:])
    sides = (high - low).clip(min=0)
    shared = sides[:, :, 0] * sides[:, :, 1]
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (a, b)]
    matrix = shared / (areas[0][:, None] + areas[1] - shared)
    return float(matrix[0, 0])


def main(kind: str, annotations: str, predictions: str) -> None:
    """Print the four means as JSON."""
    with open(annotations, encoding="utf-8") as file:
        truths = json.load(file)
    with open(predictions, encoding="utf-8") as file:
        predicted = json.load(file)
    compare = iou if kind == "plain" else iou_of_arrays
    tious, vious = [], []
    for name, truth in truths.items():
        if name not in predicted:
            tious.append(0.0)
            vious.append(0.0)
            continue
        first = truth["st_frame"] - 1
        boxes = {first + i: [x, y, x + w, y + h] for i, (x, y, w, h) in enumerate(truth["bbox"])}
        given = predicted[name]["boxes"]
        ious = [compare(given[str(frame)], box) for frame, box in boxes.items() if str(frame) in given]
        begin, end = predicted[name]["span_frames"]
        hull = max(max(boxes), end) - min(first, begin) + 1
        tious.append(len(ious) / hull)
        vious.append(sum(ious) / hull)
    sums = {
        "m_tIoU": sum(tious),
        "m_vIoU": sum(vious),
        "vIoU@0.3": sum(v > 0.3 for v in vious),
        "vIoU@0.5": sum(v > 0.5 for v in vious),
    }
    print(json.dumps({metric: total / len(truths) for metric, total in sums.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
