"""The records of `serving.grounding` as text: the time, the boxes, and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

MOST_BOXES = 12
"""At most this many boxes of an answer are printed, evenly chosen."""


def render_grounding(record: Mapping[str, Any]) -> str:
    """A record as lines of text: the span in seconds, the status, and boxes in pixels of the video."""
    span, boxes = record["span_s"], record["boxes"]
    when = "no time" if span is None else f"{span[0]:.2f} to {span[1]:.2f} s"
    lines = [f"{record['sentence']!r}: {when}, {len(boxes)} boxes. Status: {record['status']}"]
    lines += [f"  {record['detail']:.300}"] if record["detail"] else []
    chosen = np.unique(np.linspace(0, len(boxes) - 1, min(len(boxes), MOST_BOXES)).round().astype(int)).tolist()
    for box in (boxes[i] for i in chosen):
        parts = [box["pred_xyxy"], box["think_xyxy"]]
        xyxy = next((part for part in parts if part is not None), None)
        where = "unreadable" if xyxy is None else " ".join(f"{side:7.1f}" for side in xyxy)
        think = " (think box)" if parts[0] is None and xyxy is not None else ""
        lines.append(f"  {box['time_s']:8.2f} s  frame {box['frame']:6d}  {where}{think}")
    if len(boxes) > len(chosen):
        lines.append(f"  {len(boxes) - len(chosen)} more boxes: --format json prints all")
    return "\n".join(lines) + "\n"
