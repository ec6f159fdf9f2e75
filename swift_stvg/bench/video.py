"""Decoding the sampled frames of a clip in several ways, and reading them from several formats on disk."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from swift_stvg.bench.clips import FILM, HOME, Clip, encode
from swift_stvg.bench.measure import Result, Scale, medians
from swift_stvg.errors import StvgError
from swift_stvg.geometry import IntArray
from swift_stvg.rows.making import frame_size
from swift_stvg.settings import Settings
from swift_stvg.video.frame_cache import FrameCache
from swift_stvg.video.frame_loader import FrameLoader, decode
from swift_stvg.video.reader import Frames, probe, read_frames
from swift_stvg.video.request import VideoRequest
from swift_stvg.video.timeline import Timeline


def measure(folder: Path, scale: Scale) -> Iterator[Result]:
    """A film and a home video, and the frames of the film."""
    torch.set_num_threads(1)
    requests = {}
    for clip in (FILM, HOME):
        path = encode(clip, folder, 6 if scale.quick else None)
        request = request_of(path)
        requests[path] = request
        every = np.array(request.frames)
        for frames in (every, every[:: max(1, len(every) // 8)]):
            yield from _decoders(clip, path, frames, scale)
    path, request = next(iter(requests.items()))
    yield from _formats(folder, path, request, scale)


def request_of(path: Path) -> VideoRequest:
    """The frames that a row about the whole video asks for with the default settings."""
    settings, info = Settings(), probe(path)
    line = Timeline.sample(info.frame_times_s, info.end_s, fps=settings.fps, max_frames=settings.max_frames)
    size_wh = frame_size(info.size_wh, settings.max_side, settings.side_multiple)
    return VideoRequest.on(line, size_wh, settings.coords)


def _decoders(clip: Clip, path: Path, frames: IntArray, scale: Scale) -> Iterator[Result]:
    works: dict[str, Callable[[], Frames]] = {
        "ours": lambda: read_frames(path, frames),
        "decord": lambda: _decord(path, frames, 1),
        "decord, as many threads as cores": lambda: _decord(path, frames, 0),
        "PyAV, from the first to the last frame": lambda: _pyav(path, frames),
    }
    try:
        import torchcodec  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        pass  # torchcodec needs its own FFmpeg
    else:
        works["torchcodec"] = lambda: _torchcodec(path, frames)
    exact = works["ours"]()
    for name, work in works.items():
        error = np.abs(work().astype(np.int16) - exact).mean()
        if error > 1:
            raise StvgError(f"{name} gives other pixels of {path}, {error:.1f} levels off in the mean")
    seconds = medians(works, scale.rounds)
    for name in list(works)[1:]:
        what = f"decode {len(frames)} frames of a {clip.name}"
        yield Result(what, 1e3 * seconds["ours"], "ms", name, 1e3 * seconds[name])


def _decord(path: Path, frames: IntArray, threads: int) -> Frames:
    from decord import VideoReader, cpu

    pixels: Frames = VideoReader(str(path), ctx=cpu(0), num_threads=threads).get_batch(frames.tolist()).asnumpy()
    return pixels


def _pyav(path: Path, frames: IntArray) -> Frames:
    import av

    wanted = set(frames.tolist())
    found = []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
            if number == frames[-1]:
                break
    return np.stack(found)


def _torchcodec(path: Path, frames: IntArray) -> Frames:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    pixels: Frames = decoder.get_frames_at(frames.tolist()).data.numpy()
    return pixels


def _formats(folder: Path, video: Path, request: VideoRequest, scale: Scale) -> Iterator[Result]:
    """Time to read a clip's frames in each format, with the size on disk and the error of the pixels."""
    cache = FrameCache(folder / "cache")
    path = cache.path(video, request.frames, request.size_wh)
    frames = decode(str(video), request).permute(0, 2, 3, 1).contiguous().numpy()
    cache.write(path, frames)
    loader = FrameLoader(Settings(frame_cache=str(cache.folder), frame_memory=0))
    raw = folder / "frames.raw"
    frames.tofile(raw)
    lossy = {
        f"{kind} {quality}": [_picture(frame, kind, quality) for frame in frames]
        for kind, quality in (("JPEG", 90), ("WEBP", 90))
    }
    film = folder / "frames.mp4"
    _intra(film, frames)
    works: dict[str, tuple[int, Callable[[], Any]]] = {
        "JPEG 95, all colours": (path.stat().st_size, lambda: cache.read(path, len(frames), request.size_wh)),
        "raw": (raw.stat().st_size, lambda: np.fromfile(raw, dtype=np.uint8).reshape(frames.shape)),
        **{name: (sum(map(len, pictures)), partial(_unpacked, pictures)) for name, pictures in lossy.items()},
        "H.264, every frame alone": (film.stat().st_size, lambda: read_frames(film, np.arange(len(frames)))),
    }
    works_only = {name: work for name, (_, work) in works.items()}
    others = {"decode": lambda: decode(str(video), request), "loader": lambda: loader.load(str(video), request)}
    seconds = medians(works_only | others, scale.rounds)
    for name, (size, work) in works.items():
        error = np.abs(work().astype(np.int16) - frames)
        off = f"{error.mean():.1f} levels off, at most {error.max()}"
        what = f"{len(frames)} frames as {name}: {size / 2**20:.2f} MB, {off}"
        yield Result(what, 1e3 * seconds[name], "ms", "decoding and resizing", 1e3 * seconds["decode"])
    what = "the same clip through STVG_FRAME_CACHE"
    yield Result(what, 1e3 * seconds["loader"], "ms", "decoding and resizing", 1e3 * seconds["decode"])


def _unpacked(pictures: list[bytes]) -> Frames:
    return np.stack([np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures])


def _picture(frame: Frames, kind: str, quality: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(frame).save(data, kind, quality=quality)
    return data.getvalue()


def _intra(path: Path, frames: Frames) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2, options={"crf": "12", "g": "1", "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
