"""Unusual videos: forms that must be read right, and files that must be skipped, counted and explained."""

from __future__ import annotations

import atexit
import json
import os
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from swift_stvg.errors import VideoError
from swift_stvg.settings import DECODERS, Settings
from swift_stvg.sources import load_rows
from swift_stvg.video.frame_loader import FrameLoader
from swift_stvg.video.reader import frame_batches, probe, read_frames
from swift_stvg.video.request import VideoRequest
from swift_stvg.video.unreadable import Unread
from tests.videos import patched, picture, write_as, write_sound, write_video

BOUND_S = 60
"""Upper bound in seconds on a busy machine; a hang has no bound."""
COUNT = 100
OPEN = "open-gop=1:keyint=20:min-keyint=20:bframes=3:scenecut=0"
VPX = {"crf": "4", "b": "1M", "lag-in-frames": "10"}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "B-frames, closed GOP": ("mp4", {"options": {"x264-params": OPEN.replace("gop=1", "gop=0"), "crf": "1"}}),
    "B-frames, open GOP": ("mp4", {"options": {"x264-params": OPEN, "crf": "1"}}),
    "B-frames, open GOP, Matroska": ("mkv", {"options": {"x264-params": OPEN, "crf": "1"}}),
    "HEVC, open GOP": ("mp4", {"codec": "libx265", "options": {"x265-params": f"{OPEN}:log-level=0", "crf": "4"}}),
    "4:2:2": ("mp4", {"pix_fmt": "yuv422p", "options": {"crf": "1"}}),
    "10 bits": ("mp4", {"pix_fmt": "yuv420p10le", "options": {"crf": "1"}}),
    "4:2:2, 10 bits": ("mov", {"pix_fmt": "yuv422p10le", "codec": "prores_ks"}),
    "B-frames, transport stream": ("ts", {"options": {"x264-params": OPEN.replace("gop=1", "gop=0"), "crf": "1"}}),
    "B-frames, open GOP, transport stream": ("m2ts", {"options": {"x264-params": OPEN, "crf": "1"}}),
    "B-frames, AVI": ("avi", {"options": {"x264-params": OPEN.replace("gop=1", "gop=0"), "crf": "1"}}),
    "H.264 without B-frames, AVI": ("avi", {"options": {"x264-params": "keyint=12:bframes=0", "crf": "1"}}),
    "B-frames, ASF": ("asf", {"options": {"x264-params": OPEN.replace("gop=1", "gop=0"), "crf": "1"}}),
    "H.264, FLV": ("flv", {"options": {"x264-params": "keyint=12", "tune": "zerolatency", "crf": "1"}}),
    "no key frame but the first": ("mp4", {"options": {"x264-params": "intra-refresh=1:keyint=20", "crf": "1"}}),
    "MPEG-4 with B-frames": ("mp4", {"codec": "mpeg4", "options": {"q": "2", "bf": "2", "g": "20"}}),
    "AV1": ("mp4", {"codec": "libsvtav1", "options": {"preset": "10", "crf": "5", "g": "20"}}),
    "MPEG-4": ("avi", {"codec": "mpeg4", "options": {"q": "2"}}),
    "VP8": ("webm", {"codec": "libvpx", "options": VPX | {"auto-alt-ref": "1"}}),
    "VP9": ("webm", {"codec": "libvpx-vp9", "options": VPX}),
    "fragments": ("mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "10", "crf": "1"}}),
}


def write_apart(path: Path, count: int, size_wh: tuple[int, int] = (64, 48), **options: Any) -> Path:
    """As `write_as`, but libvpx runs in a separate process, because decord has another version of it."""
    if "libvpx" not in options.get("codec", ""):
        return write_as(path, count, size_wh, **options)
    script = f"from tests.videos import *; write_as(Path({str(path)!r}), {count}, {size_wh}, **{options!r})"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent.parent, capture_output=True)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_the_right_frames_of_every_form(tmp_path: Path, form: str) -> None:
    suffix, options = FORMS[form]
    size = (128, 96) if "HEVC" in form else (64, 48)
    path = write_apart(tmp_path / f"clip.{suffix}", COUNT, size, **options)
    info = probe(path)
    assert (info.n_frames, info.size_wh) == (COUNT, size)
    assert np.diff(info.frame_times_s) == pytest.approx(0.04, abs=1e-3)
    for wanted in (np.array([0, 7, 19, 20, 21, 38, 41, 77, 99]), np.array([59]), np.arange(COUNT)):
        frames = read_frames(path, wanted)
        true = np.stack([picture(k, size) for k in wanted])
        assert frames.shape == true.shape
        # below the red corner, and not where white meets black: a frame's neighbour is 2 columns off
        assert np.abs(frames[:, size[1] // 2 :].astype(int) - true[:, size[1] // 2 :]).mean() < 4


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (65, 49)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_as(tmp_path / "odd.mp4", 5, size, pix_fmt="yuv444p")
    assert probe(path).size_wh == size
    assert read_frames(path, np.arange(5)).shape == (5, size[1], size[0], 3)


def test_one_frame(tmp_path: Path) -> None:
    path = write_as(tmp_path / "one.mp4", 1)
    assert probe(path).n_frames == 1
    assert read_frames(path, np.array([0])).shape == (1, 48, 64, 3)
    with pytest.raises(VideoError, match="shorter"):
        read_frames(path, np.array([0, 1]))


@pytest.mark.slow
def test_one_frame_of_8k(tmp_path: Path) -> None:
    path = write_as(tmp_path / "8k.avi", 1, (7680, 4320), codec="mjpeg", pix_fmt="yuvj420p")
    assert probe(path).size_wh == (7680, 4320)
    assert [batch.shape for batch in frame_batches(path, np.array([0]))] == [(1, 4320, 7680, 3)]


def test_large_frames_come_in_smaller_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swift_stvg.video.reader._MOST_BYTES", 3 * 64 * 48 * 5)
    path = write_as(tmp_path / "a.mp4", 12)
    assert [len(batch) for batch in frame_batches(path, np.arange(12))] == [5, 5, 2]


def zoo(folder: Path) -> dict[str, Path]:
    """Files that are not a usable video of 100 frames, by their fault."""
    folder.mkdir()
    whole = write_as(folder / "whole.mp4", COUNT)
    found = {"sound only": write_sound(folder / "sound.mp4")}

    def put(what: str, data: bytes) -> Path:
        found[what] = folder / f"{len(found)}.mp4"
        found[what].write_bytes(data)
        return found[what]

    put("no byte", b"")
    put("text", b"this is no video, whatever its name says\n")
    put("zeros", bytes(100_000))
    put("noise", np.random.default_rng(0).bytes(100_000))
    segment = write_as(folder / "elsewhere/segment.ts", COUNT)
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:4.0,\n"
    put("a playlist of a file elsewhere", f"{head}file://{segment}\n#EXT-X-ENDLIST\n".encode())
    put("a list of a file elsewhere", b"ffconcat version 1.0\nfile elsewhere/segment.ts\n")
    put("an end cut off", whole.read_bytes()[:-1500])
    name = folder / "announced.mp4"
    found["1e9 frames announced"] = patched(name, whole, b"stsz", 8, 10**9)
    found["1e8 frames of a byte announced"] = patched(folder / "bytes.mp4", whole, b"stsz", 4, 1, 10**8)
    found["no frame announced"] = patched(folder / "none.mp4", whole, b"stsz", 8, 0)
    found["5 frames announced"] = patched(folder / "few.mp4", whole, b"stsz", 8, 5)
    found["frames of 30 hours"] = patched(folder / "slow.mp4", whole, b"mdhd", 12, 1)
    found["far apart"] = write_video(folder / "far.mkv", [*np.arange(99) / 25, 2e6])
    found["a folder"] = folder / "folder.mp4"
    found["a folder"].mkdir()
    found["a pipe"] = folder / "pipe.mp4"
    os.mkfifo(found["a pipe"])
    for device in ("zero", "full", "urandom", "tty"):
        found[f"/dev/{device}"] = folder / f"{device}.mp4"
        found[f"/dev/{device}"].symlink_to(f"/dev/{device}")
    found["a link to nothing"] = folder / "nothing.mp4"
    found["a link to nothing"].symlink_to(folder / "none")
    found["a link to itself"] = folder / "self.mp4"
    found["a link to itself"].symlink_to(folder / "self.mp4")
    found["a name that cannot be"] = folder / ("v" * 5000)
    found["pictures of 12000 x 12000"] = huge(folder / "huge.avi")
    return found


def huge(path: Path) -> Path:
    """An AVI file whose header and only picture claim 144 million pixels."""
    data = bytearray(write_as(path, 1, codec="mjpeg", pix_fmt="yuvj420p").read_bytes())
    at = data.index(b"strf") + 12
    data[at : at + 8] = struct.pack("<ii", 12000, 12000)
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 12000, 12000)
    path.write_bytes(data)
    return path


def line(name: str, video: Path) -> str:
    row = {"stvg_schema": 1, "id": name, "video": str(video), "sentence": "it grows", "n_frames": COUNT, "fps": 25.0}
    row |= {"size_wh": [64, 48], "span_frames": [10, 90], "tube": [[k, 1, 1, 30, 40] for k in range(10, 90)]}
    return json.dumps(row) + "\n"


@pytest.mark.slow
def test_in_the_loader(tmp_path: Path) -> None:
    """Each bad video is dropped and counted with its own reason; the one good video is kept."""
    bad = zoo(tmp_path / "zoo")
    (tmp_path / "all.jsonl").write_text("".join(line(name, path) for name, path in bad.items()))
    with (tmp_path / "all.jsonl").open("a") as file:
        file.write(line("good", tmp_path / "zoo/whole.mp4"))
    start = time.monotonic()
    settings = Settings(data_root=str(tmp_path), cache_dir=str(tmp_path / "kept"))
    rows, report = load_rows("stvg_jsonl", "all.jsonl", settings)
    assert time.monotonic() - start < BOUND_S
    assert [json.loads(row["stvg"])["id"] for row in rows] == ["good"]
    counts = {reason: count for reason, (count, _) in report.dropped.items()}
    assert sum(counts.values()) == len(bad)
    assert set(counts) == {"no picture", "video missing", "video unreadable", "video and annotation differ in length"}
    for name, path in bad.items():
        (tmp_path / "one.jsonl").write_text(line(name, path) + line("good", tmp_path / "zoo/whole.mp4"))
        rows, report = load_rows("stvg_jsonl", "one.jsonl", settings)
        assert len(rows) == 1, name
        ((count, example),) = report.dropped.values()
        assert count == 1
        assert str(path)[:100] in example, name
        assert len(example) < 1000


REQUEST = VideoRequest((0, 50, 99), (56, 28), 2.0, "pixel", (0.0, 2.0, 3.96))


class Loaded(Dataset):
    """Loads files in a worker of a DataLoader."""

    def __init__(self, paths: list[Path], loader: FrameLoader, unread: Unread) -> None:
        self.paths, self.loader, self.unread = paths, loader, unread

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> str:
        try:
            frames = self.loader.load(str(self.paths[i]), REQUEST)
        except VideoError as error:
            self.unread.note(str(self.paths[i]), error)
            return error.reason
        return str(tuple(frames.shape))


@pytest.mark.slow
def test_in_a_data_loaders_worker_and_in_rollout_threads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = zoo(tmp_path / "zoo")
    paths = [tmp_path / "zoo/whole.mp4", *bad.values()]
    start, unread = time.monotonic(), Unread()
    data = Loaded(paths, FrameLoader(Settings()), unread)
    in_worker = list(DataLoader(data, batch_size=None, num_workers=1, timeout=BOUND_S, multiprocessing_context="fork"))
    with ThreadPoolExecutor(8) as pool:
        in_threads = list(pool.map(data.__getitem__, range(len(paths))))
    assert time.monotonic() - start < BOUND_S
    assert in_worker == in_threads
    assert in_worker[0] == "(3, 3, 28, 56)", "the good one"
    assert set(in_worker[1:]) <= {"no picture", "video missing", "video unreadable", "video shorter than expected"}
    assert len(unread.found()) == 2 * len(bad), "of the worker's process too"
    unread.report()
    atexit.unregister(unread.report)
    assert f"{len(bad)} videos could not be read, in {2 * len(bad)} attempts" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "faststart.mp4", "fragments.mp4", "mkv", "webm", "mov", "avi"])
def test_cut_off_at_every_tenth(tmp_path: Path, suffix: str) -> None:
    """The rest of the file gives an error or the right frames, never another picture."""
    options: dict[str, Any] = {"options": {"crf": "1", "g": "10"}}
    flags = {"faststart.mp4": "faststart", "fragments.mp4": "frag_keyframe+empty_moov"}
    if suffix in flags:
        options["container"] = {"movflags": flags[suffix]}
    if suffix in ("webm", "avi"):
        options = {"codec": "libvpx-vp9" if suffix == "webm" else "mpeg4"}
    whole = write_apart(tmp_path / f"whole.{suffix}", COUNT, **options)
    every = read_frames(whole, np.arange(COUNT)).astype(int)
    times_s = probe(whole).frame_times_s
    path = tmp_path / f"cut.{suffix}"
    for tenths in range(1, 10):
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size * tenths // 10])
        start = time.monotonic()
        found = attempt(path)
        if isinstance(found, VideoError):
            assert found.reason in ("video unreadable", "video shorter than expected")
            assert "cut." in found.detail
        else:
            numbers = np.abs(times_s[None] - found[0][:, None]).argmin(axis=1)
            assert np.abs(found[1].astype(int) - every[numbers]).mean(axis=(1, 2, 3)).max() < 1
        assert time.monotonic() - start < BOUND_S


def attempt(path: Path) -> tuple[np.ndarray, np.ndarray] | VideoError:
    """Times and pictures of all frames."""
    try:
        times_s = probe(path).frame_times_s
        return times_s, read_frames(path, np.arange(len(times_s)))
    except VideoError as error:
        return error


def test_sizes_that_change(tmp_path: Path) -> None:
    raw = b"".join(write_as(tmp_path / f"{width}.h264", 20, (width, 48)).read_bytes() for width in (64, 128))
    (tmp_path / "both.h264").write_bytes(raw)
    found = attempt(tmp_path / "both.h264")
    assert isinstance(found, VideoError)
    assert "has pictures of" in str(found)


@pytest.mark.slow
def test_what_a_header_says_does_not_end_the_process(tmp_path: Path) -> None:
    """decord ends the process (std::bad_alloc) if the table of times announces 1e9 frames."""
    whole = write_as(tmp_path / "whole.mp4", COUNT)
    path = patched(tmp_path / "times.mp4", whole, b"stts", 8, 10**9)
    script = (
        "import sys; from pathlib import Path; import numpy as np; from swift_stvg.video.reader import read_frames\n"
    )
    script += "print((read_frames(Path(sys.argv[1]), np.array([0, 20, 31]))[:, 30, :, 1] > 128).sum(axis=1).tolist())"
    words = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=BOUND_S, cwd=Path(__file__).parent.parent)
    assert (done.returncode, done.stdout) == (0, "[0, 40, 62]\n"), done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write_as(tmp_path / "secret.mp4", 3)
    path.chmod(0)
    with pytest.raises(VideoError, match="cannot be read: Permission denied"):
        probe(path)


def test_threads_share_one_failure(tmp_path: Path) -> None:
    """A video that cannot be read is tried again later, because a disk may become available again."""
    loader, path = FrameLoader(Settings(frame_memory=64)), tmp_path / "late.mp4"
    for _ in range(2):
        with pytest.raises(VideoError, match="video missing"):
            loader.load(str(path), REQUEST)
    write_as(path, COUNT)
    assert torch.is_tensor(loader.load(str(path), REQUEST))


@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS)
def test_processes_may_be_forked_after_a_failure(tmp_path: Path, decoder: str) -> None:
    """With both decoders, as for DataLoader workers: a child that inherits a failed decord reader would crash."""
    path = write_as(tmp_path / "damaged.mp4", COUNT, (160, 120), options={"crf": "10"})
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat"), data.index(b"moov") - 4
    start += 2 * (end - start) // 3
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    script = """
import gc, os, sys
from pathlib import Path
import numpy as np
from swift_stvg.errors import VideoError
from swift_stvg.video.reader import read_frames
kept = []
for _ in range(4):
    try:
        read_frames(Path(sys.argv[1]), np.arange(0, 100, 5), sys.argv[2])
    except VideoError as error:
        kept.append(error)
assert len(kept) == 4
for _ in range(3):
    if (child := os.fork()) == 0:
        kept.clear()
        gc.collect()
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""
    words = [sys.executable, "-c", script, str(path), decoder]
    done = subprocess.run(words, capture_output=True, text=True, timeout=BOUND_S, cwd=Path(__file__).parent.parent)
    assert done.stdout == "0\n0\n0\n", done.stderr[-1000:]
