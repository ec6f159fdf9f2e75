"""Every frame is the one that was asked for: random files against decoding all of them, and what was wrong once."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from swift_stvg.errors import VideoError
from swift_stvg.settings import DECODERS
from swift_stvg.video.decoding import _decode_all, _find_groups, _seek_groups, groups_of, survey
from swift_stvg.video.reader import probe, read_frames
from tests.videos import write_as, write_video

FEW, MANY = 16, 400
"""Random files, and with `--all`."""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[Path, dict]:
    """Random files, with what they are."""
    folder = tmp_path_factory.mktemp("films")
    count = MANY if request.config.getoption("--all") else FEW
    words = [sys.executable, "-m", "tests.films", str(folder), str(count)]
    subprocess.run(words, check=True, cwd=Path(__file__).parent.parent, capture_output=True)
    notes = sorted(folder.glob("*.json"), key=lambda path: int(path.stem))
    plans = {note: json.loads(note.read_text()) for note in notes}
    return {note.with_name(f"{note.stem}.{plan['suffix']}"): plan for note, plan in plans.items()}


def decoded(path: Path) -> list[tuple[int | None, np.ndarray]]:
    """Time stamp and picture of each frame, by decoding from the first one on, beyond packets that cannot be."""
    found = []
    with suppress(av.error.FFmpegError), av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in [*container.demux(stream), None]:
            if packet is None or packet.size:
                with suppress(av.error.FFmpegError):
                    frames = stream.codec_context.decode(packet)  # libavcodec's VP8 may write into them again
                    found += [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in frames]
    return found


def nothing_to_begin_with(path: Path) -> bool:
    """Whether no packet is a key frame. Decoders then invent pictures; H.264's can begin at a recovery point."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.name != "h264" and not any(packet.is_keyframe for packet in container.demux(stream))


def compare(path: Path, rng: np.random.Generator, decoder: str = "pyav") -> dict[str, int]:
    """How many frames were compared, and how many are other ones than decoding all gives for their times."""
    counts = {"frames": 0, "wrong": 0}
    frames = decoded(path)
    if not frames or nothing_to_begin_with(path):
        with pytest.raises(VideoError):
            survey(path)
        return counts
    file, count = survey(path), probe(path).n_frames
    if file.place is None:
        by_number = dict(enumerate(picture for _, picture in frames))
    else:
        ticks = file.packets[file.place, 2].tolist()
        by_tick = dict(frames)
        by_number = {number: by_tick[tick] for number, tick in enumerate(ticks) if tick in by_tick}
    there = np.array(sorted(by_number), dtype=np.int64)
    assert len(there) == count or len(there) < len(file.packets), path
    wanted = [there, there[-1:], there[:: max(1, len(there) // 9)], there[[0, -1]] if len(there) > 1 else there]
    wanted += [np.sort(rng.permutation(there)[: rng.integers(1, 9)]) for _ in range(6)]
    known = np.stack([by_number[number] for number in there]).astype(np.int16)
    for numbers in wanted:
        pictures = read_frames(path, numbers, decoder)
        counts["frames"] += len(numbers)
        for number, picture in zip(numbers.tolist(), pictures, strict=True):
            if decoder == "pyav":
                counts["wrong"] += not np.array_equal(picture, by_number[number])
            else:  # which rounds otherwise
                counts["wrong"] += there[np.abs(known - picture).mean(axis=(1, 2, 3)).argmin()] != number
    return counts


def number_of(picture: np.ndarray) -> int:
    """What the bars of a film's frame count."""
    return sum(int(picture[1:7, 10 * bit + 1 : 10 * bit + 7].mean() > 128) << bit for bit in range(9))


@pytest.mark.slow
def test_random_files_that_nobody_cut(films: dict[Path, dict]) -> None:
    """Their frames are those that were encoded."""
    for path, plan in films.items():
        if plan["change"] is None:
            numbers = np.arange(0, plan["count"], 7)
            assert probe(path).n_frames == plan["count"], plan
            assert [number_of(picture) for picture in read_frames(path, numbers)] == numbers.tolist(), plan


@pytest.mark.slow
def test_random_files_against_decoding_all(films: dict[Path, dict]) -> None:
    rng = np.random.default_rng(0)
    wrong = {str(films[path]): found for path in films if (found := compare(path, rng))["wrong"]}
    assert not wrong


@pytest.mark.slow
def test_decord_where_it_is_said_to_be_right(films: dict[Path, dict]) -> None:
    rng, chosen = np.random.default_rng(0), []
    for path in films:
        with suppress(VideoError):
            chosen += [path] if survey(path).decord_is_exact else []
    assert len(chosen) >= 3
    wrong = {str(films[path]): found for path in chosen if (found := compare(path, rng, "decord"))["wrong"]}
    assert not wrong


NOT_FOR_DECORD = {
    "B-frames, transport stream": ("ts", {"options": {"x264-params": "bframes=3"}}),
    "AVI": ("avi", {"options": {"x264-params": "keyint=12:bframes=0"}}),
    "ASF": ("asf", {}),
    "FLV": ("flv", {}),
    "MPEG-4": ("mp4", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "recovery points": ("mp4", {"options": {"x264-params": "intra-refresh=1:keyint=20"}}),
    "open GOP": ("mp4", {"options": {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=3:scenecut=0"}}),
}
"""It gave other frames of these, or never came back."""


@pytest.mark.parametrize("form", NOT_FOR_DECORD)
def test_files_that_decord_does_not_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    suffix, options = NOT_FOR_DECORD[form]
    path = write_as(tmp_path / f"a.{suffix}", 300, **options)
    monkeypatch.setattr("swift_stvg.video.reader._by_decord", lambda *_: pytest.fail("it is not asked"))
    assert not survey(path).decord_is_exact
    numbers = np.array([0, 13, 150, 299])
    assert np.array_equal(read_frames(path, numbers, "decord"), read_frames(path, numbers))


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_what_decord_does_not_give_comes_from_pyav(tmp_path: Path, turned: int) -> None:
    path = write_video(tmp_path / "turned.mp4", np.arange(30) / 25, turned=turned)
    assert survey(path).decord_is_exact
    frames = [read_frames(path, np.array([2, 15, 29]), decoder).astype(int) for decoder in DECODERS]
    assert np.abs(frames[0] - frames[1]).mean() < 2


WAYS = [_seek_groups, _find_groups, _decode_all]
CLOSED = {"options": {"x264-params": "keyint=20:min-keyint=20:bframes=3:scenecut=0", "crf": "1"}}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "flv"])
def test_every_way_gives_the_same(tmp_path: Path, suffix: str) -> None:
    path = write_as(tmp_path / f"a.{suffix}", 300, **CLOSED)
    file, numbers = survey(path), np.array([3, 130, 131, 250, 299])
    found = [dict(way(path, file, numbers)) for way in (WAYS if file.place is not None else WAYS[2:])]
    for pictures in found:
        assert sorted(pictures) == numbers.tolist()
        assert all(np.array_equal(pictures[number], found[-1][number]) for number in pictures)


def test_what_is_decoded(tmp_path: Path) -> None:
    """Of the groups that hold wanted frames, up to the last of these."""
    file = survey(write_as(tmp_path / "a.mp4", 100, **CLOSED))
    assert file.starts.tolist() == [0, 20, 40, 60, 80]
    assert groups_of(file, np.array([3, 45, 47, 80])) == [(0, [3]), (40, [45, 47]), (80, [80])]
    assert 30 < file.needless.sum() < 80, "B-frames"
    assert not file.needless[file.starts].any()


def test_pictures_shown_before_their_key_frame_need_the_group_before(tmp_path: Path) -> None:
    options = {"x265-params": "open-gop=1:keyint=20:min-keyint=20:bframes=3:scenecut=0:log-level=0", "crf": "4"}
    file = survey(write_as(tmp_path / "a.mp4", 100, (128, 96), codec="libx265", options=options))
    begins = file.place[20], file.place[19]
    assert begins[0] in file.starts
    assert begins[1] > begins[0], "shown before it, stored after it"
    assert groups_of(file, np.array([19])) == [(0, [19])]
    assert groups_of(file, np.array([20])) == [(begins[0], [20])]
    assert groups_of(file, np.array([19, 25])) == [(0, [19, 25])], "as the second begins within what the first needs"


def test_a_file_that_is_another_one_by_now(tmp_path: Path) -> None:
    """Its packets are not those that were surveyed, wherever one looks."""
    path = write_as(tmp_path / "a.mp4", 100, **CLOSED)
    file = survey(path)
    write_as(path, 100, (128, 96), **CLOSED)
    assert [list(way(path, file, np.array([50]))) for way in WAYS[:2]] == [[], []]
    assert read_frames(path, np.array([50])).shape == (1, 96, 128, 3), "surveyed again"


def test_a_file_is_surveyed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_as(tmp_path / "a.mp4", 30)
    read_frames(path, np.array([3]))
    with monkeypatch.context() as patch:
        patch.setattr("swift_stvg.video.decoding._survey", lambda path: pytest.fail("it is known"))
        assert probe(path).n_frames == 30
        read_frames(path, np.array([4, 29]))


def test_frames_in_another_order_are_refused(tmp_path: Path) -> None:
    path = write_as(tmp_path / "a.mp4", 30)
    for frames in ([3, 3], [4, 3]):
        with pytest.raises(ValueError, match="must increase"):
            read_frames(path, np.array(frames))
