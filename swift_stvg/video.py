"""Reading video files: frame times and sizes, and exactly the frames that a timeline names.

Every file is surveyed first, packet by packet, by PyAV: what it says of itself is not believed. Decoding is decord's
where that is known to give the right frames. Other files PyAV reads from their first frame on: decord 0.6.0 counts
wrongly from a key frame that earlier pictures follow (an open GOP), and where packets are cut off, hidden or give no
picture; it ends the process at some headers that lie, and returns four interleaved channels for a quarter turn. A
picture is a video of one frame, shown for a second.
"""

from __future__ import annotations

import hashlib
import logging
import os
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swift_stvg.errors import VideoError
from swift_stvg.geometry import IntArray
from swift_stvg.jsonfile import put_whole, seal, unseal
from swift_stvg.records import LONGEST_S, MOST_FRAMES, VideoInfo

Frames = npt.NDArray[np.uint8]
logger = logging.getLogger(__name__)
_PARTS, _PART = 16, 1 << 13
_AT_ONCE, _MOST_BYTES = 16, 1 << 28
MOST_PIXELS = 1 << 26
"""Pictures with more pixels, twice as many as 8K has, are not decoded."""
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Endings of files that are read as pictures."""
_DECORDS = frozenset({"h264", "hevc", "mpeg4", "vp9"})
"""Codecs of which each packet is a picture."""
_TEXT = frozenset(string.printable.encode())
_KEPT = "times 4"  # changed whenever `probe` finds other things, or they are kept otherwise


def probe(path: Path) -> VideoInfo:
    """Times and size of a video's frames, without decoding more than the first.

    Raises:
        VideoError: the file is missing or no video can be read from it.
    """
    if is_picture(path):
        height, width = _read_picture(path).shape[:2]
        return VideoInfo(path, np.zeros(1), 1.0, (width, height))
    survey = _survey(path)
    height, width = next(_read_one_by_one(path, survey, np.zeros(1, dtype=np.int64))).shape[1:3]
    return VideoInfo(path, survey.times_s, survey.end_s, (int(width), int(height)), survey.start_s)


def read_frames(path: Path, frames: IntArray) -> Frames:
    """The frames numbered `frames` (T,), as (T, H, W, 3) RGB.

    Raises:
        VideoError: the file is missing, cannot be decoded there, or has fewer frames.
    """
    return np.concatenate(list(frame_batches(path, frames)))


def stream_frames(path: Path, frames: IntArray) -> Iterator[Frames]:
    """The same in turn, each (H, W, 3), with few of them in memory at a time."""
    for batch in frame_batches(path, frames):
        yield from batch


def frame_batches(path: Path, frames: IntArray) -> Iterator[Frames]:
    """The same in parts of at most 16."""
    from decord import DECORDError

    if is_picture(path):
        if frames[-1] > 0:
            raise VideoError("video shorter than expected", f"frame {frames[-1]} of 1 in {path}")
        yield _read_picture(path)[None]
        return
    survey = _survey(path)
    if frames[-1] >= len(survey.times_s):
        raise VideoError("video shorter than expected", f"frame {frames[-1]} of {len(survey.times_s)} in {path}")
    reader = _open(path) if survey.decords else None
    if reader is None or len(reader) != len(survey.times_s):
        yield from _read_one_by_one(path, survey, frames)
        return
    at_once = max(1, min(_AT_ONCE, _MOST_BYTES // (3 * survey.pixels)))
    for i in range(0, len(frames), at_once):
        fault = None
        try:
            batch = reader.get_batch(frames[i : i + at_once].tolist()).asnumpy()
        except DECORDError as error:
            fault = _first_line(error)
        if fault is not None:
            turned = i == 0 and _channels(reader) > 3
            # a process that is forked while an error still holds the reader ends with a segmentation fault
            del reader
            if turned:
                yield from _read_one_by_one(path, survey, frames)
                return
            raise VideoError("video unreadable", f"{path} cannot be decoded: {fault}")
        yield batch


def is_picture(path: Path) -> bool:
    """Whether a file is read as a picture, by its name."""
    return path.suffix.lower() in PICTURES


def fingerprint(path: Path, more: str = "") -> str:
    """Digest of a video's content, 32 hexadecimal digits: of its length, of parts of it, and of `more`.

    The parts are 16 of 8 KiB from its beginning to its end, at equal distances: an edited, re-encoded or completed file
    has another digest; a copy has the same. A change that lies between two of them, up to a fifteenth of the
    file, and keeps its length is not seen.

    Raises:
        VideoError: the file is missing or cannot be read.
    """
    _require_file(path)
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            for place in range(_PARTS):
                file.seek(max(length - _PART, 0) * place // (_PARTS - 1))
                digest.update(file.read(_PART))
    except OSError as error:
        raise VideoError("video unreadable", f"{str(path)!r:.300} cannot be read: {error.strerror}") from None
    digest.update(f"{length} {more}".encode())
    return digest.hexdigest()


class Probes:
    """What files were found to be, kept on disk by their content: finding out reads a whole file.

    Args:
        folder: where it is kept; None for nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, path: Path) -> VideoInfo:
        """As `probe`."""
        if self._folder is None:
            return probe(path)
        name = fingerprint(path, _KEPT)
        kept = self._folder / "probes" / name[:2] / f"{name}.times"
        try:
            numbers = np.frombuffer(unseal(kept.read_bytes()), dtype="<f8")
            end_s, width, height, start_s = numbers[-4:].tolist()
            return VideoInfo(path, numbers[:-4], end_s, (int(width), int(height)), start_s)
        except (OSError, ValueError):  # not there, or damaged
            info = probe(path)
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            start_s = info.frame_times_s[0] if info.start_s is None else info.start_s
            numbers = np.array([*info.frame_times_s, info.end_s, *info.size_wh, start_s], dtype="<f8")
            put_whole(kept, seal(numbers.tobytes()))
        except OSError as error:
            logger.warning("%s cannot be written (%s): videos will be looked at again next time", kept, error.strerror)
            self._folder = None
        return info


@dataclass(frozen=True, slots=True, eq=False)
class _Survey:
    """What a file's packets say.

    Attributes:
        times_s: (N,) presentation time of each frame, increasing.
        start_s: when the first of the file's streams begins; its first frame if there is no other stream.
        end_s: when the last one ends.
        ticks: (N,) the same times as decoded frames have them; None where packets have none, and order must do.
        pixels: of a frame.
        decords: whether decord finds the right frames.
    """

    times_s: npt.NDArray[np.float64]
    start_s: float
    end_s: float
    ticks: IntArray | None
    pixels: int
    decords: bool


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A file's container and its video stream, in PyAV."""
    import av

    try:
        with av.open(_plain(path), metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                what = "no video stream" if stream is None else "a video stream of an unknown kind"
                raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes) holds {what}")
            yield container, stream
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes): {_first_line(error)}") from None


def _survey(path: Path) -> _Survey:
    _require_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise VideoError("video unreadable", f"{path} cannot be read: {error.strerror}") from None
    if head and _TEXT.issuperset(head) and not head.startswith(b"RIFF"):
        # a playlist, whose files FFmpeg would read, wherever they are
        raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes) is a text")
    shown: list[tuple[int | None, int | None]] = []
    leading = unseen = False
    key, duration = None, 0
    with _opened(path) as (container, stream):
        pixels = stream.codec_context.width * stream.codec_context.height
        if not 0 < pixels <= MOST_PIXELS:
            size = f"{stream.codec_context.width} x {stream.codec_context.height}"
            raise VideoError("video unreadable", f"{path} has pictures of {size} pixels; {MOST_PIXELS} are the most")
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.is_discard or packet.is_corrupt:
                unseen = True
                continue
            if packet.is_keyframe:
                key = packet.pts
            elif key is None or packet.pts is None or packet.pts < key:
                leading = True
            shown.append((packet.pts, packet.dts))
            duration = packet.duration or duration
            if len(shown) > MOST_FRAMES:
                raise VideoError("video unreadable", f"{path} has more than {MOST_FRAMES} frames")
        codec, announced, rate = stream.codec_context.codec.canonical_name, stream.frames, stream.average_rate
        tick_s = float(stream.time_base or 0)
        # in millionths of a second; of a file with pictures alone FFmpeg counts frames from the first that it decodes
        start = container.start_time if len(container.streams) > 1 else None
    if not shown:
        raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes) holds no frame")
    by_pts, ticks = True, _all_different([pts for pts, _ in shown])
    if ticks is None:
        by_pts, ticks = False, _all_different([dts for _, dts in shown])
    if ticks is None:
        ticks, tick_s, duration = np.arange(len(shown), dtype=np.int64), 1 / float(rate or 25), 1
    times_s = (ticks * tick_s).astype(np.float64)
    end_s = float(times_s[-1] + (duration * tick_s or (times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)))
    if not end_s - times_s[0] <= LONGEST_S:
        raise VideoError("video unreadable", f"{path} lasts {end_s - times_s[0]:.0f} s; {LONGEST_S} are the most")
    start_s = min(start / 1e6, float(times_s[0])) if by_pts and start is not None else float(times_s[0])
    decords = by_pts and not leading and not unseen and announced in (0, len(shown)) and codec in _DECORDS
    return _Survey(times_s, start_s, end_s, ticks if by_pts else None, pixels, decords)


def _plain(path: Path) -> str:
    """A path in which FFmpeg sees no protocol, as it does in `12:30.mp4`."""
    return os.path.abspath(path)


def _all_different(stamps: list[int | None]) -> IntArray | None:
    """Time stamps in order; None if there are not as many different ones as packets."""
    known = {stamp for stamp in stamps if stamp is not None}
    return np.array(sorted(known), dtype=np.int64) if len(known) == len(stamps) else None


def _open(path: Path) -> Any:
    """decord's reader of a file that was surveyed; None if it takes no such file."""
    from decord import DECORDError, VideoReader, cpu

    try:
        return VideoReader(_plain(path), ctx=cpu(0), num_threads=1)
    except (DECORDError, RuntimeError):
        return None


def _read_picture(path: Path) -> Frames:
    """The picture (H, W, 3) RGB, turned as it asks to be."""
    from PIL import Image, ImageOps

    _require_file(path)
    try:
        with Image.open(path) as picture:
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
        raise VideoError("video unreadable", f"{path} cannot be decoded: {_first_line(error)}") from None


def _require_file(path: Path) -> None:
    if not os.path.isfile(path):  # a pipe would be waited for
        raise VideoError("video missing", f"no file {str(path)!r:.300}")


def _channels(reader: Any) -> int:
    """Of decord's first frame; 0 if it cannot be decoded."""
    from decord import DECORDError

    try:
        return int(reader[0].shape[2])
    except DECORDError:
        return 0


def _read_one_by_one(path: Path, survey: _Survey, frames: IntArray) -> Iterator[Frames]:
    """Frames (1, H, W, 3) by PyAV, which decodes all from the first on, known by their times."""
    wanted, found = set(frames.tolist()), 0
    shape: tuple[int, ...] = ()
    known = None if survey.ticks is None else {tick: number for number, tick in enumerate(survey.ticks.tolist())}
    with _opened(path) as (container, stream):
        for count, frame in enumerate(container.decode(stream)):
            number = count if known is None else known.get(frame.pts, -1)
            if number in wanted:
                if frame.is_corrupt:
                    raise VideoError("video unreadable", f"{path} cannot be decoded: frame {number} is damaged")
                wanted.remove(number)
                found += 1
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), k=frame.rotation // 90)
                shape = shape or pixels.shape
                if pixels.shape != shape:
                    raise VideoError("video unreadable", f"{path} has pictures of {shape} and of {pixels.shape}")
                yield pixels[None]
            if not wanted:
                break
    if wanted:
        raise VideoError("video shorter than expected", f"{found} of {len(frames)} wanted frames in {path}")


def _first_line(error: Exception) -> str:
    """What is wrong; decord's errors go on with a stack trace."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
