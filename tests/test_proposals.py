"""Tracks of objects: three forms of files, faults, and the objects of a clip on its sampled frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.cli import main
from swift_stvg.errors import DataError
from swift_stvg.records import Tube
from swift_stvg.rows.objects import MAX_OBJECTS, ClipObjects, VideoTracks, best_object, object_boxes
from swift_stvg.sources.proposals import Proposals, read_proposals
from swift_stvg.synthetic.clips import SynthConfig, make_scene

BOXES = {1: {0: (10, 20, 60, 90), 2: (12, 20, 62, 90)}, 7: {2: (90, 80, 120, 110)}}
"""Track, frame, x1, y1, x2, y2 of `clip_7`."""
WH = (320, 240)


def by_video(folder: Path) -> Path:
    tracks = {str(n): {str(f): box for f, box in boxes.items()} for n, boxes in BOXES.items()}
    return written(folder / "tracks.json", {"clip_7.mp4": {"size_wh": WH, "tracks": tracks}})


def coco(folder: Path) -> Path:
    images = [{"id": 100 + f, "video_id": 5, "frame_id": f, "file_name": f"{f}.jpg"} for f in range(3)]
    annotations = [
        {"id": 10 * n + f, "image_id": 100 + f, "category_id": 1, "instance_id": n, "bbox": [x, y, right - x, low - y]}
        for n, boxes in BOXES.items()
        for f, (x, y, right, low) in boxes.items()
    ]
    videos = [{"id": 5, "name": "clip_7", "width": WH[0], "height": WH[1]}]
    return written(folder / "coco.json", {"videos": videos, "images": images, "annotations": annotations})


def mot(folder: Path) -> Path:
    lines = [
        f"{f + 1},{n},{x},{y},{right - x},{low - y},0.9,-1,-1,-1\n"
        for n, boxes in BOXES.items()
        for f, (x, y, right, low) in boxes.items()
    ]
    (folder / "mot").mkdir()
    (folder / "mot/clip_7.txt").write_text("".join(lines) + "1,9,0,0,5,5,0,-1,-1,-1\n")  # confidence 0: not an object
    return folder / "mot"


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("write", [by_video, coco, mot])
def test_every_form_says_the_same(write: Callable[[Path], Path], tmp_path: Path) -> None:
    found = read_proposals(write(tmp_path))
    assert not found.faults
    tracks = found.of(Path("/data/videos/clip_7.mp4"))
    assert tracks is not None
    assert tracks.size_wh == (None if write is mot else WH)
    assert {
        n: dict(zip(tube.frames.tolist(), map(tuple, tube.boxes_xyxy.tolist()), strict=True))
        for n, tube in tracks.tracks.items()
    } == BOXES


def test_a_video_is_found_by_as_much_of_its_path_as_is_given(tmp_path: Path) -> None:
    names = {"a/clip.mp4": 1, "b/clip.mkv": 2, "other": 3, "frames.of/it": 4, "/data/whole/path.mp4": 5}
    entries = {name: {"tracks": {str(n): {"0": [0, 0, 5, 5]}}} for name, n in names.items()}
    proposals = read_proposals(written(tmp_path / "t.json", entries))

    def track_of(video: str) -> int | None:
        found = proposals.of(Path(video))
        return None if found is None else next(iter(found.tracks))

    assert track_of("/data/a/clip.mp4") == 1
    assert track_of("/data/b/clip.webm") == 2
    assert track_of("/data/c/clip.mp4") is None, "not told apart by its name alone"
    assert track_of("/data/deep/other.mp4") == 3
    assert track_of("/data/frames.of/it") == 4, "a folder of pictures"
    assert track_of("/data/whole/path.mp4") == 5


FAULTS: dict[str, tuple[Any, str]] = {
    "a box of three numbers": ({"0": [1, 2, 3]}, "broken track: track 1 of clip: "),
    "not a number": ({"0": [1, 2, 3, "x"]}, "broken track: track 1 of clip: could not convert"),
    "NaN": ({"0": [1, 2, 3, float("nan")]}, "broken track: track 1 of clip: a box is not in pixels"),
    "half a frame": ({"0.5": [1, 2, 3, 4]}, "broken track: track 1 of clip: invalid literal"),
    "a frame before the first": ({"-1": [1, 2, 3, 4]}, "broken track: track 1 of clip: frames must be numbers from 0"),
    "two boxes on a frame": ({"3": [1, 2, 3, 4], "03": [1, 2, 3, 5]}, "broken track: track 1 of clip: frame 3 has two"),
    "no box": ({}, "track without a box: track 1 of clip"),
    "boxes without area": ({"0": [5, 5, 5, 9], "1": [9, 9, 3, 3]}, "track without a box: track 1 of clip"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_broken_track_is_reported_and_the_others_are_kept(case: str, tmp_path: Path) -> None:
    boxes, message = FAULTS[case]
    entry = {"tracks": {"1": boxes, "2": {"0": [0, 0, 9, 9]}}}
    found = read_proposals(written(tmp_path / "t.json", {"clip": entry}))
    assert [": ".join(fault)[: len(message)] for fault in found.faults] == [message]
    tracks = found.of(Path("clip.mp4"))
    assert tracks is not None
    assert list(tracks.tracks) == [2]


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/clip.txt").write_text("1,1,0,0,5,5,1\n1,1,0,0,wide,5\n")
    (tmp_path / "cut.json").write_text('{"clip": {"tra')
    cases = {
        tmp_path / "none.json": "no such file or folder",
        tmp_path / "empty": "has no .txt file",
        tmp_path / "bad": "line 2 of .*clip.txt is not frame, track",
        tmp_path / "cut.json": "cannot be read as JSON",
        written(tmp_path / "list.json", [1]): "must hold an object",
        written(tmp_path / "tube.json", {"id": {"span_frames": [0, 1], "boxes": {}}}): "neither .* nor COCO-VID",
        written(
            tmp_path / "twice.json", {"a.mp4": {"tracks": {}}, "a.mkv": {"tracks": {}}}
        ): "two videos are called 'a'",
        written(tmp_path / "no_track.json", COCO_WITHOUT_TRACK): "no instance_id and no track_id",
    }
    for path, message in cases.items():
        with pytest.raises(DataError, match=message):
            read_proposals(path)


def test_no_entry_is_lost_because_its_key_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    box = '{"0": [0, 0, 5, 5]}'
    for text, message in (
        (
            f'{{"a": {{"tracks": {{"1": {box}}}}}, "a": {{"tracks": {{"2": {box}}}}}}}',
            "t.json: the key 'a' is repeated",
        ),
        (f'{{"a": {{"tracks": {{"1": {box}, "1": {box}}}}}}}', "tracks of a: the key '1' is repeated"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_proposals(path)
    path.write_text('{"a": {"tracks": {"1": {"0": [0, 0, 5, 5], "0": [1, 1, 5, 5]}}}}')
    assert read_proposals(path).faults == [("broken track", "track 1 of a: frame 0 has two boxes")]


COCO_WITHOUT_TRACK = {
    "videos": [{"id": 1, "name": "a"}],
    "images": [{"id": 1, "video_id": 1, "frame_id": 0}],
    "annotations": [{"id": 1, "image_id": 1, "bbox": [0, 0, 5, 5]}],
}


def tube(boxes: dict[int, tuple[float, float, float, float]]) -> Tube:
    frames = np.array(sorted(boxes))
    return Tube((int(frames[0]), int(frames[-1])), frames, np.array([boxes[f] for f in frames.tolist()], dtype=float))


def objects_of(tubes: list[Tube], frames: list[int], n_frames: int = 100, fps: float = 10.0) -> ClipObjects:
    times_s = np.arange(n_frames) / fps
    return ClipObjects.of(VideoTracks(dict(enumerate(tubes))), np.array(frames), times_s, (100, 100))


def test_objects_are_numbered_by_when_and_where_they_appear() -> None:
    late = tube({20: (0, 0, 10, 10)})
    right = tube({0: (50, 0, 60, 10)})
    left = tube({0: (5, 0, 15, 10)})
    elsewhere = tube({3: (0, 0, 10, 10)})  # not on a sampled frame
    found = objects_of([late, right, elsewhere, left], [0, 10, 20])
    assert list(found.tubes) == [left, right, late]


def test_a_short_gap_is_interpolated_and_a_long_one_is_not() -> None:
    moving = tube({0: (0, 0, 10, 10), 10: (20, 0, 30, 10), 30: (20, 0, 30, 10)})
    (boxes,) = objects_of([moving], [0, 5, 10, 20, 30, 40]).lists(np.array([0, 5, 10, 20, 30, 40]), (1000, 1000))
    assert boxes.index.tolist() == [0, 1, 2, 4], "1 s is bridged; 2 s are not, nor is what follows the last box"
    assert boxes.boxes_xyxy[1].tolist() == [100.0, 0.0, 200.0, 100.0]


def test_frames_after_the_end_of_the_video_are_left_out() -> None:
    beyond = tube({0: (0, 0, 10, 10), 500: (0, 0, 10, 10)})
    (boxes,) = objects_of([beyond], [0, 90]).lists(np.array([0, 90]), (100, 100))
    assert boxes.index.tolist() == [0]


def test_the_objects_on_most_frames_get_the_numbers() -> None:
    often = [tube({0: (k, 0, k + 5, 5), 10: (k, 0, k + 5, 5)}) for k in range(MAX_OBJECTS)]
    found = objects_of([tube({0: (99, 0, 100, 1)}), *often], [0, 10])
    assert list(found.tubes) == often


def test_boxes_of_another_resolution_are_scaled() -> None:
    times_s, frames = np.arange(10) / 10, np.array([0])
    tracks = VideoTracks({1: tube({0: (0, 0, 320, 120)})}, (640, 240))
    found = ClipObjects.of(tracks, frames, times_s, (320, 240))
    assert found.marks(frames, (100, 100)) == ((0, 1, 0, 0, 50, 50),)


def test_the_best_object_is_that_with_the_best_mean_iou() -> None:
    found = objects_of([tube({0: (0, 0, 10, 10), 10: (0, 0, 10, 10)}), tube({0: (40, 0, 60, 20)})], [0, 10])
    lists = found.lists(np.array([0, 10]), (100, 100))
    truth = np.array([[0, 0, 10, 10], [0, 0, 10, 20]], dtype=float)
    assert best_object(lists, np.array([0, 1]), truth) == (1, 0.75)
    assert best_object((), np.array([0, 1]), truth) == (0, 0.0)
    assert object_boxes(lists, 3, np.array([0])) is None
    nearest = object_boxes(lists, 2, np.array([0, 1]))
    assert nearest is not None
    assert nearest.boxes_xyxy.tolist() == [[40, 0, 60, 20]] * 2, "the nearest box stands in where there is none"


@pytest.mark.slow
def test_synthetic_tracks_hold_all_things(tmp_path: Path) -> None:
    words = ["synth", str(tmp_path / "stvg_synthetic"), "--split", "train=6", "--fps", "5"]
    tracks = tmp_path / "tracks.json"
    assert main([*words, "--tracks", str(tracks)]) == 0
    config = SynthConfig(fps=5)
    exact = read_proposals(tracks)
    for number in range(6):
        found = exact.of(Path(f"train_{number:06d}.mp4"))
        things = [thing for thing in make_scene(config, "train", number).things if thing.visible.any()]
        assert found is not None
        assert len(found.tracks) == len(things)
        for thing in things:
            frames = np.flatnonzero(thing.visible)
            same = [
                np.abs(tube.boxes_xyxy - thing.boxes_xyxy[frames]).max() < 0.051
                for tube in found.tracks.values()
                if np.array_equal(tube.frames, frames)
            ]
            assert any(same)
    assert main([*words, "--tracks", str(tmp_path / "half.json"), "--track_missing", "0.5"]) == 0
    assert 0 < number_of_tracks(read_proposals(tmp_path / "half.json")) < number_of_tracks(exact)
    assert main([*words, "--tracks", str(tmp_path / "noisy.json"), "--track_noise", "0.2"]) == 0
    noisy, true = (read_proposals(tmp_path / f"{n}.json").of(Path("train_000000")) for n in ("noisy", "tracks"))
    assert noisy is not None
    assert true is not None
    shifts = [np.abs(noisy.tracks[k].boxes_xyxy[:5] - true.tracks[k].boxes_xyxy[:5]).max() for k in noisy.tracks]
    assert max(shifts) > 0.5


def number_of_tracks(proposals: Proposals) -> int:
    return sum(len(video.tracks) for video in proposals.videos.values())


def test_impossible_errors_of_synthetic_tracks_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["synth", str(tmp_path / "s"), "--split", "train=1", "--tracks", str(tmp_path / "t.json")]
    assert main([*words, "--track_noise", "-1"]) != 0
    assert "noise and missing must lie in [0, 1]" in capsys.readouterr().err
