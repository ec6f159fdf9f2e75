"""Cached frames: which files are found, how far their pixels are from the video's, and what happens to bad files."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from swift_stvg.bench.clips import FILM, encode
from swift_stvg.cli import main
from swift_stvg.errors import DataError, SettingsError, VideoError
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows
from swift_stvg.synthetic.clips import SynthConfig, generate
from swift_stvg.video.frame_cache import FrameCache
from swift_stvg.video.frame_loader import FrameLoader, decode, key_of
from swift_stvg.video.reader import fingerprint, frame_batches
from swift_stvg.video.request import VIDEO_KEY, VideoRequest
from tests.videos import write_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", [k / 10 for k in range(30)])


REQUEST = VideoRequest((0, 5, 10), (56, 28), 2.0, "pixel", (0.0, 0.5, 1.0))


def cached(folder: Path, video: Path, request: VideoRequest = REQUEST) -> Path:
    cache = FrameCache(folder)
    path = cache.path(video, request.frames, request.size_wh)
    cache.write(path, decode(str(video), request).permute(0, 2, 3, 1).numpy())
    return path


def loader(folder: Path | None, memory: int = 0) -> FrameLoader:
    return FrameLoader(Settings(frame_cache=str(folder) if folder else None, frame_memory=memory))


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", ["easy", "normal", "hard"])
def test_pixels_are_close_to_the_videos(tmp_path: Path, difficulty: str) -> None:
    """The documented bound, for sharp edges and film: 2 of 255 levels in the mean, 8 for 99 percent of pixels."""
    root = tmp_path / "stvg_synthetic"
    generate(root, {"test": 3}, SynthConfig(difficulty=difficulty, size_wh=(320, 240), duration_s=3), workers=1)
    for row in load_rows("stvg_synthetic", "test", Settings(data_root=str(tmp_path)))[0]:
        check_pixels(tmp_path / "cache", row)


@pytest.mark.slow
def test_pixels_of_real_video_are_close(tmp_path: Path, stvg_test_data: Path) -> None:
    clip = stvg_test_data / "vidor/videos/5587257558.mp4"
    request = VideoRequest(tuple(range(0, 540, 15)), (336, 196), 2.0, "pixel", tuple(k / 2 for k in range(36)))
    check_pixels(tmp_path, {"videos": [str(clip)], "chat_template_kwargs": {VIDEO_KEY: request.to_json()}})


@pytest.mark.slow
def test_pixels_of_a_noisy_film_are_close(tmp_path: Path) -> None:
    film = encode(FILM, tmp_path, seconds=2)
    request = VideoRequest(tuple(range(0, 48, 12)), (336, 196), 2.0, "pixel", tuple(k / 2 for k in range(4)))
    check_pixels(tmp_path, {"videos": [str(film)], "chat_template_kwargs": {VIDEO_KEY: request.to_json()}})


def check_pixels(folder: Path, row: dict) -> None:
    request = VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY])
    path = Path(row["videos"][0])
    cached(folder, path, request)
    found, true = loader(folder).load(str(path), request), decode(str(path), request)
    assert found.shape == true.shape
    assert found.dtype == torch.uint8
    error = (found.int() - true.int()).abs().float()
    assert error.mean() < 2
    assert torch.quantile(error.flatten()[:: max(1, error.numel() // 10**6)], 0.99) <= 8


def test_a_cached_clip_is_not_decoded(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(tmp_path / "cache", video)
    monkeypatch.setattr("swift_stvg.video.frame_loader.decode", lambda *_: pytest.fail("it is cached"))
    assert loader(tmp_path / "cache").load(str(video), REQUEST).shape == (3, 3, 28, 56)


OTHERS = [
    (replace(REQUEST, frames=(0, 5, 11)), "other frames"),
    (replace(REQUEST, size_wh=(28, 28)), "another size"),
]


@pytest.mark.parametrize(("request_", "reason"), OTHERS)
def test_other_settings_are_decoded(tmp_path: Path, video: Path, request_: VideoRequest, reason: str) -> None:
    cached(tmp_path / "cache", video)
    assert torch.equal(loader(tmp_path / "cache").load(str(video), request_), decode(str(video), request_)), reason


def test_a_changed_video_is_decoded_and_a_moved_one_is_found(tmp_path: Path, video: Path) -> None:
    path = cached(tmp_path / "cache", video)
    cache = FrameCache(tmp_path / "cache")
    moved = tmp_path / "elsewhere.mp4"
    moved.write_bytes(video.read_bytes())
    assert cache.path(moved, REQUEST.frames, REQUEST.size_wh) == path
    write_video(video, [k / 10 for k in range(29)])
    assert cache.path(video, REQUEST.frames, REQUEST.size_wh) != path
    assert torch.equal(loader(tmp_path / "cache").load(str(video), REQUEST), decode(str(video), REQUEST))
    with pytest.raises(VideoError, match="no file"):
        cache.path(tmp_path / "none.mp4", REQUEST.frames, REQUEST.size_wh)


DAMAGE = [
    (lambda data: b"", "empty"),
    (lambda data: data[:-10], "cut off"),
    (lambda data: data[:20], "cut off in the header"),
    (lambda data: b"something else\n" + data, "another kind of file"),
    (lambda data: data[: len(data) // 2] + b"\0" * (len(data) - len(data) // 2), "zeros at the end"),
    (lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:], "one bit, which no JPEG decoder sees"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGE)
def test_a_damaged_file_is_reported_once_and_its_video_decoded(
    tmp_path: Path, video: Path, damage, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = cached(tmp_path / "cache", video)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="is a damaged file of cached frames"):
        FrameCache(tmp_path / "cache").read(path, 3, (56, 28))
    frames = loader(tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert torch.equal(frames.load(str(video), REQUEST), decode(str(video), REQUEST)), reason
    assert caplog.text.count("the video is decoded instead") == 1


def test_a_folder_in_a_files_place_is_reported_and_its_video_decoded(tmp_path: Path, video: Path) -> None:
    path = cached(tmp_path / "cache", video)
    path.unlink()
    path.mkdir()
    assert torch.equal(loader(tmp_path / "cache").load(str(video), REQUEST), decode(str(video), REQUEST))


def test_a_misspelt_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the folder does not exist; `swift-stvg cache` makes it"):
        loader(tmp_path / "no_cache")


def test_a_change_in_the_middle_is_seen(tmp_path: Path) -> None:
    whole = bytes(range(256)) * 4000
    (tmp_path / "a").write_bytes(whole)
    before = fingerprint(tmp_path / "a")
    (tmp_path / "a").write_bytes(whole[:300_000] + bytes(100_000) + whole[400_000:])
    assert fingerprint(tmp_path / "a") != before


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        cached(tmp_path / "cache", video)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_two_writers_of_the_same_clip_do_no_harm(tmp_path: Path, video: Path) -> None:
    threads = [threading.Thread(target=cached, args=(tmp_path / "cache", video)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (path,) = (tmp_path / "cache").rglob("*.frames")
    assert FrameCache(tmp_path / "cache").read(path, 3, (56, 28)).shape == (3, 28, 56, 3)


def test_frames_are_remembered(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, calls = loader(None, memory=1), []
    monkeypatch.setattr("swift_stvg.video.frame_loader.decode", lambda *a: calls.append(a) or torch.zeros(1, 3, 2, 2))
    for _ in range(16):
        frames.load(str(video), REQUEST).fill_(7)
    assert len(calls) == 1
    assert frames.load(str(video), REQUEST).sum() == 0


def test_frames_that_were_changed_are_not_taken_for_the_clips(video: Path) -> None:
    frames = loader(None, memory=1)
    with torch.inference_mode():
        loaded = frames.load(str(video), REQUEST)
        assert key_of(loaded) is not None
        loaded.fill_(7)
    assert key_of(loaded) is None
    assert key_of(torch.zeros(1)) is None


def test_few_frames_are_in_memory_at_their_full_size(tmp_path: Path) -> None:
    sizes = []
    video = write_video(tmp_path / "long.mp4", [k / 10 for k in range(50)])
    for batch in frame_batches(video, np.arange(50)):
        sizes.append(len(batch))
    assert sizes == [16, 16, 16, 2]


@pytest.mark.slow
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "stvg_synthetic"
    generate(root, {"train": 4}, SynthConfig(duration_s=20, sentences_per_clip=2), workers=1)
    monkeypatch.setenv("STVG_DATA_ROOT", str(tmp_path))
    words = ["cache", "stvg_synthetic:train", str(tmp_path / "cache")]
    assert main(words) == 0
    assert "4 of 4 clips written" in capsys.readouterr().out, "two sentences about a clip share its frames"
    one, other, *_ = (tmp_path / "cache").rglob("*.frames")
    for name, age_s in ((".old.part", 7200), (".new.part", 60)):
        (one.parent / name).touch()
        os.utime(one.parent / name, (time.time() - age_s,) * 2)
    one.unlink()
    other.write_bytes(other.read_bytes().replace(b"\xff\xda", b"\xff\xdb", 1))
    assert main(words) == 0
    assert "2 of 4 clips written" in capsys.readouterr().out, "what is missing, and what is not whole"
    assert one.is_file()
    assert not (one.parent / ".old.part").exists(), "left by a writer that was killed"
    assert (one.parent / ".new.part").exists(), "another process may be writing it"

    video = sorted((root / "videos").iterdir())[0]
    data = bytearray(video.read_bytes())
    start, end = data.index(b"mdat"), data.index(b"moov") - 4
    start += 2 * (end - start) // 3  # far beyond the first frame, which loading decodes
    data[start:end] = bytes(end - start)
    video.write_bytes(data)
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "not cached: 1 x video unreadable" in out
    assert str(video) in out
    assert main([*words, "--workers", "0"]) == 1
    assert main(["cache", "stvg_synthetic:train", str(one)]) == 1
    assert "cannot be used as a folder" in capsys.readouterr().err
