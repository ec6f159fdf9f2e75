"""Boxes and spans: pure numpy, without validation (records validate their arrays when they are made).

Boxes are `boxes_xyxy`: float arrays of shape (N, 4) with two opposite corners x1, y1, x2, y2.
Spans are closed: both ends are part of the span.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "THRESHOLDS",
    "TIE_S",
    "FloatArray",
    "IntArray",
    "box_areas",
    "clip_boxes",
    "interpolate",
    "paired_iou",
    "paired_iou_and_giou",
    "paired_l1",
    "span_iou",
    "to_picture",
]


FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
TIE_S = 1e-4
"""Times in seconds that differ by less than this count as equal, because decoders round time stamps."""
THRESHOLDS = (0.3, 0.5)
"""Thresholds R of tIoU@R and vIoU@R in published tables."""


def clip_boxes(boxes_xyxy: FloatArray, size_wh: tuple[float, float] | FloatArray) -> FloatArray:
    """Clip boxes (N, 4) to the frame [0, w] x [0, h]; `size_wh` is one size (2,), or one size for each box (N, 2)."""
    limit = np.asarray(size_wh, dtype=np.float64)
    return np.clip(boxes_xyxy, 0.0, np.concatenate([limit, limit], axis=-1))


def to_picture(boxes_xyxy: FloatArray, scale_wh: tuple[float, float], size_wh: tuple[float, float]) -> FloatArray:
    """Convert boxes (N, 4) from text coordinates to picture coordinates, and clip them to the picture.

    An inverted box, or a box with NaN in it, becomes NaN.

    Args:
        boxes_xyxy: boxes in text coordinates.
        scale_wh: extent of the text coordinates.
        size_wh: size of the picture, in the unit of the result.
    """
    upright = np.all(boxes_xyxy[:, :2] <= boxes_xyxy[:, 2:], axis=1)  # false for NaN
    scaled = boxes_xyxy * (np.array(size_wh * 2, dtype=np.float64) / np.array(scale_wh * 2))
    return clip_boxes(np.where(upright[:, None], scaled, np.nan), size_wh)


def interpolate(
    positions: FloatArray | IntArray,
    boxes_xyxy: FloatArray,
    before: IntArray,
    after: IntArray,
    wanted: FloatArray | IntArray,
) -> FloatArray:
    """Interpolate boxes linearly, each between two known boxes; the result is NaN if one of the two is NaN.

    Args:
        positions: (K,) frames or seconds of the known boxes.
        boxes_xyxy: (K, 4) known boxes.
        before, after: (N,) indices of the two known boxes to use; equal if there is only one.
        wanted: (N,) positions of the result. A position outside its two known ones gets the nearer box.

    Returns:
        Boxes (N, 4).
    """
    gap = positions[after] - positions[before]
    share = np.clip((wanted - positions[before]) / np.where(gap > 0, gap, 1), 0.0, 1.0)[:, None]
    boxes: FloatArray = boxes_xyxy[before] + share * (boxes_xyxy[after] - boxes_xyxy[before])
    return boxes


def box_areas(boxes_xyxy: FloatArray) -> FloatArray:
    """Areas (N,) of boxes (N, 4); an inverted box has area 0."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0.0)  # (N, 2)
    areas: FloatArray = sides[:, 0] * sides[:, 1]
    return areas


def paired_iou(boxes_xyxy: FloatArray, others_xyxy: FloatArray) -> FloatArray:
    """IoU in [0, 1] of paired boxes, (N,); arguments as in `paired_iou_and_giou`."""
    intersection, union = _intersection_and_union(boxes_xyxy, others_xyxy)
    return intersection / union


def paired_iou_and_giou(boxes_xyxy: FloatArray, others_xyxy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """IoU in [0, 1] and generalised IoU in [-1, 1] of paired boxes: row i with row i.

    Args:
        boxes_xyxy: (N, 4), x1 <= x2 and y1 <= y2.
        others_xyxy: (N, 4), as above, and each with a positive area.

    Returns:
        Two arrays (N,).

    Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, Alg. 1.
    """
    intersection, union = _intersection_and_union(boxes_xyxy, others_xyxy)
    iou = intersection / union
    hull_sides = np.maximum(boxes_xyxy[:, 2:], others_xyxy[:, 2:]) - np.minimum(boxes_xyxy[:, :2], others_xyxy[:, :2])
    hull = hull_sides[:, 0] * hull_sides[:, 1]  # (N,)
    return iou, iou - (hull - union) / hull


def _intersection_and_union(boxes_xyxy: FloatArray, others_xyxy: FloatArray) -> tuple[FloatArray, FloatArray]:
    low = np.maximum(boxes_xyxy[:, :2], others_xyxy[:, :2])  # (N, 2)
    high = np.minimum(boxes_xyxy[:, 2:], others_xyxy[:, 2:])  # (N, 2)
    overlap = np.maximum(high - low, 0.0)
    intersection = overlap[:, 0] * overlap[:, 1]  # (N,)
    return intersection, box_areas(boxes_xyxy) + box_areas(others_xyxy) - intersection


def paired_l1(boxes_xyxy: FloatArray, others_xyxy: FloatArray) -> FloatArray:
    """Sum of the absolute differences of the four coordinates, (N,); in [0, 4] for normalised boxes."""
    total: FloatArray = np.abs(boxes_xyxy - others_xyxy).sum(axis=1)
    return total


def span_iou(span: tuple[int, int], other: tuple[int, int]) -> float:
    """IoU in [0, 1] of two closed integer spans, both ends included; 0 if a span runs backwards."""
    shared = min(span[1], other[1]) - max(span[0], other[0]) + 1
    if shared <= 0:  # this includes spans that run backwards
        return 0.0
    return shared / (span[1] - span[0] + 1 + other[1] - other[0] + 1 - shared)
