"""Random video files, of all the kinds that encoders and tools for cutting make: `python -m tests.films FOLDER COUNT`.

All frames differ: a textured picture pans, and bars show the frame's number. The files are made in a separate process,
because the libvpx of PyAV and the libvpx of decord cannot be used in one process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.videos import writing

SIZE = (96, 64)
H264 = ["mp4", "mov", "mkv", "ts", "m2ts", "avi", "flv", "asf", "fragments.mp4"]
CONTAINERS = {
    "libx264": [*H264, "mp4", "mkv", "ts", "avi"],
    "libx265": ["mp4", "mov", "mkv", "ts", "fragments.mp4"],
    "mpeg4": ["mp4", "mov", "mkv", "avi", "ts"],
    "mpeg2video": ["ts", "mkv", "mpg"],
    "libvpx": ["webm", "mkv"],
    "libvpx-vp9": ["webm", "mkv", "mp4"],
    "libsvtav1": ["mp4", "mkv", "webm"],
    "mjpeg": ["avi", "mov", "mkv"],
}
SHARES = {"libx264": 9, "libx265": 3, "mpeg4": 3}
FORMATS = {"ts": "mpegts", "m2ts": "mpegts", "asf": "asf", "mpg": "mpeg"}


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """Draw the properties of a file."""

    def one(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    codec = one(*(name for name in CONTAINERS for _ in range(SHARES.get(name, 1))))
    plan: dict[str, Any] = {"codec": codec, "suffix": one(*CONTAINERS[codec]), "count": one(25, 60, 150, 260)}
    key = one(1, 5, 12, 25, 50, 250)
    bframes = one(0, 2, 3, 5)
    shared = {"keyint": key, "min-keyint": one(1, key), "bframes": bframes, "scenecut": one(0, 40)}
    shared |= {"b-pyramid": one(0, 1, 2) if codec == "libx264" else one(0, 1), "open-gop": one(0, 1), "ref": one(1, 4)}
    if codec == "libx264":
        shared |= one({}, {}, {"intra-refresh": 1}, {"weightp": 0}, {"tff": 1}, {"slices": 3})
        plan["options"] = {"x264-params": ":".join(f"{k}={v}" for k, v in shared.items()), "preset": "veryfast"}
        plan["options"] |= one({}, {}, {"tune": "zerolatency"})
        plan["pix_fmt"] = one("yuv420p", "yuv420p", "yuv420p", "yuv422p", "yuv444p", "yuv420p10le")
    elif codec == "libx265":
        layers = {"temporal-layers": 3, "b-adapt": 0, "b-pyramid": 1, "bframes": 3, "keyint": max(key, 12)}
        shared |= one({}, layers, {"radl": min(2, bframes), "open-gop": 0})
        parts = ":".join(f"{k}={v}" for k, v in shared.items())
        plan["options"] = {"x265-params": f"{parts}:log-level=none:pools=1", "preset": "ultrafast"}
    elif codec in ("mpeg4", "mpeg2video"):
        plan["options"] = {"g": str(key), "bf": str(min(bframes, 2)), "q": "4"} | one(
            {}, {"flags": "+cgop", "sc_threshold": "1000000000"}
        )
    elif codec == "libsvtav1":
        plan["options"] = {"preset": "12", "svtav1-params": f"keyint={key}:irefresh-type={one(1, 2)}", "g": str(key)}
        plan["count"] = min(plan["count"], 60)
    elif codec.startswith("libvpx"):
        plan["options"] = {"g": str(key), "deadline": "realtime", "cpu-used": "8", "lag-in-frames": one("0", "10")}
        plan["options"] |= {"auto-alt-ref": "1"} if plan["options"]["lag-in-frames"] == "10" else {}
    if codec == "mjpeg":
        plan["pix_fmt"] = "yuvj420p"
    plan["times"] = one("steady", "steady", "variable", "late") if plan["suffix"] != "avi" else "steady"
    plan["change"] = one(None, None, None, None, "cut", "cut between", "joined", "a packet missing")
    if plan["change"] == "a packet missing" and plan["times"] == "variable":
        plan["times"] = "steady"  # a frame that is not there cannot be told from one that is shown longer
    return plan


def times(plan: dict[str, Any], rng: np.random.Generator) -> Iterator[int]:
    """The times of the frames in thousandths of a second."""
    time = 3000 if plan["times"] == "late" else 0
    for _ in range(plan["count"]):
        yield time
        time += 40 if plan["times"] != "variable" else int(rng.integers(1, 10)) * 20


def encode(path: Path, plan: dict[str, Any], rng: np.random.Generator) -> None:
    """Write the file without the change."""
    width, height = SIZE
    scene = rng.integers(0, 256, (height + 64, width + 64, 3), dtype=np.uint8)
    scene = scene.repeat(4, 0).repeat(4, 1)[: height + 64, : width + 64]
    container = {"movflags": "frag_keyframe+empty_moov"} if plan["suffix"].startswith("fragments") else {}
    base = Fraction(1, 25 if plan["times"] == "steady" else 1000)
    with writing(path, format=FORMATS.get(path.suffix[1:]), options=container) as out:
        stream = out.add_stream(plan["codec"], rate=25, options=plan.get("options", {}))
        stream.width, stream.height, stream.pix_fmt = width, height, plan.get("pix_fmt", "yuv420p")
        stream.codec_context.time_base = base
        if plan["codec"] in ("mpeg4", "mpeg2video"):
            stream.codec_context.time_base = base = Fraction(1, 25)
        for number, time in enumerate(times(plan, rng)):
            x, y = (int(abs(number * step % 128 - 64)) for step in (3, 2))
            picture = scene[y : y + height, x : x + width].copy()
            for bit in range(9):
                picture[:8, 10 * bit : 10 * bit + 8] = 255 * (number >> bit & 1)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(Fraction(time, 1000) / base), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def change(source: Path, path: Path, what: str, rng: np.random.Generator) -> None:
    """Write the file again without encoding: cut, joined to itself, or with a gap."""
    if what == "joined" and source.suffix in (".ts", ".m2ts", ".mpg"):
        path.write_bytes(2 * source.read_bytes())
        return
    with av.open(str(source)) as old, av.open(str(path), "w", format=FORMATS.get(path.suffix[1:])) as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        packets = [packet for packet in old.demux(stream) if packet.size]
        keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
        if what == "cut":
            packets = packets[keys[len(keys) // 2] :]
        elif what == "cut between":
            packets = packets[int(rng.integers(1, len(packets) // 2)) :]
        elif what == "a packet missing":
            del packets[int(rng.integers(1, len(packets) - 1))]
        for packet in packets:
            packet.stream = copy
            new.mux(packet)


def make(folder: Path, seed: int) -> Path | None:
    """Make one file, and a JSON file with its properties; None if this encoder or container does not support them."""
    rng = np.random.default_rng(seed)
    plan = draw(rng)
    path, whole = (folder / f"{seed}{part}.{plan['suffix']}" for part in ("", "_whole"))
    try:
        encode(whole if plan["change"] else path, plan, rng)
        if plan["change"]:
            change(whole, path, plan["change"], rng)
            whole.unlink()
    except (av.error.FFmpegError, ValueError) as error:
        path.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)
        print(seed, plan, error, file=sys.stderr)
        return None
    (folder / f"{seed}.json").write_text(json.dumps(plan))
    return path


if __name__ == "__main__":
    made, seed = 0, int(sys.argv[3]) if len(sys.argv) > 3 else 0
    while made < int(sys.argv[2]):
        made += make(Path(sys.argv[1]), seed) is not None
        seed += 1
