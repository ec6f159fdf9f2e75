"""From answers to native frames, and files of tubes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.errors import DataError
from swift_stvg.records import Sample, Tube, VideoInfo
from swift_stvg.rows.making import make_row_truth
from swift_stvg.scoring.protocols import evaluate
from swift_stvg.scoring.tubes import answer_tube, read_tubes
from swift_stvg.settings import Settings
from tests.helpers import boxes, row_truth


def sample(**changes: Any) -> Sample:
    """An object that stands still in frames [10, 30) of 50, at 10 per second, like `helpers.row_truth`'s row."""
    frames = np.arange(10, 30)
    facts: dict[str, Any] = {
        "id": "row",
        "dataset": "made",
        "split": "up",
        "sentence": "it stands",
        "video": Path("a.mp4"),
        "annotated_frames": 50,
        "annotated_fps": 10.0,
        "size_wh": (200, 200),
        "span_frames": (10, 30),
        "tube_frames": frames,
        "tube_xyxy": np.tile([40.0, 40, 120, 120], (len(frames), 1)),
    }
    return Sample(**facts | changes)


def tube(span: tuple[int, int], listed: str, **changes: Any) -> Tube:
    answer = AnswerFormat().parse(f"<time> 0 - 0 </time> <pred_bbox> {listed} </pred_bbox>")
    return answer_tube(span, answer.pred, row_truth(), sample(**changes))


SPANS = [
    # span of indices, annotated frames meant (an index every 5 frames: 0, 5, ..., 45), reason
    ((2, 5), (8, 27), "half an interval on both sides; a frame in the middle belongs to the earlier index"),
    ((0, 1), (0, 7), "the first index reaches back to the clip's first frame"),
    ((8, 9), (38, 49), "the last one to its last"),
    ((9, 400), (43, 49), "what lies beyond the grid ends with it"),
    ((0, 9), (0, 49), "the whole clip"),
]


@pytest.mark.parametrize(("span", "frames", "reason"), SPANS, ids=[s[2] for s in SPANS])
def test_a_native_frame_belongs_to_the_nearest_index(
    span: tuple[int, int], frames: tuple[int, int], reason: str
) -> None:
    assert tube(span, boxes(*span)).span_frames == frames


def test_a_clip_within_the_video_ends_the_span() -> None:
    moved = replace(row_truth(), annotated=row_truth().annotated + 100)
    clip = sample(clip_frames=(98, 148), annotated_frames=300, span_frames=(110, 130), tube_frames=np.arange(110, 130))
    assert answer_tube((0, 9), None, moved, clip).span_frames == (98, 147)


def test_boxes_stand_where_their_index_points_in_pixels_of_the_annotation() -> None:
    found = tube(
        (2, 4), "4. [30, 30, 50, 160], 2. [10, 20, 30, 40], 2. [0, 0, 1, 1], 3. [60, 20, 20, 60], 9. [1, 2, 3, 4]"
    )
    assert found.frames.tolist() == [10, 15, 20]
    assert found.boxes_xyxy[0].tolist() == [20, 40, 60, 80], "the first of two; 100 x 100 to 200 x 200"
    assert np.isnan(found.boxes_xyxy[1]).all(), "an inverted box is none"
    assert found.boxes_xyxy[2].tolist() == [60, 60, 100, 200], "clipped to the frame"


@pytest.mark.parametrize("unit", ["frame", "second"])
def test_the_exact_answer_reaches_what_the_format_allows(unit: str) -> None:
    """For a steady object, interpolation and rounding cost little, and the span half an interval at each end."""
    truth = sample(tube_xyxy=np.array([[20 + t / 4, 20 + t / 4, 80 + t / 4, 80 + t / 4] for t in range(20)]))
    made = make_row_truth(truth, VideoInfo.nominal(truth), Settings(index_unit=unit, max_side=196, side_multiple=28))
    found = answer_tube(made.answer.span or (0, 0), made.answer.pred, made, truth)
    scores = evaluate([truth], [found], "hcstvg_official")
    interval = 5 if unit == "frame" else 10
    assert scores.tiou[0] >= 1 - interval / 20
    assert scores.viou[0] > 0.95 * scores.tiou[0]


def test_frames_that_two_indices_share_have_one_box() -> None:
    doubled = replace(row_truth(), annotated=np.array([0, 5, 10, 10, 20, 25, 30, 35, 40, 45]))
    answer = AnswerFormat().parse(f"<time> 2 - 4 </time> <pred_bbox> {boxes(2, 4)} </pred_bbox>")
    found = answer_tube((3, 3), answer.pred, doubled, sample())
    assert found.span_frames == (10, 15)
    assert found.frames.tolist() == [10]


ENTRY = {"span_frames": [1, 3], "boxes": {"1": [0, 0, 5, 5], "3": [1, 1, 6, 6]}}
BAD_ENTRIES: list[tuple[str, Any, str]] = [
    ("a number", 5, "unparsable: TypeError"),
    ("no boxes", {"span_frames": [1, 3]}, "unparsable: KeyError('boxes')"),
    ("one end", ENTRY | {"span_frames": [1]}, "unparsable: not enough values"),
    ("half a frame", ENTRY | {"span_frames": [1, 2.5]}, "unparsable: expected a whole number"),
    ("backwards", ENTRY | {"span_frames": [3, 1]}, "inconsistent: `span_frames` [3, 1] runs backwards"),
    ("three numbers", ENTRY | {"boxes": {"1": [0, 0, 5]}}, "unparsable: "),
    ("no frame", ENTRY | {"boxes": {"one": [0, 0, 5, 5]}}, "unparsable: 'one' is not a frame number"),
    ("a fraction", ENTRY | {"boxes": {"1.5": [0, 0, 5, 5]}}, "unparsable: '1.5' is not a frame number"),
    ("a number in two halves", ENTRY | {"boxes": {"1_0": [0, 0, 5, 5]}}, "unparsable: '1_0' is not a frame number"),
    ("a clock time", ENTRY | {"boxes": {"00:02": [0, 0, 5, 5]}}, "unparsable: '00:02' is not a frame number"),
    ("a span on the clock", ENTRY | {"span_frames": ["00:02", "00:04"]}, "unparsable: TypeError"),
    (
        "NaN",
        ENTRY | {"boxes": {"1": [0, 0, float("nan"), 5]}},
        "unparsable: the box of frame 1 is [0.0, 0.0, nan, 5.0]",
    ),
    ("huge", ENTRY | {"boxes": {"1": [0, 0, 1e300, 5]}}, "unparsable: the box of frame 1 is [0.0, 0.0, 1e+300, 5.0]"),
    ("negative frame", ENTRY | {"boxes": {"-1": [0, 0, 5, 5]}}, "unparsable: frames must be numbers from 0 to"),
    (
        "a huge frame",
        ENTRY | {"boxes": {"8589934592": [0, 0, 5, 5]}},
        "unparsable: frames must be numbers from 0 to 10000000",
    ),
    ("a huge span", ENTRY | {"span_frames": [1, 99999999]}, "unparsable: frames must be numbers from 0 to 10000000"),
    ("a frame twice", ENTRY | {"boxes": {"1": [0, 0, 5, 5], "01": [0, 0, 5, 5]}}, "unparsable: a frame has two boxes"),
    ("text", ENTRY | {"boxes": {"1": "0 0 5 5"}}, "unparsable: "),
    ("an endless frame", ENTRY | {"boxes": {"9" * 40: [0, 0, 5, 5]}}, "unparsable: "),
]


@pytest.mark.parametrize(("title", "entry", "fault"), BAD_ENTRIES, ids=[e[0] for e in BAD_ENTRIES])
def test_what_makes_no_tube_is_said(tmp_path: Path, title: str, entry: Any, fault: str) -> None:
    path = tmp_path / "tubes.json"
    path.write_text(json.dumps({"good": ENTRY, "bad": entry}))
    tubes, faults, repeated = read_tubes(path)
    assert list(tubes) == ["good"]
    assert ": ".join(faults["bad"]).startswith(fault)
    assert repeated == []


def test_predictions_as_hcstvgs_own_script_reads_them(tmp_path: Path) -> None:
    box = [10.0, 20.0, 60.0, 90.0]
    theirs = {"st_frame": 51, "ed_frame": 53, "bbox": {"51": box, "53": box}}
    content = {"a": theirs, "b": theirs | {"st_frame": 0}, "c": {"st_frame": 1}, "d": theirs | {"bbox": {"0": box}}}
    (tmp_path / "tubes.json").write_text(json.dumps(content))
    tubes, faults, _ = read_tubes(tmp_path / "tubes.json")
    assert list(tubes) == ["a"]
    assert tubes["a"].span_frames == (50, 52)
    assert tubes["a"].frames.tolist() == [50, 52]
    assert tubes["a"].boxes_xyxy.tolist() == [box, box]
    assert {name: fault[0] for name, fault in faults.items()} == dict.fromkeys("bcd", "unparsable")


def test_a_frame_that_stands_there_twice_is_said(tmp_path: Path) -> None:
    path = tmp_path / "tubes.json"
    box = '"1": [0, 0, 5, 5]'
    path.write_text(f'{{"a": {{"span_frames": [1, 3], "boxes": {{{box}, {box}}}}}}}')
    assert read_tubes(path) == ({}, {"a": ("unparsable", "the key '1' is repeated")}, [])


def test_frames_in_any_order_and_none_at_all(tmp_path: Path) -> None:
    path = tmp_path / "tubes.json"
    path.write_text(
        '{"a": {"span_frames": [1, 3.0], "boxes": {"3.0": [1, 1, 6, 6], "1": [0, 0, 5, 5]}}, '
        '"b": {"span_frames": [1, 3], "boxes": {}}, "b": {"span_frames": [2, 3], "boxes": {}}}'
    )
    tubes, faults, repeated = read_tubes(path)
    assert tubes["a"].frames.tolist() == [1, 3]
    assert tubes["a"].boxes_xyxy[0].tolist() == [0, 0, 5, 5]
    assert tubes["b"].span_frames == (2, 3)
    assert (faults, repeated) == ({}, ["b"])


REFUSED = [
    ('{"a": {"span', "cannot be read as JSON"),
    ("[]", "must hold an object with at least one id"),
    ("{}", "must hold an object with at least one id"),
    ('{"\xff": 1}', "cannot be read as JSON"),
    ("[" * 100_000, "cannot be read as JSON"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tubes.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=re.escape(message)):
        read_tubes(path)
