"""Boxes and spans drawn onto the frames of a clip: a video, a GIF or a contact sheet.

    overlay = Overlay.of(row_truth, sentence, completion, scores={"vIoU": 0.71})
    render(overlay, Path("clip.mp4"), Path("answer.mp4"))   # or .gif, .jpg for one frame, .png for a contact sheet

The truth is green and solid, think boxes blue and dotted, final boxes red and dashed: the paper's colours, told apart
without colour too. A box that was annotated or answered is drawn thick; between two of them boxes are interpolated
linearly and drawn thin. Below the frame: the sentence, the scores, both spans and where the frame lies.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from swift_stvg.answers.format import Answer
from swift_stvg.errors import DataError
from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.rows.row_truth import PromptSpec
from swift_stvg.rows.tracks import Track, answer_tracks, true_tracks
from swift_stvg.util import validation
from swift_stvg.util.writing import write_bytes_atomic
from swift_stvg.video.decoding import one_thread
from swift_stvg.video.reader import Frames, probe, stream_frames

DRAWING_VERSION = 2
"""Raised whenever the same overlay would be drawn otherwise."""
DRAWING_FORMATS = (".mp4", ".gif", ".jpg", ".png")
MAX_DRAWN_FRAMES = 180
"""A clip with more is played with as many of its frames, evenly chosen."""
MAX_GIF_FRAMES = 40
SHORTEST, LONGEST = 360, 560
"""Longer side of a drawn frame in pixels: smaller ones are enlarged by a whole factor, larger ones shrunk."""
NARROWEST = 360
"""A narrower frame stands in a canvas of this width, so that the text below it can be read."""
H264 = {"crf": "26", "preset": "veryfast", "x264-params": "aq-mode=0:weightp=0:mbtree=0"}
"""Without what x264 decides by looking ahead, which is not the same each time."""
SHEET_CELLS, SHEET_COLUMNS, CELL = 12, 4, 240

Colour: TypeAlias = tuple[int, int, int]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Pen:
    """How one kind of box is drawn.

    Attributes:
        word: for the legend.
        colour: RGB.
        dash: drawn and left out lengths in units of the line's width; nothing for a solid line.
    """

    word: str
    colour: Colour
    dash: tuple[float, float] | None


PENS = {
    "truth": Pen("truth", (46, 204, 95), None),
    "think": Pen("think box", (77, 148, 255), (1.2, 1.8)),
    "pred": Pen("final box", (255, 84, 72), (5.0, 2.5)),
}
"""By kind of track, in the order they are drawn."""
GROUND, TEXT, FAINT, LANE = (18, 20, 25), (240, 242, 246), (150, 156, 168), (48, 52, 62)


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """What is drawn onto a clip.

    Attributes:
        sentence: that is asked about.
        tracks: at most one of each kind.
        frames: (T,) native frames that the model saw, increasing.
        times_s: (T,) their times.
        clip_start_s: presentation time of the clip's first frame in the file.
        duration_s: of the clip.
        scores: by name, in the order they are shown.

    Raises:
        RecordError: a shape, an order or a length is wrong.
    """

    sentence: str
    tracks: tuple[Track, ...]
    frames: IntArray
    times_s: FloatArray
    clip_start_s: float
    duration_s: float
    scores: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        validation.all_instances("tracks", self.tracks, Track)
        frames = validation.integers("frames", self.frames)
        times_s = validation.numbers("times_s", self.times_s, rising="weakly")
        if validation.same_length("frame", frames=frames, times_s=times_s) == 0:
            validation.refuse("frames", "hold at least one frame", "none")
        validation.numbers("clip_start_s, duration_s", (self.clip_start_s, self.duration_s))
        validation.set_fields(self, frames=frames, times_s=times_s)

    @property
    def rate(self) -> float:
        """Native frames per second between the first and the last frame that the model saw."""
        lasts_s = float(self.times_s[-1] - self.times_s[0])
        return int(self.frames[-1] - self.frames[0]) / lasts_s if lasts_s > 0 else 1.0

    @classmethod
    def of(
        cls,
        row_truth: PromptSpec,
        sentence: str,
        answer: Answer | str | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> Overlay:
        """The truth of a row, if it is known, and what can be read of an answer to it.

        Args:
            spec: the row's truth, or the prompt spec alone.
            sentence: that it asks about.
            answer: what the model wrote, or what was read of it; None to draw the truth alone.
            scores: shown beside the legend.
        """
        line = row_truth.timeline
        if isinstance(answer, str):
            answer = row_truth.format.parse(answer)
        return cls(
            sentence=sentence,
            tracks=(*true_tracks(row_truth), *answer_tracks(row_truth, answer)),
            frames=line.frames,
            times_s=line.times_s,
            clip_start_s=line.clip_start_s,
            duration_s=line.end_s,
            scores=dict(scores or {}),
        )

    def to_data(self) -> dict[str, Any]:
        """All that the drawing depends on, besides the video, for JSON."""
        return {
            "version": DRAWING_VERSION,
            "sentence": self.sentence,
            "tracks": [
                [t.kind, t.span_s, t.times_s.tolist(), np.where(np.isnan(t.boxes_xyxy), -9, t.boxes_xyxy).tolist()]
                for t in self.tracks
            ],
            "clip": [self.frames.tolist(), self.times_s.tolist(), self.clip_start_s, self.duration_s],
            "scores": dict(self.scores),
        }


def render(overlay: Overlay, video: Path, out: Path, most: int | None = None, title: str = "") -> None:
    """Draw an overlay onto its clip, and write it whole or not at all.

    Args:
        overlay: what is drawn.
        video: the file that the overlay's row is about.
        out: `.mp4` (H.264, as browsers play it), `.gif`, `.jpg` for one frame amid the event, or `.png` for a contact
            sheet.
        most: frames of a video or GIF, evenly chosen; the usual limit if None.
        title: of a bar that counts them; none without.

    Raises:
        VideoError: the video is missing, cannot be decoded, or ends before the clip.
        DataError: another ending.
        OSError: `out` cannot be written.
    """
    if out.suffix not in DRAWING_FORMATS:
        raise DataError(f"drawings are written as {', '.join(DRAWING_FORMATS)}, not as {out.name}")
    if out.suffix == ".png":
        data = _picture(contact_sheet(overlay, video), "PNG", optimize=True)
    elif out.suffix == ".jpg":
        data = _picture(still(overlay, video), "JPEG", quality=82)
    else:
        pictures = play(overlay, video, most or (MAX_DRAWN_FRAMES if out.suffix == ".mp4" else MAX_GIF_FRAMES), title)
        data = _mp4(pictures) if out.suffix == ".mp4" else _gif(pictures)
    write_bytes_atomic(out, data)


def play(
    overlay: Overlay, video: Path, most: int = MAX_DRAWN_FRAMES, title: str = ""
) -> Iterator[tuple[float, Image.Image]]:
    """(time in seconds, picture) of the clip's frames in turn, evenly chosen if there are more than `most`.

    Raises:
        VideoError: as `render`.
    """
    from tqdm import tqdm

    info = probe(video).at_rate(overlay.rate)
    times_s = info.frame_times_s - overlay.clip_start_s
    first = int(overlay.frames[0])
    end = max(info.end_frame(overlay.clip_start_s + overlay.duration_s), int(overlay.frames[-1]) + 1)
    chosen = np.arange(first, end, max(1, math.ceil((end - first) / most)))
    shown_s = times_s[chosen[chosen < len(times_s)]]
    tolerance_s = max(0.04, float(np.median(np.diff(shown_s))) / 2 if len(shown_s) > 1 else 0.0)
    painter: Painter | None = None
    shown = tqdm(shown_s.tolist(), desc=title, unit="frame", disable=not title)
    for time_s, pixels in zip(shown, stream_frames(video, chosen), strict=True):
        if painter is None:
            painter = Painter(overlay, (pixels.shape[1], pixels.shape[0]))
        yield time_s, painter.paint(pixels, time_s, tolerance_s)


class Painter:
    """Draws frames of one clip, all at the same size.

    Args:
        overlay: what is drawn.
        size_wh: of the frames, in pixels.
    """

    def __init__(self, overlay: Overlay, size_wh: tuple[int, int]) -> None:
        self._overlay = overlay
        self._size = shown_size(size_wh)
        width = _even(max(self._size[0], NARROWEST))
        self._panel = _Panel(overlay, width)
        height = _even(self._size[1] + self._panel.image.height)
        self._blank = Image.new("RGB", (width, height), GROUND)
        self._left = (width - self._size[0]) // 2
        self._blank.paste(self._panel.image, (0, self._size[1]))

    def paint(self, pixels: Frames, time_s: float, tolerance_s: float = 0.04) -> Image.Image:
        """One frame (H, W, 3) with all that belongs to its time; `tolerance_s` as in `Track.at`."""
        picture = self._blank.copy()
        picture.paste(_with_boxes(pixels, self._size, self._overlay.tracks, time_s, tolerance_s), (self._left, 0))
        self._panel.playhead(ImageDraw.Draw(picture), self._size[1], time_s)
        return picture


def still(overlay: Overlay, video: Path) -> Image.Image:
    """The frame with an annotated box that is nearest to the middle of the event.

    Raises:
        VideoError: as `render`.
    """
    middle_s = overlay.duration_s / 2
    for track in overlay.tracks[:1]:
        known_s = track.times_s[~np.isnan(track.boxes_xyxy).any(axis=1)]
        middle_s = float(known_s[np.abs(known_s - sum(track.span_s) / 2).argmin()]) if len(known_s) else middle_s
    nearest = int(np.abs(overlay.times_s - middle_s).argmin())
    pixels = next(stream_frames(video, overlay.frames[nearest : nearest + 1]))
    return Painter(overlay, (pixels.shape[1], pixels.shape[0])).paint(pixels, float(overlay.times_s[nearest]))


def contact_sheet(overlay: Overlay, video: Path) -> Image.Image:
    """A picture of at most 12 frames that the model saw, from just before the spans to just after them.

    Raises:
        VideoError: as `render`.
    """
    spans = [track.span_s for track in overlay.tracks]
    low, high = (min(s for s, _ in spans), max(e for _, e in spans)) if spans else (0.0, overlay.duration_s)
    inside = np.flatnonzero((overlay.times_s >= low) & (overlay.times_s <= high))
    first, last = (inside[0], inside[-1]) if len(inside) else (0, len(overlay.times_s) - 1)
    first, last = max(first - 1, 0), min(last + 1, len(overlay.times_s) - 1)
    cells = np.unique(np.linspace(first, last, min(SHEET_CELLS, last - first + 1)).round().astype(np.int64))
    frames = list(stream_frames(video, overlay.frames[cells]))
    height, width = frames[0].shape[:2]
    size = shown_size((width, height), CELL, CELL)
    columns = min(SHEET_COLUMNS, len(cells))
    gap, font = 8, _font(14, "0 s")
    step_x, step_y = max(size[0], CELL // 2) + gap, size[1] + 22 + gap
    panel = _Panel(overlay, max(columns * step_x - gap, 2 * CELL))
    sheet = Image.new("RGB", (panel.image.width, panel.image.height + -(-len(cells) // columns) * step_y), GROUND)
    sheet.paste(panel.image, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for place, (cell, pixels) in enumerate(zip(cells.tolist(), frames, strict=True)):
        x, y = place % columns * step_x, panel.image.height + place // columns * step_y
        time_s = float(overlay.times_s[cell])
        sheet.paste(_with_boxes(pixels, size, overlay.tracks, time_s, 1e-3), (x, y))
        draw.text((x + 2, y + size[1] + 3), f"{time_s:.1f} s", FAINT, font)
        panel.mark(draw, time_s)
    return sheet


def shown_size(size_wh: tuple[int, int], shortest: int = SHORTEST, longest: int = LONGEST) -> tuple[int, int]:
    """Size in pixels at which a frame is drawn: even sides, the longer one from `shortest` to `longest`."""
    longer = max(size_wh)
    factor = longest / longer if longer > longest else float(max(1, math.ceil(shortest / longer)))
    factor = min(factor, longest / longer)
    return _even(round(size_wh[0] * factor)), _even(round(size_wh[1] * factor))


def _with_boxes(
    pixels: Frames, size: tuple[int, int], tracks: Sequence[Track], time_s: float, tolerance_s: float
) -> Image.Image:
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
    """A rectangle of lines `width` wide inside the frame, on a dark rim that sets it off from any background."""
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
    """What is drawn of a horizontal or vertical line: (left, top, right, bottom) of each dash."""
    length = max(abs(b[0] - a[0]), abs(b[1] - a[1]))
    on, off = (length, 1.0) if pen.dash is None else (pen.dash[0] * width, pen.dash[1] * width)
    count = max(1, round((length + off) / (on + off)))  # whole dashes, from corner to corner
    step = (length - min(on, length)) / max(count - 1, 1)
    for i in range(count):
        low, high = (min(i * step + extra, length) / max(length, 1e-9) for extra in (0.0, on))
        xs, ys = (sorted((a[k] + low * (b[k] - a[k]), a[k] + high * (b[k] - a[k]))) for k in (0, 1))
        yield xs[0], ys[0], xs[1], ys[1]


class _Panel:
    """What stands below or above a frame: sentence, legend and scores, and the time bar."""

    def __init__(self, overlay: Overlay, width: int) -> None:
        size = 14 if width < 480 else 16
        self._pad, self._width, self._duration_s = round(0.7 * size), width, max(overlay.duration_s, 1e-6)
        sentence = _shown(overlay.sentence)
        font, small = _font(size, sentence), _font(size - 2, "legend")
        lines = _wrapped(sentence, font, width - 2 * self._pad, 2)
        line_height = round(1.35 * size)
        legend = [PENS[track.kind] for track in overlay.tracks]
        scores = "   ".join(f"{name} {value:.2f}" for name, value in overlay.scores.items())
        legend_width = sum(round(small.getlength(pen.word)) + 48 for pen in legend)
        own_line = bool(scores) and legend_width + small.getlength(scores) > width - 2 * self._pad
        y = self._pad // 2 + line_height * len(lines)
        legend_y, scores_y = y + 3, y + 3 + line_height * own_line
        self._bar_y = scores_y + line_height + 4
        spans = [(PENS[track.kind], track.span_s) for track in overlay.tracks if track.kind in ("truth", "pred")]
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
        """Where a frame lies, with its time."""
        x, y = self._x(time_s), top + self._bar_y
        draw.rectangle((x - 2, y - 4, x + 2, y + self._lanes + 1), GROUND)
        draw.rectangle((x - 1, y - 3, x + 1, y + self._lanes), TEXT)
        room = 1.6 * self._small_width
        if self._pad + room < x < self._width - self._pad - room:
            draw.text((x, y + self._lanes + 3), f"{time_s:.1f} s", TEXT, self._font, anchor="ma")

    def mark(self, draw: ImageDraw.ImageDraw, time_s: float) -> None:
        """Where a frame of several lies."""
        x = self._x(time_s)
        draw.rectangle((x - 1, self._bar_y - 3, x, self._bar_y + self._lanes), TEXT)


def _shown(text: str) -> str:
    """Text on one line without what no font draws."""
    text = text[:600].encode("utf-8", "replace").decode()
    return " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text).split())


def _wrapped(text: str, font: Font, width: float, most: int) -> list[str]:
    """At most so many lines; words that do not fit, and scripts without spaces, are cut anywhere."""
    lines: list[str] = []
    while text and len(lines) < most:
        end = len(text)
        while end > 1 and font.getlength(text[:end]) > width:
            end = max(1, min(end - 1, int(end * width / font.getlength(text[:end])) + 1))
        if end < len(text):
            space = text.rfind(" ", 0, end + 1)
            end = space if space > end // 2 else end
        lines.append(text[:end].strip())
        text = text[end:].strip()
    if text:
        last = lines[-1]
        while last and font.getlength(last + "…") > width:
            last = last[:-1]
        lines[-1] = last + "…"
    return lines or [""]


FALLBACKS = (
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf", "SourceHanSansSC-Regular.otf"),
    *("wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "uming.ttc", "msyh.ttc", "PingFang.ttc"),
    *("Arial Unicode.ttf", "DejaVuSans.ttf"),
)
"""Fonts looked for, in the system's folders, for what Pillow's own font lacks."""


@lru_cache(maxsize=256)
def _font(size: int, text: str) -> Font:
    """The font that lacks fewest characters of the text: Pillow's own, or one of the system's."""
    best, fewest = _named(None, size), _missing(None, text)
    for name in FALLBACKS:
        if fewest == 0:
            break
        if _named(name, size) is not None and (lacking := _missing(name, text)) < fewest:
            best, fewest = _named(name, size), lacking
    if best is None:
        raise ValueError("Pillow has no font of its own")
    return best


@lru_cache(maxsize=64)
def _named(name: str | None, size: int) -> Font | None:
    if name is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _missing(name: str | None, text: str) -> int:
    """How many characters a font has no picture of."""
    font = _named(name, 16)
    if font is None:
        return len(text)
    unknown = bytes(font.getmask("\U0010ffff"))
    return sum(not c.isspace() and bytes(font.getmask(c)) == unknown for c in set(text))


def _even(side: int) -> int:
    return max(2, side + side % 2)


def _picture(picture: Image.Image, form: str, **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, form, **options)
    return data.getvalue()


def _mp4(pictures: Iterator[tuple[float, Image.Image]]) -> bytes:
    """H.264 in yuv420p at the pictures' own times, the same bytes for the same pictures."""
    import av

    data = io.BytesIO()
    with av.open(data, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream: Any = None
        start_s = 0.0
        for time_s, picture in pictures:
            if stream is None:
                stream, start_s = (
                    container.add_stream("libx264", rate=30, options=H264),
                    time_s,
                )
                stream.width, stream.height, stream.pix_fmt = *picture.size, "yuv420p"
                stream.codec_context.time_base, stream.codec_context.thread_count = Fraction(1, 1000), 1
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = round((time_s - start_s) * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame.reformat(format="yuv420p", **one_thread())))
        container.mux(stream.encode(None))
    return data.getvalue()


def _gif(pictures: Iterator[tuple[float, Image.Image]]) -> bytes:
    times_s, frames = zip(*pictures, strict=True)
    steps_ms = np.diff([*times_s, 2 * times_s[-1] - times_s[-2] if len(times_s) > 1 else times_s[0] + 1]) * 1000
    palette = frames[len(frames) // 2].quantize(96)
    quantised = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    data = io.BytesIO()
    durations = [max(20, round(step)) for step in steps_ms.tolist()]
    quantised[0].save(data, "GIF", save_all=True, append_images=quantised[1:], duration=durations, loop=0)
    return data.getvalue()
