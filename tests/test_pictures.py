"""Folders, patterns and lists of pictures as videos: the same rows and frames as the film that they were taken from."""

from __future__ import annotations

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from swift_stvg.cli import main
from swift_stvg.errors import VideoError
from swift_stvg.report.drawing import Overlay, play
from swift_stvg.rewards.functions import usual_weights
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.serving.asking import ask
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows
from swift_stvg.video.frame_cache import FrameCache
from swift_stvg.video.frame_loader import FrameLoader
from swift_stvg.video.image_folders import as_path, pictures
from swift_stvg.video.reader import fingerprint, probe, read_frames
from swift_stvg.video.request import VIDEO_KEY, VideoRequest
from tests.videos import picture

COUNT, FPS = 60, 12.5


def write_pictures(folder: Path, count: int = COUNT, name: str = "{:06d}.png", first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(picture(number)).save(folder / name.format(number + first))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lossless film, and its pictures."""
    folder = tmp_path_factory.mktemp("sets")
    with av.open(str(folder / "film.mkv"), "w") as out:
        stream = out.add_stream("libx264rgb", rate=Fraction(25, 2), options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(2, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    write_pictures(folder / "clip")
    return folder


def line(video: Any, name: str = "row", **more: Any) -> str:
    row = {"stvg_schema": 1, "id": name, "video": video, "sentence": "it grows", "n_frames": COUNT, "fps": FPS}
    row |= {"size_wh": [64, 48], "span_frames": [10, 50], "tube": [[k, 1, 1, 30, 40] for k in range(10, 50)]}
    return json.dumps(row | more) + "\n"


def rows_of(root: Path, video: Any, **settings: Any) -> tuple[list[dict[str, Any]], Any]:
    (root / "one.jsonl").write_text(line(video))
    return load_rows("stvg_jsonl", "one.jsonl", Settings(data_root=str(root), cache_dir=None, **settings))


def names(first: int = 0, count: int = COUNT) -> list[str]:
    return [f"clip/{number:06d}.png" for number in range(first, first + count)]


@pytest.mark.parametrize("video", ["clip", "clip/", "clip/%06d.png", "clip/%d.png", names()], ids=str)
def test_the_same_rows_and_frames_as_of_the_film(root: Path, video: Any) -> None:
    (film,), _ = rows_of(root, "film.mkv")
    (made,), report = rows_of(root, video)
    assert {k: v for k, v in made.items() if k != "videos"} == {k: v for k, v in film.items() if k != "videos"}
    assert not report.notes
    requests = [VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY]) for row in (film, made)]
    frames = [FrameLoader(Settings()).load(row["videos"][0], requests[0]) for row in (film, made)]
    assert torch.equal(*frames)
    assert usual_weights([RowTruth.from_json(made["stvg"])])


def test_frames_are_read_as_they_are_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda path, *rest: (opened.append(path.name), real(path, *rest))[1])
    frames = read_frames(root / "clip", np.array([3, 17, 59]))
    assert [int((frame[30, :, 1] > 128).sum()) for frame in frames] == [6, 34, 2 * 59 % 64]
    assert opened == ["000003.png", "000017.png", "000059.png"]
    with pytest.raises(VideoError, match="video shorter than expected: frame 60 of 60"):
        read_frames(root / "clip", np.array([60]))


def test_a_picture_that_became_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_pictures(tmp_path / "clip", 6)
    Image.new("RGB", (32, 48)).save(folder / "000004.png")
    monkeypatch.setattr("swift_stvg.video.reader._AT_ONCE", 2)
    with pytest.raises(VideoError, match=r"different sizes: .* has pictures of \(48, 64, 3\) and of \(48, 32, 3\)"):
        read_frames(folder, np.arange(6))


def broken(folder: Path) -> dict[str, tuple[Path, str]]:
    """Folders that are not a video, each with its message."""
    found: dict[str, tuple[Path, str]] = {}

    def make(what: str, said: str, *args: Any, **kwargs: Any) -> Path:
        found[what] = write_pictures(folder / what, *args, **kwargs), said
        return found[what][0]

    make("empty", "no picture: ", 0)
    (make("no pictures", "no picture: ", 0) / "a.txt").write_text("nothing")
    (make("a gap", "gap between pictures: .*'000004.png' comes after '000002.png'", 6) / "000003.png").unlink()
    write_pictures(
        make("two numberings", "several numberings of pictures: .*'000000.png' and '", 4),
        4,
        "img_{}.png",
    )
    write_pictures(make("two widths", "several numberings", 12, "{}.png"), 3, "{:03d}.png")
    write_pictures(make("two endings", "several numberings", 4), 4, "{:06d}.jpg")
    Image.fromarray(picture(0)).save(make("no number", "pictures without a number: .*'cover.png'", 4) / "cover.png")
    Image.new("RGB", (32, 48)).save(
        make("mixed sizes", r"different sizes: .*000002.png has \(32, 48\)", 4) / "000002.png"
    )
    (make("a broken picture", "picture unreadable: .*000002.png", 4) / "000002.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found["not there"] = folder / "not there", "no file"
    found["a pattern of none"] = folder / "no number/frame_%03d.png", "no picture: "
    found["a pattern nowhere"] = folder / "nowhere/%03d.png", "no folder"
    found["a list of others"] = as_path([folder / "a.mp4"]), "no list of pictures: "
    found["a list of missing ones"] = as_path([folder / "a.png"]), "no file"
    return found


def test_each_fault_is_said(tmp_path: Path) -> None:
    for path, said in broken(tmp_path).values():
        with pytest.raises(VideoError, match=said):
            probe(path)


def test_faults_are_counted(tmp_path: Path) -> None:
    bad = broken(tmp_path)
    write_pictures(tmp_path / "good")
    videos = {what: str(path) for what, (path, _) in bad.items() if not what.startswith("a list")}
    (tmp_path / "all.jsonl").write_text("".join(line(path, what) for what, path in videos.items()) + line("good"))
    rows, report = load_rows("stvg_jsonl", "all.jsonl", Settings(data_root=str(tmp_path), cache_dir=None))
    assert [row["videos"] for row in rows] == [[str(tmp_path / "good")]]
    assert report.n_dropped == len(videos)
    assert {reason: count for reason, (count, _) in report.dropped.items()} == {
        "no picture": 3,
        "gap between pictures": 1,
        "several numberings of pictures": 3,
        "pictures without a number": 1,
        "pictures of different sizes": 1,
        "picture unreadable": 1,
        "video missing": 2,
    }, "each kind of fault has a line of its own"


def test_numberings(tmp_path: Path) -> None:
    """Natural order, any beginning, any step, hidden and foreign files, one picture."""
    for name, kwargs in {"plain": {"name": "{}.png"}, "words": {"name": "f 2 x{}b.JPG", "first": 95}}.items():
        folder = write_pictures(tmp_path / name, 12, **kwargs)
        frames = read_frames(folder, np.arange(12)).astype(int)
        assert np.abs(frames - np.stack([picture(k) for k in range(12)])).mean() < 8
    every_fifth = write_pictures(tmp_path / "every fifth", 26)
    for number in range(26):
        if number % 5:
            (every_fifth / f"{number:06d}.png").unlink()
    (every_fifth / ".DS_Store").touch()
    (every_fifth / "groundtruth.txt").touch()
    (every_fifth / "more").mkdir()
    assert [path.name for path in pictures(every_fifth)] == [f"{k:06d}.png" for k in (0, 5, 10, 15, 20, 25)]
    assert probe(every_fifth).aside == 1
    assert probe(write_pictures(tmp_path / "one", 1, "cover{}.png")).n_frames == 1


def test_files_left_aside_are_noted(tmp_path: Path) -> None:
    (write_pictures(tmp_path / "clip") / "groundtruth.txt").touch()
    _, report = rows_of(tmp_path, "clip")
    assert report.notes == {"rows of folders with files that are not pictures": (1, f"1 in {tmp_path / 'clip'}")}


def test_the_rate_of_a_setting(root: Path) -> None:
    """The setting counts if no annotation gives a rate."""
    spec, _ = ask(root / "clip", "it grows", Settings(folder_fps=30.0, cache_dir=None))
    assert spec.timeline.times_s.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert spec.timeline.frames.tolist() == [0, 15, 30, 45]


@pytest.mark.slow
def test_drawn_as_the_film_is(root: Path) -> None:
    (film,), _ = rows_of(root, "film.mkv")
    overlay = Overlay.of(RowTruth.from_json(film["stvg"]), "it grows")
    (of_film, of_pictures) = (list(play(overlay, root / name)) for name in ("film.mkv", "clip"))
    assert [time_s for time_s, _ in of_pictures] == pytest.approx([time_s for time_s, _ in of_film], abs=1e-3)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(of_film, of_pictures, strict=True))


def test_known_by_content(root: Path, tmp_path: Path) -> None:
    """As for files: a copy has the same digest, an edited or completed set another."""
    before = fingerprint(root / "clip")
    shutil.copytree(root / "clip", tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == before
    cache = FrameCache(tmp_path / "cache")
    assert cache.path(root / "clip", (0, 5), (28, 28)).name == cache.path(tmp_path / "copy", (0, 5), (28, 28)).name
    Image.fromarray(picture(9)).save(tmp_path / "copy/000000.png")
    edited = fingerprint(tmp_path / "copy")
    Image.fromarray(picture(1)).save(tmp_path / "copy/000060.png")
    assert len({before, edited, fingerprint(tmp_path / "copy")}) == 3


def test_in_the_trees_of_hcstvg(tmp_path: Path) -> None:
    entry = {"English": "a man runs", "bbox": [[1, 1, 20, 30]] * 40, "st_frame": 11, "img_num": COUNT}
    entry |= {"img_size": [48, 64], "ed_time": 15, "st_time": 3}
    (tmp_path / "hcstvg_v2/annos").mkdir(parents=True)
    (tmp_path / "hcstvg_v2/annos/train_v2.json").write_text(json.dumps({"1_abc.mp4": entry, "2_x.y.mp4": entry}))
    write_pictures(tmp_path / "hcstvg_v2/v2_video/part1/1_abc")
    write_pictures(tmp_path / "hcstvg_v2/v2_video/2_x.y.mp4")
    rows, report = load_rows("hcstvg_v2", "train", Settings(data_root=str(tmp_path), cache_dir=str(tmp_path / "kept")))
    assert not report.dropped
    assert [Path(row["videos"][0]).name for row in rows] == ["1_abc", "2_x.y.mp4"]
    row_truth = RowTruth.from_json(rows[0]["stvg"])
    assert row_truth.timeline.clip_start_s == 0
    assert row_truth.timeline.times_s[-1] == pytest.approx(20 - 0.5, abs=0.5), "20 s, as annotated"


@pytest.mark.parametrize("video", ["clip", "clip/%06d.png", names(count=4)], ids=["folder", "pattern", "list"])
def test_links_out_of_the_data_root(root: Path, tmp_path: Path, video: Any) -> None:
    shutil.copytree(root / "clip", tmp_path / "clip")
    (tmp_path / "clip/000003.png").unlink()
    os.symlink(root / "clip/000003.png", tmp_path / "clip/000003.png")
    (tmp_path / "one.jsonl").write_text(line(video) + line("../elsewhere", "two") + line(["/etc/a.png"], "three"))
    settings = Settings(data_root=str(tmp_path), cache_dir=None, outside="refuse")
    with pytest.raises(Exception, match="3 x file outside the data root"):
        load_rows("stvg_jsonl", "one.jsonl", settings)
    (tmp_path / "one.jsonl").write_text(line(json.dumps(["/etc/a.png"])))
    with pytest.raises(Exception, match="malformed annotation"):
        load_rows("stvg_jsonl", "one.jsonl", settings)


@pytest.mark.slow
def test_commands(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """check and cache."""
    monkeypatch.setenv("STVG_DATA_ROOT", str(root))
    monkeypatch.setenv("STVG_CACHE_DIR", "off")
    videos = {"folder": "clip", "pattern": "clip/%06d.png", "list": names()}
    (root / "sets.jsonl").write_text("".join(line(video, name) for name, video in videos.items()))
    assert main(["check", "stvg_jsonl:sets.jsonl", "--videos", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["decoded"] == {"clips": 3, "failed": []}
    assert [(kind["kind"], kind["videos"], kind["slow"]) for kind in report["files"]] == [("set of pictures", 3, 0)]
    assert main(["cache", "stvg_jsonl:sets.jsonl", str(tmp_path / "cache")]) == 0
    (row, *_), _ = load_rows("stvg_jsonl", "sets.jsonl", Settings.from_env())
    request = VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY])
    cached = FrameLoader(Settings(frame_cache=str(tmp_path / "cache"))).load(row["videos"][0], request)
    loaded = FrameLoader(Settings()).load(row["videos"][0], request)
    assert np.abs(cached.numpy().astype(int) - loaded.numpy()).mean() < 3
