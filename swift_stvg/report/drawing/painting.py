"""Frames with boxes, and the panel with the sentence, the scores and the time bar."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from swift_stvg.report.drawing.fonts import font_for, one_line, wrap
from swift_stvg.report.drawing.overlay import Overlay
from swift_stvg.rows.tracks import Track
from swift_stvg.video.reader import Frames

SHORTEST, LONGEST = 360, 560
"""Limits of a drawn frame's longer side in pixels: smaller frames are enlarged, larger ones shrunk."""
NARROWEST = 360
"""Least width of a drawing in pixels. A narrower frame stands in the middle, so that the text below can be read."""

Colour: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Pen:
    """How one kind of box is drawn.

    Attributes:
        word: the kind's name in the legend.
        colour: RGB, 0 to 255.
        dash: lengths of a dash and of a gap in units of the line's width; None for a solid line.
    """

    word: str
    colour: Colour
    dash: tuple[float, float] | None


PENS = {
    "truth": Pen("truth", (46, 204, 95), None),
    "think": Pen("think box", (77, 148, 255), (1.2, 1.8)),
    "pred": Pen("final box", (255, 84, 72), (5.0, 2.5)),
    "first": Pen("A", (255, 80, 160), (5.0, 2.5)),
    "second": Pen("B", (110, 110, 255), (1.2, 3.8)),
}
"""A pen for each kind of track, in the order of drawing."""
GROUND, TEXT, FAINT, LANE = (18, 20, 25), (240, 242, 246), (150, 156, 168), (48, 52, 62)


class Painter:
    """Draws the frames of one clip, all at the same size.

    Args:
        overlay: the boxes, spans and texts to draw.
        size_wh: size of the clip's frames in pixels.
    """

    def __init__(self, overlay: Overlay, size_wh: tuple[int, int]) -> None:
        self._overlay = overlay
        self._size = shown_size(size_wh)
        width = _even(max(self._size[0], NARROWEST))
        self._panel = Panel(overlay, width)
        height = _even(self._size[1] + self._panel.image.height)
        self._blank = Image.new("RGB", (width, height), GROUND)
        self._left = (width - self._size[0]) // 2
        self._blank.paste(self._panel.image, (0, self._size[1]))

    def paint(self, pixels: Frames, time_s: float, tolerance_s: float = 0.04) -> Image.Image:
        """Draw one frame (H, W, 3) with its boxes and panel; `tolerance_s` as in `Track.at`."""
        picture = self._blank.copy()
        picture.paste(with_boxes(pixels, self._size, self._overlay.tracks, time_s, tolerance_s), (self._left, 0))
        self._panel.playhead(ImageDraw.Draw(picture), self._size[1], time_s)
        return picture


def shown_size(size_wh: tuple[int, int], shortest: int = SHORTEST, longest: int = LONGEST) -> tuple[int, int]:
    """Size in pixels of a drawn frame: even sides, the longer one from `shortest` to `longest`."""
    longer = max(size_wh)
    factor = longest / longer if longer > longest else float(max(1, math.ceil(shortest / longer)))
    factor = min(factor, longest / longer)
    return _even(round(size_wh[0] * factor)), _even(round(size_wh[1] * factor))


def with_boxes(
    pixels: Frames, size: tuple[int, int], tracks: Sequence[Track], time_s: float, tolerance_s: float
) -> Image.Image:
    """A frame (H, W, 3), resized to `size` (width, height), with the boxes at its time; tolerance as in `Track.at`."""
    enlarged = size[0] > pixels.shape[1]
    frame = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC if enlarged else Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(frame)
    thick = 2 + max(size) // 180
    for track in tracks:
        found = track.at(time_s, tolerance_s)
        if found is not None:
            box, given = found
            corners = box * np.array(size * 2, dtype=np.float64)
            _rectangle(draw, corners.tolist(), PENS[track.kind], thick if given else max(2, thick // 2), size)
    return frame


def _rectangle(
    draw: ImageDraw.ImageDraw, corners: Sequence[float], pen: Pen, width: int, size: tuple[int, int]
) -> None:
    """A rectangle inside the frame, with lines of this width and a dark rim that is visible on any background."""
    half = width / 2
    x1, y1, x2, y2 = (min(max(value, half), limit - half) for value, limit in zip(corners, (*size, *size), strict=True))
    strokes = [
        stroke
        for a, b in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1)))
        for stroke in _strokes(a, b, pen, max(width, 2))
    ]
    for colour, rim in (((0, 0, 0), 1.0), (pen.colour, 0.0)):
        for left, top, right, bottom in strokes:
            draw.rectangle(
                (left - half - rim, top - half - rim, right + half - 1 + rim, bottom + half - 1 + rim), colour
            )


def _strokes(
    a: tuple[float, float], b: tuple[float, float], pen: Pen, width: float
) -> Iterator[tuple[float, float, float, float]]:
    """The dashes of a horizontal or vertical line, as (left, top, right, bottom)."""
    length = max(abs(b[0] - a[0]), abs(b[1] - a[1]))
    on, off = (length, 1.0) if pen.dash is None else (pen.dash[0] * width, pen.dash[1] * width)
    count = max(1, round((length + off) / (on + off)))  # whole dashes, from corner to corner
    step = (length - min(on, length)) / max(count - 1, 1)
    for i in range(count):
        low, high = (min(i * step + extra, length) / max(length, 1e-9) for extra in (0.0, on))
        xs, ys = (sorted((a[k] + low * (b[k] - a[k]), a[k] + high * (b[k] - a[k]))) for k in (0, 1))
        yield xs[0], ys[0], xs[1], ys[1]


class Panel:
    """The panel below or above frames: sentence, legend, scores and time bar."""

    def __init__(self, overlay: Overlay, width: int) -> None:
        size = 14 if width < 480 else 16
        self._pad, self._width, self._duration_s = round(0.7 * size), width, max(overlay.duration_s, 1e-6)
        sentence = one_line(overlay.sentence)
        font, small = font_for(size, sentence), font_for(size - 2, "legend")
        lines = wrap(sentence, font, width - 2 * self._pad, 2)
        line_height = round(1.35 * size)
        legend = [PENS[track.kind] for track in overlay.tracks]
        scores = "   ".join(f"{name} {value:.2f}" for name, value in overlay.scores.items())
        legend_width = sum(round(small.getlength(pen.word)) + 48 for pen in legend)
        own_line = bool(scores) and legend_width + small.getlength(scores) > width - 2 * self._pad
        y = self._pad // 2 + line_height * len(lines)
        legend_y, scores_y = y + 3, y + 3 + line_height * own_line
        self._bar_y = scores_y + line_height + 4
        spans = [(PENS[track.kind], track.span_s) for track in overlay.tracks if track.kind != "think"]
        self._lanes = 9 * max(len(spans), 1)
        self.image = Image.new("RGB", (width, _even(self._bar_y + self._lanes + line_height + 4)), GROUND)
        draw = ImageDraw.Draw(self.image)
        for i, line in enumerate(lines):
            draw.text((self._pad, self._pad // 2 + i * line_height), line, TEXT, font)
        x = self._pad
        for pen in legend:
            for stroke in _strokes((x, legend_y + size * 0.6), (x + 30, legend_y + size * 0.6), pen, 2):
                draw.rectangle((stroke[0], stroke[1] - 1, stroke[2], stroke[3] + 1), pen.colour)
            draw.text((x + 36, legend_y), pen.word, FAINT, small)
            x += round(small.getlength(pen.word)) + 48
        draw.text((width - self._pad, scores_y), scores, TEXT, small, anchor="ra")
        for i, (pen, (begin, end)) in enumerate(spans or [(PENS["truth"], (0.0, 0.0))]):
            y = self._bar_y + 9 * i
            draw.rectangle((self._x(0), y, self._x(self._duration_s), y + 6), LANE)
            if end > begin:
                draw.rectangle((self._x(begin), y, max(self._x(end), self._x(begin) + 2), y + 6), pen.colour)
        for at, anchor in ((0.0, "la"), (overlay.duration_s, "ra")):
            draw.text((self._x(at), self._bar_y + self._lanes + 3), f"{at:.1f} s", FAINT, small, anchor=anchor)
        self._font, self._small_width = small, small.getlength("000.0 s")

    def _x(self, time_s: float) -> float:
        share = min(max(time_s / self._duration_s, 0.0), 1.0)
        return self._pad + share * (self._width - 2 * self._pad)

    def playhead(self, draw: ImageDraw.ImageDraw, top: int, time_s: float) -> None:
        """Mark a frame's time on the bar, and write the time below."""
        x, y = self._x(time_s), top + self._bar_y
        draw.rectangle((x - 2, y - 4, x + 2, y + self._lanes + 1), GROUND)
        draw.rectangle((x - 1, y - 3, x + 1, y + self._lanes), TEXT)
        room = 1.6 * self._small_width
        if self._pad + room < x < self._width - self._pad - room:
            draw.text((x, y + self._lanes + 3), f"{time_s:.1f} s", TEXT, self._font, anchor="ma")

    def mark(self, draw: ImageDraw.ImageDraw, time_s: float) -> None:
        """Mark the time of one of several frames on the bar."""
        x = self._x(time_s)
        draw.rectangle((x - 1, self._bar_y - 3, x, self._bar_y + self._lanes), TEXT)


def _even(side: int) -> int:
    return max(2, side + side % 2)
