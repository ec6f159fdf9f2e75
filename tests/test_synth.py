"""Synthetic clips: sentences are true and unique, and boxes enclose the drawn objects."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import decord
import numpy as np
import pytest

from swift_stvg.errors import DataError
from swift_stvg.sources import LoadReport
from swift_stvg.sources.files import DataRoot
from swift_stvg.sources.jsonl import load_file
from swift_stvg.synthetic import clips as synth
from swift_stvg.synthetic.clips import SHAPES, WORDS, Scene, SynthConfig, Thing, generate, make_scene
from swift_stvg.video.reader import probe, read_frames

SHORT = SynthConfig(duration_s=3.0)


def files(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def seen_deeds(thing: Thing) -> list[str]:
    """The visible motion of a thing in each frame, from positions and sizes alone; "" if it is not visible."""
    exists = np.flatnonzero(thing.deed >= 0)
    deeds = [""] * len(thing.deed)
    for frame in exists:
        after = max(frame, exists[0] + 1)
        dx, dy = thing.centre_xy[after] - thing.centre_xy[after - 1]
        growth = thing.half[after] - thing.half[after - 1]
        if growth:
            deeds[frame] = "grows" if growth > 0 else "shrinks"
        elif dx == dy == 0:
            deeds[frame] = "stands still"
        elif abs(dx) > abs(dy):
            deeds[frame] = "moves left" if dx < 0 else "moves right"
        else:
            deeds[frame] = "moves up" if dy < 0 else "moves down"
    return [deed if visible else "" for deed, visible in zip(deeds, thing.visible, strict=True)]


def true_frames(text: str, scene: Scene, side: int) -> list[tuple[int, list[int]]]:
    """Things for which the sentence is true, with the frames."""
    words = text[:-1].split()
    found = []
    for k, thing in enumerate(scene.things):
        sizes = {"small" if half < 0.125 * side else "large" for half in thing.half}
        changes = len(set(thing.half)) > 1
        fits = all(
            (word not in SHAPES or word == thing.shape)
            and (word not in synth.RGB or word == thing.colour)
            and (word not in synth.HALF or changes or word in sizes)
            for word in words
        )
        deeds = seen_deeds(thing)
        frames = [t for t, deed in enumerate(deeds) if deed and (words[-1] == "visible" or text[:-1].endswith(deed))]
        if fits and frames:
            found.append((k, frames))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", ["easy", "normal", "hard"])
def test_sentences_are_true_of_one_thing_at_one_time(difficulty: str) -> None:
    config = SynthConfig(difficulty=difficulty)
    queries, used, shortest, longest = set(), set(), config.n_frames, 0
    for number in range(250):
        scene = make_scene(config, "train", number)
        assert config.level.objects[0] <= len(scene.things) <= config.level.objects[1]
        for sentence in scene.sentences:
            first, end = sentence.span_frames
            assert true_frames(sentence.text, scene, 56) == [(sentence.thing, list(range(first, end)))], sentence
            assert sentence.text[-1] == {"declarative": ".", "interrogative": "?"}[sentence.query]
            queries.add(sentence.query)
            used.update(sentence.text[:-1].split())
            shortest, longest = min(shortest, end - first), max(longest, end - first)
    assert queries == {"declarative", "interrogative"}
    assert used <= set(WORDS)
    assert difficulty == "easy" or used == set(WORDS)
    assert config.min_frames <= shortest <= config.min_frames + 5
    assert 30 < longest <= 40 if config.level.calm else longest > 60


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", ["easy", "normal"])
def test_backgrounds_and_sides_are_those_asked_for(difficulty: str) -> None:
    config = SynthConfig(difficulty=difficulty, background=(60, 90), sides=(0.2, 0.5))
    halves: dict[str, set[float]] = {"small": set(), "large": set()}
    for number in range(100):
        scene = make_scene(config, "train", number)
        gray = scene.background.reshape(-1, 3)
        assert (gray == gray[:, :1]).all()
        assert 60 - 9 <= gray.min() <= gray.max() <= 90 + 9, "waves are at most 9 strong"
        for thing in scene.things:
            if thing.size != "changing":
                halves[thing.size].add(float(thing.half[0]) / 56)
    assert 0.1 <= min(halves["small"]) < 0.11
    assert 0.14 < max(halves["small"]) <= 0.15
    assert 0.2 <= min(halves["large"]) < 0.21
    assert 0.24 < max(halves["large"]) <= 0.25


@pytest.mark.slow
def test_the_sentence_is_needed() -> None:
    scenes = [make_scene(SynthConfig(), "train", number) for number in range(200)]
    asked = [(scene, scene.things[scene.sentences[0].thing]) for scene in scenes]
    shares = [
        [(thing.colour == other.colour, thing.shape == other.shape) for other in scene.things if other is not thing]
        for scene, thing in asked
    ]
    for rival in ((True, False), (False, True), (True, True)):
        assert sum(rival in pairs for pairs in shares) > 20, rival
    assert sum(scene.bar_x is not None for scene in scenes) > 30


def test_several_sentences_tell_of_different_events() -> None:
    config = SynthConfig(sentences_per_clip=3)
    for number in range(30):
        scene = make_scene(config, "train", number)
        assert len({(sentence.thing, sentence.deed) for sentence in scene.sentences}) == 3
        assert len({sentence.text for sentence in scene.sentences}) == 3


def test_too_many_sentences_is_an_error() -> None:
    with pytest.raises(DataError, match="lower `sentences_per_clip`"):
        make_scene(SynthConfig(difficulty="easy", sentences_per_clip=5), "train", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"difficulty": "mild"}, "`difficulty`.*easy, normal, hard, got 'mild'"),
        ({"size_wh": (57, 56)}, "`size_wh`"),  # yuv420p needs even sides
        ({"size_wh": (16, 56)}, "`size_wh`"),
        ({"duration_s": float("nan")}, "`duration_s`"),
        ({"duration_s": 1.0}, "`min_event_s`.*half of `duration_s`"),  # no room for an event and its surroundings
        ({"fps": 0}, "`fps`"),
        ({"fps": 1}, "`min_event_s`.*two frames"),
        ({"objects": (3, 2)}, "`objects`"),
        ({"objects": (0, 2)}, "`objects`"),
        ({"distractor": 1.5}, "`distractor`"),
        ({"occlusion": -0.1}, "`occlusion`"),
        ({"question": 2.0}, "`question`"),
        ({"sentences_per_clip": 0}, "`sentences_per_clip`"),
        ({"background": (190, 50)}, "`background`.*darkest"),
        ({"background": (0, 256)}, "`background`"),
        ({"sides": (0.5, 0.2)}, "`sides`.*smallest"),
        ({"sides": (0.05, 0.2)}, "`sides`"),  # too few pixels to tell shapes apart
        ({"sides": (0.2, 0.7)}, "`sides`"),  # no room left to move
    ],
)
def test_impossible_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SynthConfig(**change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"splits": {"../train": 1}}, "split's name"),
        ({"splits": {"": 1}}, "split's name"),
        ({"splits": {"train": 0}}, "at least one clip"),
        ({"splits": {"train": 1}, "label_scale": {"train": (0.0, 1.0)}}, "`label_scale` must be rising and lie"),
        ({"splits": {"train": 1}, "label_scale": {"train": (0.9, 0.5)}}, "`label_scale` must be rising and lie"),
        ({"splits": {"train": 1}, "label_scale": {"tarin": (0.7, 0.7)}}, "not made: tarin"),
        ({"splits": {"train": 1}, "workers": 0}, "`workers`"),
    ],
)
def test_impossible_arguments(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        generate(tmp_path / "out", config=SHORT, **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("size_wh", [(56, 56), (320, 240)])
def test_boxes_enclose_what_was_drawn(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    config = SynthConfig(size_wh=size_wh, difficulty="easy", objects=(1, 1), duration_s=4.0)
    generate(tmp_path, {"train": 15}, config, workers=1)
    checked = 0
    for number in range(15):
        scene = make_scene(config, "train", number)
        (thing,) = scene.things
        pixels = read_frames(tmp_path / "videos" / f"train_{number:06d}.mp4", np.arange(40)).astype(float)
        contrast = np.abs(np.array(thing.rgb) - scene.background.mean(axis=(0, 1)))
        channel = int(contrast.argmax())
        drawn = np.abs(pixels - scene.background)[..., channel] > 0.4 * contrast[channel]  # (T, H, W)
        for frame in range(40):
            box = thing.boxes_xyxy[frame]
            y, x = np.nonzero(drawn[frame])
            if not thing.visible[frame]:
                assert len(x) <= (0 if thing.deed[frame] < 0 else max(size_wh)), "nothing, or less than a pixel inside"
            elif np.allclose(box[2:] - box[:2], 2 * thing.half[frame]):
                # H.264 keeps colour at half the resolution, and against gray little else tells a thing from its
                # surroundings; the sharp corners of a triangle fade
                blur = 2.5 if thing.shape == "triangle" else 2.0
                np.testing.assert_allclose([x.min(), y.min(), x.max() + 1, y.max() + 1], box, atol=blur)
                checked += 1
            else:  # partly outside the frame: the box of the whole is cut, what is left of a shape may be narrower
                assert ([x + 1.5, y + 1.5] >= box[:2, None]).all()
                assert ([x - 0.5, y - 0.5] <= box[2:, None]).all()
    assert checked > 200


def test_bar_hides_a_part_and_boxes_are_amodal(tmp_path: Path) -> None:
    config = SynthConfig(objects=(1, 1), occlusion=1.0, duration_s=4.0)
    generate(tmp_path, {"train": 4}, config, workers=1)
    for number, row in enumerate(rows(tmp_path / "train.jsonl")):
        scene = make_scene(config, "train", number)
        assert scene.bar_x is not None
        thing, frame = scene.things[0], sum(row["span_frames"]) // 2
        at_x, at_y = np.clip(thing.centre_xy[frame], 0, 55).astype(int)
        pixels = read_frames(tmp_path / row["video"], np.array([frame]))[0].astype(int)
        assert np.abs(pixels[at_y, at_x] - 128).max() < 25  # gray, not the thing's colour
        box = {cell[0]: cell[1:] for cell in row["tube"]}[frame]
        np.testing.assert_allclose(box, thing.boxes_xyxy[frame], atol=0.01)
        assert scene.bar_width < 2 * thing.half.min()


@pytest.mark.slow
def test_files_hold_what_the_rows_say(tmp_path: Path) -> None:
    config = SynthConfig(size_wh=(320, 240), duration_s=5.0, fps=25, sentences_per_clip=2)
    generate(tmp_path, {"val": 3}, config, workers=1)
    for row in rows(tmp_path / "val.jsonl"):
        info = probe(tmp_path / row["video"])
        assert (info.n_frames, info.size_wh) == (row["n_frames"], tuple(row["size_wh"])) == (125, (320, 240))
        np.testing.assert_allclose(info.frame_times_s, np.arange(125) / 25, atol=1e-3)
        assert decord.VideoReader(str(tmp_path / row["video"])).get_avg_fps() == pytest.approx(row["fps"])
        assert [cell[0] for cell in row["tube"]] == list(range(*row["span_frames"]))
    report = LoadReport("stvg_synthetic:val", strict=True)
    samples = load_file(DataRoot(tmp_path), tmp_path / "val.jsonl", "stvg_synthetic", "val", report)
    assert [sample.id for sample in samples] == [f"val_{number:06d}/{k}" for number in range(3) for k in range(2)]
    assert all(len(sample.tube_frames) == sample.span_frames[1] - sample.span_frames[0] for sample in samples)
    assert report.n_dropped == 0


@pytest.mark.slow
def test_same_result_whatever_the_workers_the_splits_and_their_sizes(tmp_path: Path) -> None:
    generate(tmp_path / "one", {"train": 20, "val": 4}, SHORT, workers=1)
    generate(tmp_path / "two", {"val": 4}, SHORT, workers=1)
    generate(tmp_path / "two", {"train": 20}, SHORT, workers=2)  # added to what is there
    assert files(tmp_path / "one") == files(tmp_path / "two")
    generate(tmp_path / "three", {"train": 2}, SHORT, workers=1)
    assert rows(tmp_path / "three" / "train.jsonl") == rows(tmp_path / "one" / "train.jsonl")[:2]


@pytest.mark.slow
def test_no_two_clips_are_the_same(tmp_path: Path) -> None:
    generate(tmp_path / "a", {"train": 6, "val": 6}, SHORT, workers=1)
    generate(tmp_path / "b", {"train": 6}, SynthConfig(seed=1, duration_s=3.0), workers=1)
    videos = [digest for part in ("a", "b") for digest in files(tmp_path / part / "videos").values()]
    assert len(set(videos)) == 18


@pytest.mark.slow
def test_an_interrupted_call_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(tmp_path / "whole", {"train": 6}, SHORT, workers=1)
    put, calls = synth.write_bytes_atomic, []

    def killed_in_the_fourth(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) == 4:
            left = path.with_name(f".{'0' * 32}.part")
            left.write_bytes(data[:100])
            os.utime(left, (0, 0))  # long ago
            raise KeyboardInterrupt
        put(path, data)

    monkeypatch.setattr(synth, "write_bytes_atomic", killed_in_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "cut", {"train": 6}, SHORT, workers=1)
    assert not (tmp_path / "cut" / "train.jsonl").exists()
    generate(tmp_path / "cut", {"train": 6}, SHORT, workers=1)
    assert len(calls) == 7  # three before, the broken one again, two after
    assert files(tmp_path / "cut") == files(tmp_path / "whole")

    (tmp_path / "cut" / "videos" / "train_000002.mp4").unlink()
    generate(tmp_path / "cut", {"train": 6}, SHORT, workers=1)
    assert len(calls) == 8
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_other_settings_need_another_folder(tmp_path: Path) -> None:
    generate(tmp_path / "out", {"train": 1}, SHORT, workers=1)
    before = files(tmp_path / "out")
    with pytest.raises(DataError, match=r"other settings: seed 0 there, 3 asked for; choose another folder or delete"):
        generate(tmp_path / "out", {"train": 1}, SynthConfig(seed=3, duration_s=3.0), workers=1)
    with pytest.raises(DataError, match=r"`label_scale` \(1\.0, 1\.0\), asked for \(0\.7, 0\.7\)"):
        generate(tmp_path / "out", {"train": 1}, SHORT, workers=1, label_scale={"train": (0.7, 0.7)})
    generate(tmp_path / "out", {"train": 1}, SynthConfig(duration_s=3.0, objects=(2, 4)), workers=1)  # as the default
    assert files(tmp_path / "out") == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("precious")
    with pytest.raises(DataError, match=r"no synth\.json"):
        generate(tmp_path, {"train": 1}, SHORT, workers=1)
    with pytest.raises(DataError, match=r"train\.jsonl cannot be used as a folder: Not a directory"):
        generate(tmp_path / "train.jsonl", {"train": 1}, SHORT, workers=1)
    (tmp_path / "synth.json").write_text("{")
    with pytest.raises(DataError, match="cannot be used"):
        generate(tmp_path, {"train": 1}, SHORT, workers=1)
    assert (tmp_path / "train.jsonl").read_text() == "precious"


@pytest.mark.parametrize("scale", [0.7, 1.3])
def test_label_scale(tmp_path: Path, scale: float) -> None:
    generate(tmp_path / "exact", {"train": 4, "val": 2}, SHORT, workers=1)
    generate(tmp_path / "biased", {"train": 4, "val": 2}, SHORT, workers=1, label_scale={"train": (scale, scale)})
    exact, biased = files(tmp_path / "exact"), files(tmp_path / "biased")
    assert {name for name in exact if exact[name] != biased[name]} == {"train.jsonl", "synth.json"}
    for row, other in zip(*(rows(tmp_path / part / "train.jsonl") for part in ("exact", "biased")), strict=True):
        boxes, scaled = (np.array(each["tube"])[:, 1:] for each in (row, other))
        grow = (scale - 1) / 2 * (boxes[:, 2:] - boxes[:, :2])
        wanted = np.clip(np.hstack([boxes[:, :2] - grow, boxes[:, 2:] + grow]), 0, 56)
        np.testing.assert_allclose(scaled, wanted, atol=0.02)


@pytest.mark.slow
def test_label_scales_differ_between_clips_within_their_range(tmp_path: Path) -> None:
    generate(tmp_path / "exact", {"train": 12}, SHORT, workers=1)
    for name in ("uneven", "again"):
        generate(tmp_path / name, {"train": 12}, SHORT, workers=1, label_scale={"train": (0.5, 0.9)})
    assert files(tmp_path / "uneven") == files(tmp_path / "again")
    factors = []
    for row, other in zip(*(rows(tmp_path / part / "train.jsonl") for part in ("exact", "uneven")), strict=True):
        widths, scaled = (
            boxes[:, 2] - boxes[:, 0] for boxes in (np.array(each["tube"])[:, 1:] for each in (row, other))
        )
        factors.append(np.median(scaled / widths))
    assert 0.49 < min(factors) < 0.6
    assert 0.8 < max(factors) < 0.91


def test_settings_that_are_not_given_are_not_in_the_manifest(tmp_path: Path) -> None:
    """A folder from before a new setting stays valid."""
    generate(tmp_path / "clips", {"a": 1}, SHORT, workers=1)
    config = json.loads((tmp_path / "clips/synth.json").read_text())["config"]
    assert {"background", "sides"}.isdisjoint(config)
    generate(tmp_path / "clips", {"b": 1}, SHORT, workers=1)
