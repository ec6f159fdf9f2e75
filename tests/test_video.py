"""Reading real files: times, sizes, rotation, damage."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from swift_stvg.errors import VideoError
from swift_stvg.video.probing import ProbeCache
from swift_stvg.video.reader import probe, read_frames
from tests.videos import picture, write_late, write_video


def white_columns(frames: np.ndarray) -> list[int]:
    """Width of the white part in a row below the corner."""
    return [int((frame[30, :, 1] > 128).sum()) for frame in frames]


def test_exactly_the_wanted_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", np.arange(30) / 25)
    info = probe(path)
    assert (info.n_frames, info.size_wh) == (30, (64, 48))
    assert info.end_s == pytest.approx(1.2, abs=0.021)  # the file does not say how long its last frame lasts
    assert info.frame_times_s.tolist() == pytest.approx((np.arange(30) / 25).tolist())
    assert white_columns(read_frames(path, np.array([0, 7, 8, 29]))) == [0, 14, 16, 58]


def test_variable_frame_rate_keeps_true_times(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.5, 0.9, 1.0, 1.04, 2.0]
    path = write_video(tmp_path / "vfr.mp4", times)
    assert probe(path).frame_times_s.tolist() == pytest.approx(times)
    assert white_columns(read_frames(path, np.array([3, 6, 7]))) == [6, 12, 14]


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_rotated_videos_are_shown_upright(tmp_path: Path, turned: int) -> None:
    path = write_video(tmp_path / "turned.mp4", np.arange(10) / 25, turned=turned)
    upright = np.stack([np.rot90(picture(k), k=-turned // 90) for k in (2, 5)])
    assert probe(path).size_wh == (upright.shape[2], upright.shape[1])
    frames = read_frames(path, np.array([2, 5]))
    assert frames.shape == upright.shape
    assert np.abs(frames.astype(int) - upright).mean() < 8


def test_frames_beyond_the_end(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", np.arange(10) / 25)
    with pytest.raises(VideoError, match=r"video shorter than expected: frame 10 of 10 in .*a\.mp4"):
        read_frames(path, np.array([3, 10]))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="video missing: no file"):
        probe(tmp_path / "none.mp4")


@pytest.mark.parametrize("content", [b"", b"not a video", bytes(4096)], ids=["empty", "text", "zeros"])
def test_files_that_are_no_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=rf"video unreadable: .*bad\.mp4 \({len(content)} bytes\)"):
        probe(path)


@pytest.mark.parametrize("tenths", range(1, 10))
def test_truncated_files_are_errors_not_pictures(tmp_path: Path, tenths: int) -> None:
    whole = write_video(tmp_path / "whole.mp4", np.arange(100) / 25)
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * tenths // 10])
    with pytest.raises(VideoError, match=r"cut\.mp4"):
        read_frames(path, np.array([0, 99]))


def test_what_a_video_is_found_to_be_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_video(tmp_path / "clip.mp4", [0, 0.1, 0.25, 0.4])
    first = ProbeCache(tmp_path / "kept").get(video)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(video.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr("swift_stvg.video.reader.survey", lambda path: pytest.fail("it is known"))
        again = ProbeCache(tmp_path / "kept").get(copy)
    assert again.path == copy
    assert (again.size_wh, again.end_s) == (first.size_wh, first.end_s)
    assert np.array_equal(again.frame_times_s, first.frame_times_s)

    write_video(video, [0, 0.1, 0.2, 0.3, 0.4])
    assert ProbeCache(tmp_path / "kept").get(video).n_frames == 5, "known by content, not by name"


@pytest.mark.parametrize("damage", [b"", b"PK", b"something else", b"\xff" * 80, b"\0" * 16, None])
def test_a_damaged_note_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    video = write_video(tmp_path / "clip.mp4", [0, 0.1])
    ProbeCache(tmp_path / "kept").get(video)
    (note,) = (path for path in (tmp_path / "kept").rglob("*") if path.is_file())
    whole = note.read_bytes()
    note.write_bytes(whole[:-8] if damage is None else damage)  # one number less is a file of another shape
    assert ProbeCache(tmp_path / "kept").get(video).n_frames == 2
    assert note.read_bytes() == whole


def test_where_nothing_can_be_kept_videos_are_looked_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = write_video(tmp_path / "clip.mp4", [0, 0.1])
    (tmp_path / "kept").write_text("a file, not a folder")
    probes = ProbeCache(tmp_path / "kept")
    assert [probes.get(video).n_frames for _ in range(2)] == [2, 2]
    assert caplog.text.count("cannot be written") == 1


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("sound", [False, True])
def test_a_file_begins_with_its_first_picture_or_sound(tmp_path: Path, suffix: str, sound: bool) -> None:
    video = write_late(tmp_path / f"late.{suffix}", 8, 50, sound=sound)
    found = [probe(video), *(ProbeCache(tmp_path / "kept").get(video) for _ in range(2))]
    assert [info.frame_times_s[0] for info in found] == pytest.approx([0.32] * 3)
    assert [info.lead_s for info in found] == pytest.approx([0.32 if sound else 0.0] * 3)


def test_a_pipe_is_no_video(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="no file"):
        ProbeCache(tmp_path / "kept").get(tmp_path / "pipe.mp4")


@pytest.mark.slow
def test_a_damaged_video_that_is_turned_is_an_error(tmp_path: Path) -> None:
    """Another library reads these files and raises its own errors."""
    path = write_video(tmp_path / "turned.mp4", np.arange(1500) / 25, turned=90)
    data = bytearray(path.read_bytes())
    start, end = (len(data) * share // 100 for share in (60, 75))
    data[start:end] = bytes(range(256)) * ((end - start) // 256) + bytes((end - start) % 256)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"turned\.mp4"):
        read_frames(path, np.arange(0, 1500, 30))
