"""The baselines of `swift-stvg bench score` and `rewards`: loops over frames in Python.

    python loops.py plain|arrays ANNOTATIONS PREDICTIONS

This scores with HC-STVG's protocol.

plain   compares boxes as Python numbers, like HC-STVG's own script
arrays  compares boxes as numpy arrays of one row, like TubeDETR's evaluators and evaluators derived from them

The file imports nothing of this package, so that the baselines import only what they need.
"""

from __future__ import annotations

import json
import re
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


def five_rewards(
    completion: str, span: tuple[int, int], truth: dict[int, Sequence[float]], size_wh: tuple[int, int]
) -> list[float]:
    """The rewards of one completion, Eq. 3 to 9, by regular expressions and a loop over boxes."""
    box = r"\d+\. \[\d+, \d+, \d+, \d+\]"
    part = rf"{box}(?:, {box})*"
    form = rf"<time> \d+ - \d+ </time> <think_bbox> {part} </think_bbox> <pred_bbox> {part} </pred_bbox>"
    valid = re.fullmatch(form, completion) is not None
    times = re.search(r"<time> (\d+) - (\d+) </time>", completion)
    parts = [re.search(rf"<{tag}>(.*?)</{tag}>", completion) for tag in ("think_bbox", "pred_bbox")]
    if times is None or None in parts:
        return [float(valid), 0.0, 0.0, 0.0, 0.0]
    first, last = int(times[1]), int(times[2])
    shared = min(last, span[1]) - max(first, span[0]) + 1
    temporal = max(shared, 0) / (max(last, span[1]) - min(first, span[0]) + 1)
    consistent, means = True, []
    for found in parts:
        entries = re.findall(r"(\d+)\. \[(\d+), (\d+), (\d+), (\d+)\]", found[1] if found else "")
        boxes = {int(entry[0]): [float(v) for v in entry[1:]] for entry in entries}
        consistent &= list(boxes) == list(range(first, last + 1))
        total = 0.0
        for index in range(max(first, span[0]), min(last, span[1]) + 1):
            total += _term(boxes[index], truth[index], size_wh) if index in boxes else -5.0
        means.append(total / max(shared, 1))
    return [float(valid), float(consistent), temporal, sum(means), max(means[1] - means[0], 0.0)]


def _term(box: Sequence[float], other: Sequence[float], size_wh: tuple[int, int]) -> float:
    """GIoU - L1 of two boxes, number by number; -5 for an inverted box."""
    if box[0] > box[2] or box[1] > box[3]:
        return -5.0
    limits = (*size_wh, *size_wh)
    a = [min(max(value / limit, 0.0), 1.0) for value, limit in zip(box, limits, strict=True)]
    b = [value / limit for value, limit in zip(other, limits, strict=True)]
    union = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    union -= shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return shared / union - (hull - union) / hull - sum(abs(x - y) for x, y in zip(a, b, strict=True))


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
