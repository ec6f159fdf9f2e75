"""The timeline: the sampled frames, their times, and the meaning of an index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift_stvg.video.timeline import Timeline, annotated_clip, annotated_frames, frames_before


def sample(n_frames: int, fps: float, **options: object) -> Timeline:
    """A timeline of a constant-rate video; by default 2 samples a second, at most 128."""
    times = np.arange(n_frames) / fps
    arguments = {"fps": 2.0, "max_frames": 128} | options
    return Timeline.sample(times, n_frames / fps, **arguments)  # type: ignore[arg-type]


def test_a_20_s_clip_has_40_samples_half_a_second_apart() -> None:
    line = sample(500, 25.0)
    assert line.size == 40
    assert line.frames[[0, 1, 2, 39]].tolist() == [0, 12, 25, 487]
    assert line.times_s[[0, 2, 39]].tolist() == pytest.approx([0.0, 1.0, 19.48])
    assert line.fps == 2.0


def test_times_are_those_of_the_frames_not_of_the_index() -> None:
    line = sample(599, 29.97)
    assert line.size == 40
    assert line.times_s.tolist() == np.round(line.frames / 29.97, 4).tolist()
    assert np.abs(line.times_s - np.arange(40) / 2).max() < 0.5 / 29.97 + 1e-9


def test_the_cap_spreads_samples_over_the_whole_clip() -> None:
    line = sample(6000, 25.0, max_frames=40)
    assert line.size == 40
    assert line.interval_s == 6.0
    assert line.times_s[[0, 1, 39]].tolist() == [0.0, 6.0, 234.0]


def test_a_clip_in_mid_video_counts_from_its_own_start() -> None:
    line = sample(540, 30.0, clip=(345, 540))
    assert line.frames[0] == 345
    assert line.times_s[0] == 0.0
    assert line.clip_start_s == pytest.approx(11.5)
    assert line.frames.max() < 540
    assert line.size == 13  # 6.5 s


SHORT = [(1, 1), (2, 1), (12, 1), (13, 2), (25, 2), (26, 3)]


@pytest.mark.parametrize(("n_frames", "samples"), SHORT)
def test_short_clips(n_frames: int, samples: int) -> None:
    assert sample(n_frames, 25.0).size == samples


def test_variable_frame_rate() -> None:
    times = np.array([0.0, 0.04, 0.08, 0.5, 0.9, 1.0, 1.04, 2.0])
    line = Timeline.sample(times, 2.04, fps=2.0, max_frames=128)
    assert line.frames.tolist() == [0, 3, 5, 6, 7]  # nearest to 1.5 s is the frame at 1.04 s
    assert line.times_s.tolist() == [0.0, 0.5, 1.0, 1.04, 2.0]


def test_seconds_as_index() -> None:
    line = sample(500, 25.0, unit="second")
    assert line.size == 20
    assert line.index_frames[[0, 1, 19]].tolist() == [0, 25, 475]
    assert line.seconds(np.array([0, 7, 99])).tolist() == [0.0, 7.0, 19.0]


def test_an_empty_clip_is_an_error() -> None:
    with pytest.raises(ValueError, match="holds no frame of a video with 10 frames"):
        sample(10, 25.0, clip=(10, 10))


@given(
    st.lists(st.floats(0.001, 2.0), min_size=1, max_size=200),
    st.sampled_from([0.5, 1.0, 2.0, 30.0]),
    st.sampled_from([2, 4, 64]),
    st.sampled_from(["frame", "second"]),
)
def test_any_frame_times(gaps: list[float], fps: float, max_frames: int, unit: str) -> None:
    times = np.cumsum(gaps)
    line = Timeline.sample(times, times[-1] + gaps[-1], fps=fps, max_frames=max_frames, unit=unit)
    assert (np.diff(line.frames) > 0).all()
    assert 1 <= len(line.frames) <= max_frames
    assert line.times_s.tolist() == pytest.approx((times[line.frames] - times[0]).tolist(), abs=5.1e-5)
    assert line.end_s == pytest.approx(times[-1] + gaps[-1] - times[0], abs=5.1e-5)
    every = np.arange(line.size)
    assert line.index(line.seconds(every)).tolist() == every.tolist(), "index to seconds and back"
    assert line.index_frames.shape == (line.size,)


@pytest.mark.parametrize(
    ("decoded", "fps", "annotated", "annotated_fps", "numbers"),
    [
        (599, 29.97, 600, 30.0, {0: 0, 298: 298, 598: 599}),
        (300, 15.0, 600, 30.0, {0: 1, 1: 3, 299: 599}),
        (600, 29.97, 600, 30.0, {0: 0, 599: 599}),
        (595, 30.0, 600, 30.0, {0: 0, 594: 594}),
        (1, 30.0, 2, 30.0, {0: 0}),
    ],
    ids=["nominal rate", "half the rate", "same count", "same rate, tail missing", "one frame"],
)
def test_annotated_frames(
    decoded: int, fps: float, annotated: int, annotated_fps: float, numbers: dict[int, int]
) -> None:
    got = annotated_frames(np.arange(decoded) / fps, annotated, annotated_fps)
    assert {frame: int(got[frame]) for frame in numbers} == numbers


def test_annotated_clip() -> None:
    assert annotated_clip(np.arange(1, 600, 2), (100, 201)) == (50, 100)


def test_seconds_of_a_sparsely_sampled_clip_have_frames_of_their_own() -> None:
    line = sample(6000, 25.0, max_frames=40, unit="second")
    assert line.interval_s == 6.0
    assert line.size == 240
    assert line.index_frames[[0, 1, 13, 239]].tolist() == [0, 25, 325, 5975]


LEADS: list[tuple[str, tuple[float, float, int, float], dict[str, bool], int]] = [
    ("8 frames come late, and the end is that of the annotation", (19.68, 0.32, 500, 25.0), {}, 8),
    ("75 do", (17.0, 3.0, 500, 25.0), {}, 75),
    (
        "the first frame is late, but none is missing: pictures that are shown later than decoded",
        (20, 0.08, 500, 25.0),
        {},
        0,
    ),
    ("neither with the time nor without it is the video as long as annotated", (15.0, 3.0, 500, 25.0), {}, 0),
    ("the time before is longer than what is missing", (19.9, 3.0, 500, 25.0), {}, 0),
    ("as near with it as without it", (19.9, 0.2, 500, 25.0), {}, 0),
    ("nothing before", (19.68, 0.0, 500, 25.0), {}, 0),
    ("less than half a frame before", (19.98, 0.01, 500, 25.0), {}, 0),
    ("at the annotated rate of 30, not the decoded one", (17.0, 3.0, 600, 30.0), {}, 90),
    ("it is not known how many frames there are, and enough are", (19.68, 0.32, 400, 25.0), {"at_least": True}, 0),
    ("there are too few without those before", (19.68, 0.32, 499, 25.0), {"at_least": True}, 8),
]


@pytest.mark.parametrize(("title", "given", "more", "expected"), LEADS, ids=[lead[0] for lead in LEADS])
def test_annotated_frames_before_the_first(
    title: str, given: tuple[float, float, int, float], more: dict[str, bool], expected: int
) -> None:
    assert frames_before(*given, **more) == expected


def test_annotated_frames_of_a_video_that_begins_late() -> None:
    assert annotated_frames(np.arange(492) / 25, 500, 25.0, before=8).tolist() == list(range(8, 500))
    half = annotated_frames(np.arange(200) / 10, 500, 20.0, before=100)
    assert half[[0, 1, 199]].tolist() == [101, 103, 499], "the other 400 annotated frames lie on 200"


def test_annotated_frames_where_their_count_is_not_known() -> None:
    known = {"at_least": True}
    assert annotated_frames(np.arange(300) / 25, 100, 25.0, **known).tolist() == list(range(300))
    assert annotated_frames(np.arange(300) / 15, 100, 30.0, **known)[[0, 1, 2, 299]].tolist() == [0, 2, 4, 598]
    assert annotated_frames(np.arange(3) / 25, 100, 25.0, before=5, **known).tolist() == [5, 6, 7]
