"""Drawings of whole clips: films, single frames and contact sheets, as files."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from swift_stvg.errors import DataError
from swift_stvg.report.drawing.fonts import font_for
from swift_stvg.report.drawing.overlay import Overlay
from swift_stvg.report.drawing.painting import FAINT, GROUND, Painter, Panel, shown_size, with_boxes
from swift_stvg.util.writing import write_bytes_atomic
from swift_stvg.video.decoding import one_thread
from swift_stvg.video.reader import probe, stream_frames

DRAWING_FORMATS = (".mp4", ".gif", ".jpg", ".png")
MAX_DRAWN_FRAMES, MAX_GIF_FRAMES = 180, 40
"""At most this many frames of a clip are drawn, evenly chosen."""
H264 = {"crf": "26", "preset": "veryfast", "x264-params": "aq-mode=0:weightp=0:mbtree=0"}
"""Options of x264. They switch off its look-ahead decisions, which differ from run to run."""
SHEET_CELLS, SHEET_COLUMNS, CELL = 12, 4, 240
"""Sizes of a contact sheet: upper bound of frames, frames in a row, longer side of a frame in pixels."""


def render(overlay: Overlay, video: Path, out: Path, most: int | None = None, title: str = "") -> None:
    """Draw an overlay onto its clip, and write it whole or not at all.

    Args:
        overlay: the boxes, spans and texts to draw.
        video: the video file of the overlay's clip.
        out: the file to write: `.mp4` (H.264, which browsers play), `.gif`, `.jpg` for one frame in the middle of the
            event, or `.png` for a contact sheet.
        most: upper bound of frames of a video or GIF, evenly chosen; `MAX_DRAWN_FRAMES` or `MAX_GIF_FRAMES` if None.
        title: title of a progress bar; no bar if empty.

    Raises:
        VideoError: the video is missing, cannot be decoded, or ends before the clip.
        DataError: the file's suffix is not one of `DRAWING_FORMATS`.
        OSError: `out` cannot be written.
    """
    if out.suffix not in DRAWING_FORMATS:
        raise DataError(f"a drawing's file name must end in one of {', '.join(DRAWING_FORMATS)}, got {out.name}")
    if out.suffix == ".png":
        data = _encode(contact_sheet(overlay, video), "PNG", optimize=True)
    elif out.suffix == ".jpg":
        data = _encode(still(overlay, video), "JPEG", quality=82)
    else:
        pictures = play(overlay, video, most or (MAX_DRAWN_FRAMES if out.suffix == ".mp4" else MAX_GIF_FRAMES), title)
        data = _mp4(pictures) if out.suffix == ".mp4" else _gif(pictures)
    write_bytes_atomic(out, data)


def play(
    overlay: Overlay, video: Path, most: int = MAX_DRAWN_FRAMES, title: str = ""
) -> Iterator[tuple[float, Image.Image]]:
    """(time in seconds, picture) of the clip's frames in order, evenly chosen if there are more than `most`.

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
    """A picture of at most 12 frames that the model saw, from the frame before the spans to the frame after them.

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
    gap, font = 8, font_for(14, "0 s")
    step_x, step_y = max(size[0], CELL // 2) + gap, size[1] + 22 + gap
    panel = Panel(overlay, max(columns * step_x - gap, 2 * CELL))
    sheet = Image.new("RGB", (panel.image.width, panel.image.height + -(-len(cells) // columns) * step_y), GROUND)
    sheet.paste(panel.image, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for place, (cell, pixels) in enumerate(zip(cells.tolist(), frames, strict=True)):
        x, y = place % columns * step_x, panel.image.height + place // columns * step_y
        time_s = float(overlay.times_s[cell])
        sheet.paste(with_boxes(pixels, size, overlay.tracks, time_s, 1e-3), (x, y))
        draw.text((x + 2, y + size[1] + 3), f"{time_s:.1f} s", FAINT, font)
        panel.mark(draw, time_s)
    return sheet


def _encode(picture: Image.Image, form: str, **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, form, **options)
    return data.getvalue()


def _mp4(pictures: Iterator[tuple[float, Image.Image]]) -> bytes:
    """H.264 in yuv420p with the pictures' own times. The same pictures give the same bytes."""
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
