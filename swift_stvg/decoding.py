"""Reading video files by PyAV: the frame at a time is the one that decoding the file from its first packet on gives.

A file is surveyed first, packet by packet, once in a process: what it says of itself is not believed. Its packets fall
into groups. A group begins with a picture before which nothing need be known: an IDR picture of H.264, an IRAP picture
of HEVC (pictures that follow it and are shown before it belong to the group before), a key frame of VP8 and VP9, an
I-VOP of MPEG-4, any picture of codecs that know no other. Of a group that holds wanted frames the packets up to the
last of these are decoded, without pictures that are not wanted and on which no other one depends.

What is assumed is checked. A packet that is read after a jump in the file must be, by its place, length and times, the
one that the survey saw there; else the file is read from its beginning. A frame that does not come, or comes damaged,
is looked for again by decoding all packets.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from string import printable
from typing import Any

import numpy as np
import numpy.typing as npt

from swift_stvg.errors import VideoError
from swift_stvg.geometry import IntArray
from swift_stvg.memory import Memory
from swift_stvg.records import LONGEST_S, MOST_FRAMES

Frames = npt.NDArray[np.uint8]
MOST_PIXELS = 1 << 26
"""Pictures with more pixels, twice as many as 8K has, are not decoded."""
NEAR = 64
"""Packets; to a group that begins no further on, a file is read on, not searched."""
_TEXT = frozenset(printable.encode())
_NEVER = np.iinfo(np.int64).min
"""Stands for a time stamp that is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What a file's packets say: P of them, which show N frames.

    Attributes:
        times_s: (N,) presentation time of each frame, increasing.
        end_s: when the last one ends.
        pixels: of a frame.
        container, codec: FFmpeg's names.
        packets: (P, 4) place in the file, length, presentation and decoding time stamp of each packet, as stored.
        place: (N,) the packet that shows each frame; None where packets have no presentation times, and order must do.
        starts: (G,) the packets that begin groups, increasing, the first one among them.
        skips: whether the decoder can leave out pictures on which no other one depends.
        decord: whether decord finds the right frames.
    """

    times_s: npt.NDArray[np.float64]
    end_s: float
    pixels: int
    container: str
    codec: str
    packets: IntArray
    place: IntArray | None
    starts: IntArray
    skips: bool
    decord: bool


@dataclass(frozen=True, slots=True)
class _Units:
    """How the packets of a codec are made: of units, whose first byte says what they are.

    Attributes:
        kind: of a unit, by that byte.
        pictures: kinds that hold a picture, or a part of one.
        tables: kinds on which later pictures depend.
        starts: those of `pictures` that begin a group.
    """

    kind: Callable[[int], int]
    pictures: frozenset[int]
    tables: frozenset[int]
    starts: frozenset[int]


_UNITS = {
    # ITU-T H.264, table 7-1: 5 is a slice of an IDR picture; 7, 8, 13 and 15 are parameter sets
    "h264": _Units(lambda byte: byte & 31, frozenset(range(1, 6)), frozenset({7, 8, 13, 15}), frozenset({5})),
    # ITU-T H.265, table 7-1: 16 to 21 are IRAP pictures, 32 to 34 parameter sets
    "hevc": _Units(
        lambda byte: byte >> 1 & 63, frozenset(range(32)), frozenset({32, 33, 34}), frozenset(range(16, 22))
    ),
    # ISO/IEC 14496-2, table 6-3: 20 to 2F hex are video object layers, B6 is a picture
    "mpeg4": _Units(lambda byte: byte, frozenset({0xB6}), frozenset(range(0x20, 0x30)), frozenset({0xB6})),
}
_KEYS: dict[str, Callable[[bytes], bool]] = {
    "vp8": lambda data: not data[0] & 1,  # RFC 6386, 9.1
    "vp9": lambda data: data[0] >> 4 in (8, 9, 10) and not data[0] & 0b1100,  # its specification, 6.2; profiles 0 to 2
}
"""Whether a packet that is said to be a key frame is one."""
_DECORDS = frozenset({"h264", "hevc", "vp9"})
_DECORDS_CONTAINERS = frozenset({"mov", "matroska"})
"""Where decord 0.6.0 was found right, if every key frame begins a group and no picture is shown before it."""


class _Groups:
    """Finds out which of a stream's packets, told one after the other, begin groups.

    Attributes:
        starts: their places.
        all: whether each key frame is one of them.
        skips: as in `Survey`.
    """

    def __init__(self, context: Any) -> None:
        self._codec: str = context.codec.canonical_name
        self._alone = bool(context.codec.intra_only)
        self._units = _UNITS.get(self._codec)
        self._prefix = _length_of_lengths(self._codec, context.extradata)
        self._changed = False
        self.starts: list[int] = []
        self.all = True
        self.skips = self._units is not None

    def tell(self, place: int, packet: Any) -> None:
        """The packet at this place."""
        start = packet.is_keyframe and packet.pts is not None
        if self._units is not None:
            start &= self._look(place, self._units, bytes(packet))
        elif self._codec in _KEYS:
            start = start and _KEYS[self._codec](bytes(packet))
        else:
            start &= self._alone
        if start or not place:
            self.starts.append(place)
        self.all &= start or not packet.is_keyframe

    def _look(self, place: int, units: _Units, data: bytes) -> bool:
        """Whether the packet begins a group, if it is a key frame.

        It must bring its tables if others came after the first packet, which every decoder sees.
        """
        tables = False
        for at in _units(data, self._prefix):
            kind = units.kind(data[at])
            tables |= kind in units.tables
            if kind in units.pictures:
                # of HEVC's temporal layers, a higher one may depend on pictures on which their own layer does not
                self.skips &= self._codec != "hevc" or len(data) < at + 2 or data[at + 1] & 7 == 1
                start = kind in units.starts and (tables or not self._changed)
                self._changed |= tables and place > 0
                return start
        self._changed |= tables and place > 0
        return False


def _length_of_lengths(codec: str, extradata: bytes | None) -> int:
    """Bytes of the lengths before units, as MP4 and Matroska have them; 0 where there are start codes."""
    if not extradata or extradata[0] != 1:
        return 0
    place = {"h264": 4, "hevc": 21}.get(codec)  # ISO/IEC 14496-15, 5.3.3 and 8.3.3
    return (extradata[place] & 3) + 1 if place is not None and len(extradata) > place else 0


def _units(data: bytes, prefix: int) -> Iterator[int]:
    """Where each unit of a packet begins, after a length of `prefix` bytes, or after a start code if that is 0."""
    at = length = 0
    while True:
        at += length
        if prefix:
            length = int.from_bytes(data[at : at + prefix], "big")
            at += prefix
        else:
            at = data.find(b"\0\0\1", at) + 3
        if at >= len(data) or at == 2:
            return
        yield at


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A file's container and its video stream, in PyAV."""
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                what = "no video stream" if stream is None else "a video stream of an unknown kind"
                raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes) holds {what}")
            stream.codec_context.thread_count = 1  # which pictures are left out is said between two packets
            yield container, stream
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes): {last_line(error)}") from None


_SURVEYS: Memory[Survey] = Memory(1 << 26, size=lambda survey: 2 * survey.packets.nbytes, copy=lambda survey: survey)


def survey(path: Path) -> Survey:
    """What a file's packets say; read once in a process, as long as the file stays the same.

    Raises:
        VideoError: the file is missing or no video can be read from it.
    """
    require_file(path)
    status = path.stat()
    key = (str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return _SURVEYS.get(key, lambda: _survey(path))


def _survey(path: Path) -> Survey:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise VideoError("video unreadable", f"{path} cannot be read: {error.strerror}") from None
    if head and _TEXT.issuperset(head) and not head.startswith(b"RIFF"):
        # a playlist, whose files FFmpeg would read, wherever they are
        raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes) is a text")
    packets: list[tuple[int, int, int, int]] = []
    shown: list[int] = []
    leading, unseen, duration, key = False, False, 0, _NEVER
    with _opened(path) as (container, stream):
        pixels = stream.codec_context.width * stream.codec_context.height
        if not 0 < pixels <= MOST_PIXELS:
            size = f"{stream.codec_context.width} x {stream.codec_context.height}"
            raise VideoError("video unreadable", f"{path} has pictures of {size} pixels; {MOST_PIXELS} are the most")
        groups = _Groups(stream.codec_context)
        for packet in container.demux(stream):
            if not packet.size:
                continue
            place = len(packets)
            packets.append(_stamps(packet))
            groups.tell(place, packet)
            if packet.is_discard or packet.is_corrupt:
                unseen = True
                continue
            if packet.is_keyframe:
                key = packets[-1][2]
            leading |= packets[-1][2] < key or key == _NEVER
            shown.append(place)
            duration = packet.duration or duration
            if len(shown) > MOST_FRAMES:
                raise VideoError("video unreadable", f"{path} has more than {MOST_FRAMES} frames")
        codec, announced, rate = stream.codec_context.codec.canonical_name, stream.frames, stream.average_rate
        tick_s, kind = float(stream.time_base or 0), container.format.name.partition(",")[0]
    if not shown:
        raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes) holds no frame")
    table = np.array(packets, dtype=np.int64)
    pts, dts = table[shown, 2], table[shown, 3]
    by_pts = _all_different(pts)
    if by_pts or _all_different(dts):
        ticks = np.sort(pts if by_pts else dts)
    else:
        ticks, tick_s, duration = np.arange(len(shown), dtype=np.int64), 1 / float(rate or 25), 1
    times_s = (ticks * tick_s).astype(np.float64)
    end_s = float(times_s[-1] + (duration * tick_s or (times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)))
    if not end_s - times_s[0] <= LONGEST_S:
        raise VideoError("video unreadable", f"{path} lasts {end_s - times_s[0]:.0f} s; {LONGEST_S} are the most")
    ordinary = by_pts and groups.all and not leading and not unseen and announced in (0, len(shown))
    return Survey(
        times_s,
        end_s,
        pixels,
        kind,
        codec,
        table,
        np.array(shown, dtype=np.int64)[np.argsort(pts)] if by_pts else None,
        np.array(groups.starts, dtype=np.int64),
        groups.skips,
        ordinary and codec in _DECORDS and kind in _DECORDS_CONTAINERS,
    )


def _stamps(packet: Any) -> tuple[int, int, int, int]:
    """A row of `Survey.packets`."""
    pts, dts = packet.pts, packet.dts
    return packet.pos or 0, packet.size, _NEVER if pts is None else pts, _NEVER if dts is None else dts


def _all_different(stamps: IntArray) -> bool:
    """Whether all are there and no two are the same."""
    return stamps.min() > _NEVER and len(np.unique(stamps)) == len(stamps)


def groups_of(file: Survey, frames: IntArray) -> list[tuple[int, list[int]]]:
    """The groups that hold the frames numbered `frames` (T,): the packet that begins each, and its frames."""
    assert file.place is not None
    pts = file.packets[:, 2]
    begins = []
    for place in file.place[frames].tolist():
        group = int(np.searchsorted(file.starts, place, side="right")) - 1
        while group > 0 and pts[place] < pts[file.starts[group]]:
            group -= 1
        begins.append(int(file.starts[group]))
    pairs = sorted(zip(begins, frames.tolist(), strict=True))
    return [(start, [frame for _, frame in members]) for start, members in groupby(pairs, key=lambda pair: pair[0])]


def decode(path: Path, file: Survey, frames: IntArray) -> Iterator[Frames]:
    """The frames numbered `frames` (T,), increasing, in turn, each (H, W, 3) RGB, turned as the file asks.

    Raises:
        VideoError: a frame cannot be decoded, or has another size than those before it.
    """
    waiting = deque(frames.tolist())
    ready: dict[int, Frames] = {}
    shape: tuple[int, ...] = ()
    for way in (_seek_groups, _find_groups, _decode_all) if file.place is not None else (_decode_all,):
        for number, pixels in way(path, file, np.array(waiting, dtype=np.int64)):
            shape = shape or pixels.shape
            if pixels.shape != shape:
                raise VideoError("video unreadable", f"{path} has pictures of {shape} and of {pixels.shape}")
            ready[number] = pixels
            while waiting and waiting[0] in ready:
                yield ready.pop(waiting.popleft())
        if not waiting:
            return
        ready.clear()
    raise VideoError(
        "video shorter than expected", f"{len(frames) - len(waiting)} of {len(frames)} wanted frames in {path}"
    )


def _decode_all(path: Path, file: Survey, frames: IntArray) -> Iterator[tuple[int, Frames]]:
    """Wanted frames with their numbers, by decoding every packet, until all are found."""
    wanted = set(frames.tolist())
    known = None if file.place is None else _numbers(file, frames)
    with _opened(path) as (container, stream):
        for count, frame in enumerate(_pictures(container, stream)):
            number = count if known is None else known.get(frame.pts, -1)
            if number in wanted:
                if frame.is_corrupt:
                    raise VideoError("video unreadable", f"{path} cannot be decoded: frame {number} is damaged")
                yield number, _pixels(frame)
                wanted.remove(number)
                if not wanted:
                    return


def _pictures(container: Any, stream: Any) -> Iterator[Any]:
    for packet in container.demux(stream):
        if packet.size:  # one without content would end the decoder
            yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)


def _seek_groups(path: Path, file: Survey, frames: IntArray) -> Iterator[tuple[int, Frames]]:
    """Wanted frames with their numbers, group by group, until one cannot be found."""
    return _decode_groups(path, file, frames, seeks=True)


def _find_groups(path: Path, file: Survey, frames: IntArray) -> Iterator[tuple[int, Frames]]:
    """The same, all packets before a group being read."""
    return _decode_groups(path, file, frames, seeks=False)


def _decode_groups(path: Path, file: Survey, frames: IntArray, *, seeks: bool) -> Iterator[tuple[int, Frames]]:
    import av

    known = _numbers(file, frames)
    with _opened(path) as (container, stream):
        reader = _Packets(container, stream, file, seeks)
        for begin, numbers in groups_of(file, frames):
            left = set(numbers)
            try:
                for frame in reader.pictures(begin, numbers):
                    if (number := known.get(frame.pts, -1)) in left and not frame.is_corrupt:
                        left.remove(number)
                        yield number, _pixels(frame)
            except (_Strayed, av.error.FFmpegError):
                return  # decoding all says what is wrong, if anything is
            if left:
                return


def _numbers(file: Survey, frames: IntArray) -> dict[int, int]:
    """Numbers of frames by their presentation time stamps."""
    assert file.place is not None
    return dict(zip(file.packets[file.place[frames], 2].tolist(), frames.tolist(), strict=True))


def _pixels(frame: Any) -> Frames:
    pixels: Frames = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, k=frame.rotation // 90)


class _Strayed(Exception):
    """A packet is not the one that is known to be there."""


class _Packets:
    """An open file's packets by their places.

    Attributes:
        at: place of the next one.
    """

    def __init__(self, container: Any, stream: Any, file: Survey, seeks: bool) -> None:
        self._container = container
        self._stream = stream
        self._file = file
        self._seeks = seeks
        self._packets: Iterator[Any] = self._demux()
        self.at = 0

    def pictures(self, begin: int, numbers: list[int]) -> Iterator[Any]:
        """What is decoded of the group that begins with a packet, for some of its frames.

        Raises:
            _Strayed: the packets cannot be found.
        """
        assert self._file.place is not None
        places, context = set(self._file.place[numbers].tolist()), self._stream.codec_context
        if self.at == 0 < begin:  # the first packet says who made the file, and decoders heed that
            for packet in self._read(0, 0):
                context.decode(packet)
            context.flush_buffers()
        for packet in self._read(begin, max(places)):
            context.skip_frame = "NONREF" if self._file.skips and self.at - 1 not in places else "DEFAULT"
            yield from context.decode(packet)
        yield from context.decode(None)
        context.flush_buffers()

    def _read(self, first: int, last: int) -> Iterator[Any]:
        """The packets from `first` to `last`, which lie no further back than the next one."""
        if self._seeks and first - self.at > NEAR:
            self._seek(first)
        while self.at <= last:
            packet = next(self._packets, None)
            if packet is None or _stamps(packet) != tuple(self._file.packets[self.at].tolist()):
                raise _Strayed
            self.at += 1
            if self.at > first:
                yield packet

    def _seek(self, first: int) -> None:
        """Go to a packet, or to one before it."""
        for stamp in self._file.packets[first, 2:].tolist():  # some containers look for one, some for the other
            if stamp == _NEVER:
                continue
            self._container.seek(stamp, stream=self._stream)
            packets = self._demux()
            packet = next(packets, None)
            if packet is None:
                continue
            (places,) = (self._file.packets == _stamps(packet)).all(axis=1).nonzero()
            if len(places) == 1 and places[0] <= first:
                self._packets, self.at = chain([packet], packets), int(places[0])
                return
        raise _Strayed

    def _demux(self) -> Iterator[Any]:
        return (packet for packet in self._container.demux(self._stream) if packet.size)


def require_file(path: Path) -> None:
    """Refuse what is no file.

    Raises:
        VideoError: it is none.
    """
    if not os.path.isfile(path):  # a pipe would be waited for
        raise VideoError("video missing", f"no file {str(path)!r:.300}")


def last_line(error: Exception) -> str:
    """What an error says, in a line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
