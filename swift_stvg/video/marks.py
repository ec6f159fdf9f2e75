"""Numbers drawn onto the frames that a model sees, one for each object.

The number stands at the centre of the object's box, in red with a white rim. STVG-R1's own preparation draws it in red
too, with letters of 20 pixels where the longer side is 336. A number that would cover another one moves up or down.

Source: arXiv 2602.11730; github.com/XiaowZhang00/stvg-r1, preprocess/mask2marker.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]
Mark: TypeAlias = tuple[int, int, int, int, int, int]
"""Position of a frame in the clip, the object's number, and its box x1, y1, x2, y2 in pixels of the frame."""

LETTER_SHARE = 20 / 336
"""Height of the letters as a share of the frame's longer side."""
LEAST_LETTER = 11
"""Least height of the letters in pixels; a reader cannot distinguish smaller digits."""
RED, WHITE = (255, 0, 0), (255, 255, 255)


def draw_marks(frames: Pixels, marks: Sequence[Mark], outlines: bool) -> Pixels:
    """Frames (T, H, W, 3) with the marks drawn, as a new array.

    Args:
        frames: RGB frames.
        marks: the marks, in any order. In a frame, larger objects are drawn first, and objects of one size by number.
        outlines: whether the box is drawn around the object too.
    """
    from PIL import Image, ImageDraw

    drawn: Pixels = frames.copy()
    height, width = frames.shape[1:3]
    font = _font(max(LEAST_LETTER, round(LETTER_SHARE * max(width, height))))
    by_frame: dict[int, list[Mark]] = {}
    for mark in marks:
        by_frame.setdefault(mark[0], []).append(mark)
    for position, of_frame in by_frame.items():
        picture = Image.fromarray(drawn[position])
        draw = ImageDraw.Draw(picture)
        if outlines:
            for _, _, *box in of_frame:
                draw.rectangle(box, outline=RED, width=max(1, round(font.size / 12)))
        taken: list[tuple[int, int, int, int]] = []
        for _, number, *box in sorted(of_frame, key=lambda mark: (-_area(mark), mark[1])):
            place = _place(_text_size(font.size, number), box, (width, height), taken)
            taken.append(place)
            centre = ((place[0] + place[2]) / 2, (place[1] + place[3]) / 2)
            bold, rim = _strokes(font.size)
            draw.text(centre, str(number), WHITE, font, anchor="mm", stroke_width=bold + rim, stroke_fill=WHITE)
            draw.text(centre, str(number), RED, font, anchor="mm", stroke_width=bold, stroke_fill=RED)
        drawn[position] = np.asarray(picture)
    return drawn


def _area(mark: Mark) -> int:
    _, _, left, top, right, bottom = mark
    return (right - left) * (bottom - top)


def _place(
    size: tuple[int, int], box: Sequence[int], picture_wh: tuple[int, int], taken: Sequence[tuple[int, int, int, int]]
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a number: at the centre of the box, or at the nearest free place above or below."""
    width, height = size
    left = min(max((box[0] + box[2] - width) // 2, 0), max(picture_wh[0] - width, 0))
    middle = (box[1] + box[3] - height) // 2
    lowest = max(picture_wh[1] - height, 0)
    for step in range(2 * picture_wh[1]):
        top = middle + (step + 1) // 2 * (-1 if step % 2 else 1)
        place = (left, top, left + width, top + height)
        if 0 <= top <= lowest and not any(_overlap(place, other) for other in taken):
            return place
    top = min(max(middle, 0), lowest)  # no free place: the numbers cover each other
    return left, top, left + width, top + height


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@lru_cache(maxsize=16)
def _font(height: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(height)


@lru_cache(maxsize=1024)
def _text_size(height: int, number: int) -> tuple[int, int]:
    left, top, right, bottom = _font(height).getbbox(str(number), anchor="mm", stroke_width=sum(_strokes(height)))
    return round(2 * max(right, -left)), round(2 * max(bottom, -top))


def _strokes(height: int) -> tuple[int, int]:
    """Pixels by which letters are made bolder, and width of their white rim."""
    return height // 18, max(1, round(height / 12))
