"""Rows and the truth that they carry."""

from __future__ import annotations

import itertools
import json
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift_stvg.answers.format import Answer, AnswerFormat
from swift_stvg.errors import DataError, RowError, VideoError
from swift_stvg.records import Sample, VideoInfo
from swift_stvg.report.drawing import Overlay
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import REWARDS, spatial_reward, temporal_reward
from swift_stvg.rows.making import frame_size, make_prompt_spec, make_row, make_row_truth
from swift_stvg.rows.reply import parse
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.ground_truth import event_s
from swift_stvg.scoring.tubes import answer_tube
from swift_stvg.settings import Settings
from swift_stvg.video.request import VideoRequest
from tests.helpers import row_truth

SIZES = [
    # source, most, multiple, result
    ((640, 360), 336, 28, (336, 196)),
    ((360, 640), 336, 28, (196, 336)),
    ((1280, 720), 336, 32, (320, 192)),
    ((320, 240), 336, 28, (308, 252)),  # not enlarged beyond rounding
    ((56, 56), 56, 56, (56, 56)),
    ((1920, 100), 336, 28, (336, 28)),  # a side is never rounded to nothing
    ((10, 10), 336, 28, (28, 28)),
]


@pytest.mark.parametrize(("source", "most", "multiple", "expected"), SIZES)
def test_frame_size(source: tuple[int, int], most: int, multiple: int, expected: tuple[int, int]) -> None:
    assert frame_size(source, most, multiple) == expected


@given(st.tuples(st.integers(1, 8000), st.integers(1, 8000)), st.integers(32, 2000), st.integers(1, 32))
def test_frame_size_fits(source: tuple[int, int], most: int, multiple: int) -> None:
    size = frame_size(source, most, multiple)
    assert all(side % multiple == 0 and multiple <= side <= most for side in size)


def sample(**changes: Any) -> Sample:
    arguments: dict[str, Any] = {
        "id": "a",
        "dataset": "made",
        "split": "up",
        "sentence": " it moves ",
        "video": Path("a.mp4"),
        "annotated_frames": 100,
        "annotated_fps": 10.0,
        "size_wh": (200, 100),
        "span_frames": (20, 60),
        "tube_frames": np.arange(20, 60),
        "tube_xyxy": np.tile([20.0, 10.0, 80.0, 90.0], (40, 1)),
    }
    return Sample(**(arguments | changes))


VIDEO = VideoInfo(Path("a.mp4"), np.arange(100) / 10, 10.0, (200, 100))


@pytest.mark.parametrize("unit", ["frame", "second"])
@pytest.mark.parametrize("coords", ["pixel", "norm1000"])
@pytest.mark.parametrize("think", [True, False])
def test_the_written_answer_is_exact(unit: str, coords: str, think: bool) -> None:
    row = make_row(sample(), VIDEO, Settings(index_unit=unit, coords=coords, think=think, side_multiple=4))
    made = RowTruth.from_json(row["stvg"])
    assert made.format == AnswerFormat(think, unit, coords)
    assert made.span == ((4, 11) if unit == "frame" else (2, 5))
    assert made.boxes_xyxy[0].tolist() == ([20, 10, 80, 90] if coords == "pixel" else [100, 100, 400, 900])
    batch = Batch([row["messages"][-1]["content"]], [made])
    assert batch.valid == [True]
    assert temporal_reward(batch)[0] == 1
    assert spatial_reward(batch)[0] == (2 if think else 1)


def test_the_prompt() -> None:
    row = make_row(sample(), VIDEO, Settings())
    system, user, assistant = row["messages"]
    assert system == {"role": "system", "content": AnswerFormat().instruction()}
    assert user["content"] == "<video>(frames 0 - 19, 2 per second, 196 x 112 pixels)\nit moves"
    assert assistant["role"] == "assistant"
    row = make_row(sample(), VIDEO, Settings(system_prompt=False, query_first=True, index_unit="second"))
    assert row["messages"][0]["content"] == "it moves\n<video>(seconds 0 - 9, 196 x 112 pixels)"


def test_the_template_is_told_what_to_decode_and_nothing_of_the_truth() -> None:
    row = make_row(sample(clip_frames=(10, 70)), VIDEO, Settings())
    told = row["chat_template_kwargs"]["stvg_video"]
    request = VideoRequest.from_json(told)
    assert request.frames == tuple(range(10, 70, 5))
    assert (request.size_wh, request.fps, request.coords) == ((196, 112), 2.0, "pixel")
    assert request.times_s == tuple(k / 2 for k in range(12))
    assert set(json.loads(told)) == {"frames", "size_wh", "fps", "coords", "times_s"}


def test_a_missing_tail_is_not_stretched() -> None:
    """A file that ends a little early at the same rate keeps its frame numbers; one that ends early is refused."""
    short = VideoInfo(Path("a.mp4"), np.arange(99) / 10, 9.9, (200, 100))
    made = RowTruth.from_json(make_row(sample(), short, Settings(fps=10.0))["stvg"])
    assert made.span == (20, 59)
    with pytest.raises(VideoError, match="differ in length"):
        make_row(sample(), VideoInfo(Path("a.mp4"), np.arange(95) / 10, 9.5, (200, 100)), Settings())


def test_an_event_in_a_missing_tail_is_refused() -> None:
    short = VideoInfo(Path("a.mp4"), np.arange(98) / 10, 9.8, (200, 100))
    last = sample(span_frames=(98, 100), tube_frames=np.array([98]), tube_xyxy=np.array([[1.0, 2, 50, 60]]))
    with pytest.raises(VideoError, match=r"event outside the video: event \(98, 100\), frames 0 to 97 decoded"):
        make_row(last, short, Settings())


def test_tiny_objects_keep_an_area() -> None:
    tube = np.tile([199.2, 99.9, 200.0, 100.0], (40, 1))
    made = RowTruth.from_json(make_row(sample(tube_xyxy=tube), VIDEO, Settings())["stvg"])
    assert made.boxes_xyxy[0].tolist() == [195, 111, 196, 112]


def test_seconds_are_judged_by_their_own_time() -> None:
    """With one sample every 5 s, an event from 2.0 to 6.0 s is seconds 2 to 5; the samples do not matter."""
    made = RowTruth.from_json(make_row(sample(), VIDEO, Settings(index_unit="second", max_frames=2))["stvg"])
    assert made.timeline.frames.tolist() == [0, 50]
    assert made.span == (2, 5)


def test_an_event_between_two_samples_keeps_its_box() -> None:
    tube = np.array([[1.0, 2, 50, 60]])
    short = sample(span_frames=(21, 24), tube_frames=np.array([23]), tube_xyxy=tube)
    made = RowTruth.from_json(make_row(short, VIDEO, Settings())["stvg"])
    assert made.span == (4, 4)
    assert made.index.tolist() == [4]


def test_rows_of_long_videos_take_memory_for_what_they_hold() -> None:
    """Three hours with a box in every frame, and an index for each second: 10,800 indices and 270,000 boxes."""
    n = 3 * 3600 * 25
    tube = np.tile([1.0, 2, 50, 60], (n, 1))
    long = sample(annotated_frames=n, annotated_fps=25.0, span_frames=(0, n), tube_frames=np.arange(n), tube_xyxy=tube)
    tracemalloc.start()
    made = make_row_truth(long, VideoInfo.nominal(long), Settings(index_unit="second"))
    assert made.answer.pred is not None
    assert made.span == (0, 3 * 3600 - 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * tube.nbytes / 8, "a table of every index by every box would take 23 GB"


def test_row_truth_round_trip() -> None:
    original = row_truth(gaps=(3,), floor=-1.0)
    again = RowTruth.from_json(original.to_json())
    assert again.to_json() == original.to_json()
    assert again.index.tolist() == [2, 4, 5]
    assert again.settings == original.settings


ENDS = [
    # frames of the clip, when each index is, when the clip ends
    (None, {"index_unit": "frame"}, 21, 10.1),
    (None, {"index_unit": "second"}, 11, 10.1),
    ((30, 72), {"index_unit": "frame"}, 9, 4.2),
    ((30, 72), {"index_unit": "second"}, 5, 4.2),
    ((30, 101), {"max_frames": 3}, 3, 7.1),
    ((100, 101), {}, 1, 0.1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("clip", "settings", "size", "end_s"), ENDS)
@pytest.mark.parametrize("start_s", [0.0, 1 / 3])
def test_a_row_a_question_and_the_scorer_mean_the_same_by_a_span(
    clip: tuple[int, int] | None, settings: dict[str, Any], size: int, end_s: float, start_s: float
) -> None:
    """A clip of 10.1 s at 2 samples a second, with a short last interval: equal to the bit for every span."""
    times_s = start_s + np.arange(101) / 10
    video = VideoInfo(Path("a.mp4"), times_s, start_s + 10.1, (200, 100))
    low, high = clip or (0, 101)
    event = {"span_frames": (low, high), "tube_frames": np.arange(low, high), "clip_frames": clip}
    asked = sample(annotated_frames=101, tube_xyxy=np.tile([20.0, 10.0, 80.0, 90.0], (high - low, 1)), **event)
    spec = make_prompt_spec(video, Settings(**settings), clip)
    row = RowTruth.from_json(make_row(asked, video, Settings(**settings))["stvg"])
    assert (row.timeline.size, row.timeline.end_s) == (size, end_s)
    for first, last in itertools.combinations_with_replacement(range(size), 2):
        text = row.format.render(replace(row.answer, span=(first, last)))
        by_spec, by_row = parse(text, spec), parse(text, row)
        assert by_row.file_span_s == by_spec.file_span_s
        begin_s, stop_s = row.timeline.clip_span_s((first, last))
        overlay = Overlay.of(row, "it moves", text)
        assert overlay.duration_s == row.timeline.end_s
        assert [track.span_s for track in overlay.tracks[1:]] == [(begin_s, stop_s)] * 2
        from_start = times_s[low:high] - times_s[low]
        inside = low + np.flatnonzero((from_start > begin_s + 1e-4) | (first == 0))
        inside = inside[from_start[inside - low] <= stop_s + 1e-4]
        tube = answer_tube((first, last), row.answer.pred, row, asked)
        assert tube.span_frames == (inside[0], inside[-1]), (first, last)
    assert (begin_s, stop_s) == (row.timeline.clip_span_s((size - 1, size - 1))[0], end_s)
    assert event_s(row) == end_s, "the length of an event that lasts as long as the clip"


BROKEN = [
    (None, "must hold the text of a row truth, got None"),
    ("", "does not hold a row truth"),
    ("[]", "does not hold a row truth"),
    ('{"v": 3}', "does not hold a row truth"),
    ('{"v": 2}', "has version 2, but this package reads version 3: make the rows again"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_broken_row_truths_are_errors(text: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        RowTruth.from_json(text)


def test_what_does_not_fit_is_refused_with_its_reason() -> None:
    half = VideoInfo(Path("a.mp4"), np.arange(50) / 10, 5.0, (200, 100))
    with pytest.raises(VideoError, match=r"differ in length: 50 frames \(5.00 s\) decoded, 100 \(10.00 s\) annotated"):
        make_row(sample(), half, Settings())
    turned = VideoInfo(Path("a.mp4"), np.arange(100) / 10, 10.0, (100, 200))
    with pytest.raises(VideoError, match="differ in shape"):
        make_row(sample(), turned, Settings())
    with pytest.raises(RowError, match=r"no box on a sampled frame: 1 boxes in frames \[20, 60\)"):
        make_row(sample(tube_frames=np.array([22]), tube_xyxy=np.array([[1.0, 2, 3, 4]])), VIDEO, Settings())


@pytest.mark.parametrize("kind", [RowError, VideoError])
def test_errors_travel_between_processes(kind: type[RowError] | type[VideoError]) -> None:
    again = pickle.loads(pickle.dumps(kind("video missing", "no file a.mp4")))
    assert (type(again), again.reason, str(again)) == (kind, "video missing", "video missing: no file a.mp4")


def test_twice_the_frame_rate_is_the_same_video() -> None:
    faster = VideoInfo(Path("a.mp4"), np.arange(200) / 20, 10.0, (400, 200))
    made = RowTruth.from_json(make_row(sample(), faster, Settings())["stvg"])
    assert made.span == (4, 11)
    assert made.timeline.frames[4] == 40


def target(**settings: Any) -> Answer:
    row = make_row(sample(), VIDEO, Settings(**settings))
    return AnswerFormat(think=settings.get("think", True)).parse(row["messages"][-1]["content"])


def test_think_boxes_of_the_target_can_be_off_the_truth() -> None:
    exact, off = target(), target(think_jitter=0.2)
    assert exact.think == exact.pred
    assert off.pred == exact.pred
    assert off.think is not None
    assert off.think != exact.think
    assert off.think == target(think_jitter=0.2).think, "the same whenever the row is made"
    assert off.think != target(think_jitter=0.2, think_seed=1).think
    assert target(think_jitter=0.2, think=False).think is None
    row = make_row(sample(), VIDEO, Settings(think_jitter=0.2))
    batch = Batch([row["messages"][-1]["content"]], [RowTruth.from_json(row["stvg"])])
    assert REWARDS["stvg_format"](batch)[0] == REWARDS["stvg_consistency"](batch)[0] == 1
    assert 0 < REWARDS["stvg_think"](batch)[0] < 1, "the ground truth stays exact"


@pytest.mark.slow
def test_think_boxes_are_off_by_what_is_asked() -> None:
    """Sides move by the jitter times the side, over many rows; boxes stay in the frame and keep an area."""
    big = {
        "size_wh": (640, 480),
        "tube_frames": np.array([20, 30]),
        "tube_xyxy": np.tile([200.0, 150, 400, 300], (2, 1)),
    }
    moves = []
    for i in range(300):
        row = make_row(
            sample(id=str(i), **big), replace(VIDEO, size_wh=(640, 480)), Settings(think_jitter=0.1, max_side=640)
        )
        answer = AnswerFormat().parse(row["messages"][-1]["content"])
        assert answer.think is not None
        assert answer.pred is not None
        first, *others = (answer.think.boxes_xyxy - answer.pred.boxes_xyxy) / [200, 150, 200, 150]
        assert all(np.allclose(first, other) for other in others), "one draw for the tube"
        moves.append(first)
    assert np.std(moves) == pytest.approx(0.1, rel=0.1)
    wild = target(think_jitter=1.0).think
    assert wild is not None
    assert (wild.boxes_xyxy[:, 2:] > wild.boxes_xyxy[:, :2]).all()
