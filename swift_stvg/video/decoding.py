"""Decoding video files with PyAV. The frame at a time is the frame that decoding from the first packet gives.

A file is first surveyed, packet by packet, once in a process. The survey does not trust the file's own header. It
divides the packets into groups. A group begins with a picture that can be decoded alone: an IDR picture of H.264, an
IRAP picture of HEVC (pictures that follow it in the file and are shown before it belong to the previous group), a key
frame of VP8 and VP9, an I-VOP of MPEG-4, or any picture of an intra-only codec. In a group with wanted frames, packets
are decoded up to the last wanted frame. Unwanted pictures on which no other picture depends are skipped.

The decoder checks these assumptions. After a jump in the file, the first packet must have the place, length and time of
a surveyed packet; otherwise the file is read from its begin. If a frame is missing or damaged, all packets are decoded
to find it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from string import printable
from typing import Any

import numpy as np
import numpy.typing as npt

from swift_stvg.errors import VideoError
from swift_stvg.geometry import IntArray
from swift_stvg.records import MAX_VIDEO_FRAMES, MAX_VIDEO_S
from swift_stvg.util import validation
from swift_stvg.video.memory import Memory

Frames = npt.NDArray[np.uint8]
MAX_PIXELS = 1 << 26
"""Upper bound of pixels of a picture, twice as many as 8K; larger pictures are not decoded."""
MIN_SEEK_PACKETS = 64
"""A jump over fewer packets than this is done by reading, not by seeking."""
_TEXT = frozenset(printable.encode())
_HEAD = 1 << 14  # bytes of a packet in which its first picture begins
_NEVER = np.iinfo(np.int64).min
"""Value of a missing time stamp."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """The result of reading all P packets of a file, which show N frames.

    Attributes:
        times_s: (N,) presentation time of each frame, increasing.
        start_s: begin of the first stream of the file; the first frame if there is one stream.
        end_s: end of the last frame.
        pixels: number of pixels of a frame.
        container, codec: FFmpeg's names.
        packets: (P, 4) place in the file, length, presentation and decoding time stamp of each packet, as stored.
        place: (N,) the packet of each frame; None if packets have no presentation times, so that only order is known.
        starts: (G,) the packets that begin groups, increasing; decoding begins at the first one.
        needless: (P,) whether a packet holds only a picture on which no other picture depends.
        decord_is_exact: whether decord is known to find the right frames.
    """

    times_s: npt.NDArray[np.float64]
    start_s: float
    end_s: float
    pixels: int
    container: str
    codec: str
    packets: IntArray
    place: IntArray | None
    starts: IntArray
    needless: npt.NDArray[np.bool_]
    decord_is_exact: bool

    def __post_init__(self) -> None:
        validation.set_fields(self, times_s=validation.numbers("times_s", self.times_s, rising="strictly"))
        if self.packets.shape != (len(self.needless), 4):
            validation.refuse("packets", f"be ({len(self.needless)}, 4), as `needless` is", f"{self.packets.shape}")
        if self.place is not None and len(self.place) != len(self.times_s):
            validation.refuse("place", f"be as long as `times_s`, {len(self.times_s)}", f"{len(self.place)}")

    @property
    def largest_group(self) -> int:
        """Number of frames of the largest group."""
        if self.place is None:
            return len(self.times_s)
        return int(np.bincount(np.searchsorted(self.starts, self.place, side="right")).max())


@dataclass(frozen=True, slots=True)
class _Units:
    """The units that form the packets of a codec. The first two bytes of a unit give its kind.

    Attributes:
        kind: gives the kind of a unit from its first byte.
        pictures: kinds of units that hold a picture, or a part of one.
        tables: kinds of units with parameters for later pictures.
        starts: says from two bytes whether the picture of a unit begins a group.
        needless: says from two bytes whether no other picture depends on it.
    """

    kind: Callable[[int], int]
    pictures: frozenset[int]
    tables: frozenset[int]
    starts: Callable[[int, int], bool]
    needless: Callable[[int, int], bool]


_UNITS = {
    "h264": _Units(  # ITU-T H.264, 7.3.1 and table 7-1: slices, of which 5 is an IDR picture's; parameter sets
        kind=lambda first: first & 31,
        pictures=frozenset(range(1, 6)),
        tables=frozenset({7, 8, 13, 15}),
        starts=lambda first, _: first & 31 == 5,
        needless=lambda first, _: not first & 0x60,
    ),
    "hevc": _Units(  # ITU-T H.265, 7.3.1.2 and table 7-1: slices, of which 16 to 21 are IRAP pictures'; parameter sets
        kind=lambda first: first >> 1 & 63,
        pictures=frozenset(range(32)),
        tables=frozenset({32, 33, 34}),
        starts=lambda first, _: 16 <= first >> 1 & 63 <= 21,
        needless=lambda first, _: first >> 1 & 63 in range(0, 16, 2),
    ),
    "mpeg4": _Units(  # ISO/IEC 14496-2, tables 6-3 and 6-20: B6 hex is a picture, 20 to 2F are video object layers
        kind=lambda first: first,
        pictures=frozenset({0xB6}),
        tables=frozenset(range(0x20, 0x30)),
        starts=lambda _, second: second >> 6 == 0,
        needless=lambda _, second: second >> 6 == 2,
    ),
}
_KEYS: dict[str, Callable[[bytes], bool]] = {
    "vp8": lambda data: not data[0] & 1,  # RFC 6386, 9.1
    "vp9": lambda data: data[0] >> 4 in (8, 9, 10) and not data[0] & 0b1100,  # its specification, 6.2; profiles 0 to 2
}
"""Functions that check whether a packet with the key-frame flag is a key frame, by codec."""
_STAMPED = frozenset({"mov", "matroska", "flv", "mpegts", "mpeg"})
"""Containers with presentation times. For others FFmpeg guesses them if frames are not stored in display order."""
_DECORD_CODECS = frozenset({"h264", "hevc", "vp9"})
_DECORD_CONTAINERS = frozenset({"mov", "matroska"})
"""decord 0.6.0 was exact for these, if each key frame begins a group and no picture is shown before it."""


class _Groups:
    """Finds the packets of a stream that begin groups. Call `add` for each packet, then `finish`.

    Attributes:
        starts: numbers of these packets; decoding begins at the first one.
        clean: whether decoding can begin there without missing data.
        none: whether no group can be decoded.
        all: whether each key frame begins a group.
        needless: see `Survey`.
        in_order: whether frames of this codec are stored in display order.
    """

    def __init__(self, context: Any) -> None:
        self._codec: str = context.codec.canonical_name
        self._alone = bool(context.codec.intra_only)
        self.in_order = self._alone or self._codec in _KEYS
        self._units = _UNITS.get(self._codec)
        self._prefix = _length_of_lengths(self._codec, context.extradata)
        self._changed: set[int] = set()
        self.starts: list[int] = []
        self.clean = self.all = True
        self.none = False
        self.needless: list[bool] = []
        self._layered = False

    def add(self, packet: Any) -> None:
        """Look at the next packet."""
        start, needless = self._alone and packet.is_keyframe, False
        if self._units is not None:
            start, needless = self._look(self._units, bytes(memoryview(packet)[:_HEAD]))
        elif packet.is_keyframe and self._codec in _KEYS:
            start = _KEYS[self._codec](bytes(memoryview(packet)[:_HEAD]))
        if start:
            self.starts.append(len(self.needless))
        self.needless.append(needless)
        self.all &= start or not packet.is_keyframe

    def finish(self) -> None:
        """Conclude after the last packet.

        Decoding begins with the first group. Pictures before it do not count as frames, because decoders would leave
        them out or invent parts of them. H.264's decoder never gives such pictures, and can begin at other places too.
        """
        self.clean = bool(self.starts) and (self.starts[0] == 0 or self._codec != "h264")
        known = self._codec in _KEYS or (self._codec in _UNITS and self._codec != "h264")
        self.none = known and bool(self.needless) and not self.starts
        if not self.clean:
            self.starts = [0, *self.starts]
        if self._layered:  # pictures of a higher temporal layer may depend on such a picture
            self.needless = [False] * len(self.needless)

    def _look(self, units: _Units, data: bytes) -> tuple[bool, bool]:
        """Whether the packet begins a group, and whether no other picture depends on it.

        If tables changed after the begin of the first group, a packet begins a group only if it brings these tables.
        """
        tables: set[int] = set()
        start = needless = False
        for at in _units(data, self._prefix):
            kind = units.kind(data[at])
            if kind in units.tables:
                tables.add(kind)
            if kind in units.pictures and at + 1 < len(data):
                start = units.starts(data[at], data[at + 1]) and self._changed <= tables
                needless = units.needless(data[at], data[at + 1]) and not tables
                self._layered |= self._codec == "hevc" and data[at + 1] & 7 != 1
                break
        if self.starts:
            self._changed |= tables
        return start, needless


def _length_of_lengths(codec: str, extradata: bytes | None) -> int:
    """Number of bytes of the length before each unit, as in MP4 and Matroska; 0 for streams with start codes."""
    if not extradata or extradata[0] != 1:
        return 0
    place = {"h264": 4, "hevc": 21}.get(codec)  # ISO/IEC 14496-15, 5.3.3 and 8.3.3
    return (extradata[place] & 3) + 1 if place is not None and len(extradata) > place else 0


def _units(data: bytes, prefix: int) -> Iterator[int]:
    """The begin of each unit of a packet, after a length of `prefix` bytes, or after a start code if `prefix` is 0."""
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
    """Open a file with PyAV: its container and its video stream."""
    import av

    try:
        with av.open(plain(path), metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                what = "no video stream" if stream is None else "a video stream of an unknown kind"
                raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes) holds {what}")
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            stream.codec_context.thread_count = 1  # callers decode several clips in parallel
            yield container, stream
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes): {first_line(error)}") from None


_SURVEYS: Memory[Survey] = Memory(1 << 26, size=lambda survey: 2 * survey.packets.nbytes, copy=lambda survey: survey)


def survey(path: Path) -> Survey:
    """The survey of a file. It is done once in a process, unless the file changes.

    Raises:
        VideoError: the file is missing or is not a readable video.
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
        # FFmpeg would take the text for a playlist and read the files that it names, wherever they are
        raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes) is a text file")
    packets: list[tuple[int, int, int, int]] = []
    flags: list[tuple[bool, bool]] = []
    leading, duration, key = False, 0, _NEVER
    with _opened(path) as (container, stream):
        pixels = stream.codec_context.width * stream.codec_context.height
        if pixels > MAX_PIXELS:
            size = f"{stream.codec_context.width} x {stream.codec_context.height}"
            raise VideoError(
                "video unreadable", f"{path} has pictures of {size} pixels; {MAX_PIXELS} is the upper bound"
            )
        groups = _Groups(stream.codec_context)
        for packet in container.demux(stream):
            if not packet.size:
                continue
            groups.add(packet)
            packets.append(_stamps(packet))
            flags.append((packet.is_discard, packet.is_corrupt))
            if packet.is_keyframe:
                key = packets[-1][2]
            leading |= packets[-1][2] < key or key == _NEVER
            duration = packet.duration or duration
            if len(packets) > MAX_VIDEO_FRAMES:
                raise VideoError("video unreadable", f"{path} has more than {MAX_VIDEO_FRAMES} frames")
        groups.finish()
        codec, announced, rate = stream.codec_context.codec.canonical_name, stream.frames, stream.average_rate
        tick_s, kind = float(stream.time_base or 0), container.format.name.partition(",")[0]
        # in microseconds; in a file with one stream FFmpeg counts frames from the first that it decodes
        start = container.start_time if len(container.streams) > 1 else None
    table = np.array(packets, dtype=np.int64).reshape(-1, 4)
    hidden, damaged = np.array(flags, dtype=bool).reshape(-1, 2).T
    begin = groups.starts[0]
    shown = ~hidden & (np.arange(len(table)) >= begin)
    by_pts = (kind in _STAMPED or groups.in_order) and _all_different(table[shown & ~damaged, 2])
    if by_pts:  # otherwise frames are the decoder's pictures in order, damaged ones included
        shown &= ~damaged
    if groups.none:
        raise VideoError("video unreadable", f"{path} begins after a key frame and holds no other one")
    first = table[begin, 2] if shown.any() else _NEVER
    if shown.any() and not (pixels and groups.clean):
        first, pixels = _first_picture(path, begin)
    if by_pts:
        shown &= table[:, 2] >= first
    if not shown.any():
        raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes) holds no frame")
    pts, dts = table[shown, 2], table[shown, 3]
    if by_pts or _all_different(dts):
        ticks = np.sort(pts if by_pts else dts)
    else:
        ticks, tick_s, duration = np.arange(len(pts), dtype=np.int64), 1 / float(rate or 25), 1
    times_s = (ticks * tick_s).astype(np.float64)
    end_s = float(times_s[-1] + (duration * tick_s or (times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)))
    if not end_s - times_s[0] <= MAX_VIDEO_S:
        raise VideoError(
            "video unreadable", f"{path} lasts {end_s - times_s[0]:.0f} s; {MAX_VIDEO_S} is the upper bound"
        )
    start_s = min(start / 1e6, float(times_s[0])) if by_pts and start is not None else float(times_s[0])
    place = shown.nonzero()[0][np.argsort(pts)]
    starts, needless = np.array(groups.starts, dtype=np.int64), np.array(groups.needless, dtype=bool)
    if by_pts:
        _keep_around_gaps(needless, ticks, place, starts)
    ordinary = by_pts and groups.all and not leading and shown.all() and announced in (0, len(shown))
    return Survey(
        times_s,
        start_s,
        end_s,
        pixels,
        kind,
        codec,
        table,
        place if by_pts else None,
        starts,
        needless,
        ordinary and codec in _DECORD_CODECS and kind in _DECORD_CONTAINERS,
    )


def _keep_around_gaps(needless: npt.NDArray[np.bool_], ticks: IntArray, place: IntArray, starts: IntArray) -> None:
    """Mark no picture as needless in groups with a gap in time: packets may be missing, which decoders conceal.

    Args:
        needless: (P,) see `Survey`; changed in place.
        ticks, place: (N,) time stamp and packet of each frame.
        starts: (G,) see `Survey`.
    """
    steps = np.diff(ticks)  # (N - 1,)
    if not len(steps):
        return
    (gaps,) = (steps > 1.9 * np.median(steps)).nonzero()
    ends = np.append(starts, len(needless))
    for group in np.unique(np.searchsorted(starts, place[np.append(gaps, gaps + 1)], side="right") - 1):
        needless[ends[group] : ends[group + 1]] = False


def _first_picture(path: Path, begin: int) -> tuple[int, int]:
    """Presentation time stamp and number of pixels of the first picture that decoding from a packet gives."""
    with _opened(path) as (container, stream):
        for frame in _pictures(container, stream, begin):
            return _NEVER if frame.pts is None else frame.pts, frame.width * frame.height
    raise VideoError("video unreadable", f"{path} ({path.stat().st_size} bytes) holds no picture that can be decoded")


def _stamps(packet: Any) -> tuple[int, int, int, int]:
    """A row of `Survey.packets`."""
    pts, dts = packet.pts, packet.dts
    return packet.pos or 0, packet.size, _NEVER if pts is None else pts, _NEVER if dts is None else dts


def _all_different(stamps: IntArray) -> bool:
    """Whether there are stamps, none is missing, and no two are equal."""
    return bool(len(stamps)) and stamps.min() > _NEVER and len(np.unique(stamps)) == len(stamps)


def groups_of(file: Survey, frames: IntArray) -> list[tuple[int, list[int]]]:
    """The groups that hold the frames `frames` (T,), increasing: the first packet of each group, and its frames.

    Two groups become one if the earlier one needs packets of the later one.
    """
    assert file.place is not None
    pts = file.packets[:, 2]
    groups: list[tuple[int, int, list[int]]] = []
    for frame, place in sorted(zip(frames.tolist(), file.place[frames].tolist(), strict=True), key=itemgetter(1)):
        number = int(np.searchsorted(file.starts, place, side="right")) - 1
        while number > 0 and pts[place] < pts[file.starts[number]]:
            number -= 1
        begin, members = int(file.starts[number]), [frame]
        while groups and begin <= groups[-1][1]:
            begin, members = min(begin, groups[-1][0]), groups.pop()[2] + members
        groups.append((begin, place, members))
    return [(begin, members) for begin, _, members in groups]


def decode(path: Path, file: Survey, frames: IntArray) -> Iterator[Frames]:
    """Decode the frames `frames` (T,), increasing, one by one, each (H, W, 3) RGB with the file's rotation applied.

    Raises:
        VideoError: a frame cannot be decoded, or its size differs from that of the earlier frames.
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
    """Decode every packet until all wanted frames are found; gives their numbers and pixels."""
    wanted = set(frames.tolist())
    known = None if file.place is None else _numbers(file, frames)
    with _opened(path) as (container, stream):
        for count, frame in enumerate(_pictures(container, stream, int(file.starts[0]))):
            number = count if known is None else known.get(frame.pts, -1)
            if number in wanted:
                if frame.is_corrupt:
                    raise VideoError("video unreadable", f"{path} cannot be decoded: frame {number} is damaged")
                yield number, _pixels(frame)
                wanted.remove(number)
                if not wanted:
                    return


def _pictures(container: Any, stream: Any, begin: int) -> Iterator[Any]:
    """All pictures of a stream from a packet on. Errors before the first picture count only if no picture comes."""
    from av.error import InvalidDataError

    count, fault = 0, None
    packets = (packet for packet in container.demux(stream) if packet.size)  # an empty packet would end the decoder
    for packet in chain(islice(packets, begin, None), [None]):
        try:
            pictures = stream.codec_context.decode(packet)
        except InvalidDataError as error:
            if count:
                raise
            fault = error
            continue
        count += len(pictures)
        yield from pictures
    if not count and fault is not None:
        raise fault


def _seek_groups(path: Path, file: Survey, frames: IntArray) -> Iterator[tuple[int, Frames]]:
    """Decode wanted frames group by group, seeking in the file, up to the first frame that is not found."""
    return _decode_groups(path, file, frames, seeks=True)


def _find_groups(path: Path, file: Survey, frames: IntArray) -> Iterator[tuple[int, Frames]]:
    """Decode wanted frames group by group, reading all packets in between, up to the first that is not found."""
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
                return  # decoding all packets will find the error, if there is one
            if left:
                return


def _numbers(file: Survey, frames: IntArray) -> dict[int, int]:
    """Frame numbers by presentation time stamp."""
    assert file.place is not None
    return dict(zip(file.packets[file.place[frames], 2].tolist(), frames.tolist(), strict=True))


def _pixels(frame: Any) -> Frames:
    pixels: Frames = frame.to_ndarray(format="rgb24", **one_thread())
    return np.rot90(pixels, k=frame.rotation // 90)


@cache
def one_thread() -> dict[str, int]:
    """Arguments that make PyAV convert a picture in one thread. Starting several for each picture takes twice as long.

    PyAV before 17 always uses one thread and has no such argument.
    """
    import av

    return {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


class _Strayed(Exception):
    """A packet is not the surveyed packet at its place."""


class _Packets:
    """Access to the packets of an open file by number. Decoding times are not compared: FFmpeg guesses Matroska's.

    Attributes:
        at: number of the next packet.
    """

    def __init__(self, container: Any, stream: Any, file: Survey, seeks: bool) -> None:
        self._container = container
        self._stream = stream
        self._file = file
        self._seeks = seeks
        self._packets: Iterator[Any] = self._demux()
        self.at = 0

    def pictures(self, begin: int, numbers: list[int]) -> Iterator[Any]:
        """Decode the group that begins with packet `begin`, as far as some of its frames need it.

        Raises:
            _Strayed: the packets cannot be found.
        """
        assert self._file.place is not None
        places, context = set(self._file.place[numbers].tolist()), self._stream.codec_context
        first = int(self._file.starts[0])
        if self.at <= first < begin:  # it names the encoder, and decoders adapt to that
            for packet in self._read(first, first):
                context.decode(packet)
            context.flush_buffers()
        for packet in self._read(begin, max(places)):
            if not self._file.needless[self.at - 1] or self.at - 1 in places:
                yield from context.decode(packet)
        yield from context.decode(None)
        context.flush_buffers()

    def _read(self, first: int, last: int) -> Iterator[Any]:
        """The packets from `first` to `last`; `first` is not before the next packet."""
        if self._seeks and first - self.at > MIN_SEEK_PACKETS:
            self._seek(first)
        while self.at <= last:
            packet = next(self._packets, None)
            if packet is None or _stamps(packet)[:3] != tuple(self._file.packets[self.at, :3].tolist()):
                raise _Strayed
            self.at += 1
            if self.at > first:
                yield packet

    def _seek(self, first: int) -> None:
        """Seek to a packet, or to one before it."""
        for stamp in self._file.packets[first, 2:].tolist():  # some containers seek by one stamp, some by the other
            if stamp == _NEVER:
                continue
            self._container.seek(stamp, stream=self._stream)
            packets = self._demux()
            packet = next(packets, None)
            if packet is None:
                continue
            (places,) = (self._file.packets[:, :3] == _stamps(packet)[:3]).all(axis=1).nonzero()
            if len(places) == 1 and places[0] <= first:
                self._packets, self.at = chain([packet], packets), int(places[0])
                return
        raise _Strayed

    def _demux(self) -> Iterator[Any]:
        return (packet for packet in self._container.demux(self._stream) if packet.size)


def plain(path: Path) -> str:
    """An absolute path. FFmpeg would take a part of a name such as `12:30.mp4` for a protocol."""
    return os.path.abspath(path)


def require_file(path: Path) -> None:
    """Refuse a path that is not a file.

    Raises:
        VideoError: the path is not a file.
    """
    if not os.path.isfile(path):  # reading a pipe would block
        raise VideoError("video missing", f"no file {str(path)!r:.300}")


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
