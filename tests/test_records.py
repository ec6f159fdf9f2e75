"""Errors and messages of public records and functions for invalid arguments."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import swift_stvg
from swift_stvg import ask, parse
from swift_stvg.answers.format import Answer, AnswerFormat, BoxList
from swift_stvg.errors import RecordError, RowError, SettingsError, StvgError, VideoError
from swift_stvg.records import Truth, Tube, VideoInfo
from swift_stvg.report.drawing import Overlay
from swift_stvg.rewards.batch import Batch
from swift_stvg.rows.row_truth import PromptSpec
from swift_stvg.rows.tracks import Track
from swift_stvg.scoring.ground_truth import GroundTruth
from swift_stvg.scoring.protocols import Scores, evaluate
from swift_stvg.scoring.tube_file import TubeFile
from swift_stvg.serving.asking import clip_frames
from swift_stvg.settings import Settings
from swift_stvg.video.request import VideoRequest
from tests.fuzzing import standing
from tests.helpers import grid, row_truth

FRAMES, BOXES = np.arange(10, 15), np.tile([10.0, 10, 60, 60], (5, 1))
NAN, INF = float("nan"), float("inf")


def tube(**changes: Any) -> Tube:
    return Tube(**{"span_frames": (10, 14), "frames": FRAMES, "boxes_xyxy": BOXES} | changes)


def truth(**changes: Any) -> Truth:
    facts: dict[str, Any] = {"annotated_frames": 50, "annotated_fps": 10.0, "size_wh": (200, 200)}
    return Truth(**facts | {"span_frames": (10, 15), "tube_frames": FRAMES, "tube_xyxy": BOXES} | changes)


def info(**changes: Any) -> VideoInfo:
    facts = {"path": Path("a.mp4"), "frame_times_s": np.arange(10) / 10, "end_s": 1.0, "size_wh": (200, 100)}
    return VideoInfo(**facts | changes)


def request(**changes: Any) -> VideoRequest:
    facts = {"frames": (0, 5), "size_wh": (56, 28), "fps": 2.0, "coords": "pixel", "times_s": (0.0, 0.5)}
    return VideoRequest(**facts | changes)


def track(**changes: Any) -> Track:
    facts = {"kind": "pred", "span_s": (0.0, 1.0), "times_s": np.array([0.0, 0.5]), "boxes_xyxy": BOXES[:2] / 100}
    return Track(**facts | changes)


def ground_truth(**changes: Any) -> GroundTruth:
    rows: dict[str, Any] = {"samples": None, "row_truths": [row_truth()], "keys": [("made:up", "row")], "videos": ["a"]}
    rest: dict[str, Any] = {"name": None, "query": ["declarative"], "category": ["x"], "excluded": {}, "notes": {}}
    return GroundTruth(**rows | rest | changes)


SHUFFLED = np.array([12, 10, 14, 11, 13])
WRONG: list[tuple[str, Callable[[], Any], type[StvgError], str]] = [
    (
        "frames shuffled",
        lambda: tube(frames=SHUFFLED),
        RecordError,
        "`frames` must increase, got 10 after 12 at position 1",
    ),
    (
        "5 frames, 10 boxes",
        lambda: tube(boxes_xyxy=np.tile(BOXES, (2, 1))),
        RecordError,
        "`boxes_xyxy` must be numbers (5, 4), got float64 (10, 4)",
    ),
    ("boxes flat", lambda: tube(boxes_xyxy=BOXES.ravel()), RecordError, "(5, 4), got float64 (20,)"),
    (
        "a frame twice",
        lambda: tube(frames=[10, 11, 11, 12, 13]),
        RecordError,
        "`frames` must increase, got 11 after 11 at position 2",
    ),
    (
        "a frame below 0",
        lambda: tube(frames=FRAMES - 11),
        RecordError,
        "`frames` must be whole numbers in [0, 1000000000], got -1 to 3",
    ),
    (
        "half a frame",
        lambda: tube(frames=FRAMES + 0.5),
        RecordError,
        "`frames` must be whole numbers (K,), got float64 (5,)",
    ),
    ("frames in words", lambda: tube(frames=list("abcde")), RecordError, "`frames` must be whole numbers (K,)"),
    ("ragged boxes", lambda: tube(boxes_xyxy=[[1, 2], [3]]), RecordError, "`boxes_xyxy` must be numbers, got "),
    (
        "an endless box",
        lambda: tube(boxes_xyxy=np.where(BOXES > 50, INF, BOXES)),
        RecordError,
        "got [10.0, 10.0, inf, inf] at position 0",
    ),
    (
        "a span of three",
        lambda: tube(span_frames=(1, 2, 3)),
        RecordError,
        "`span_frames` must be two whole numbers, got (1, 2, 3)",
    ),
    (
        "a span in seconds",
        lambda: tube(span_frames=(1.0, 1.4)),
        RecordError,
        "`span_frames` must be a whole number in [0, 1000000000], got 1.0",
    ),
    (
        "truth shuffled",
        lambda: truth(tube_frames=SHUFFLED),
        RecordError,
        "`tube_frames` must increase, got 10 after 12",
    ),
    (
        "truth: a box off the event",
        lambda: truth(tube_frames=FRAMES + 1),
        RecordError,
        "`tube_frames` must be whole numbers in [10, 14], got 11 to 15",
    ),
    (
        "truth: lengths",
        lambda: truth(tube_xyxy=BOXES[1:]),
        RecordError,
        "`tube_xyxy` must be numbers (5, 4), got float64 (4, 4)",
    ),
    (
        "truth: NaN",
        lambda: truth(tube_xyxy=BOXES * NAN),
        RowError,
        "invalid box coordinates: NaN, or more than 1e+07 pixels",
    ),
    ("truth: empty event", lambda: truth(span_frames=(15, 15)), RowError, "event ends before it begins: (15, 15)"),
    (
        "truth: no box",
        lambda: truth(tube_frames=[], tube_xyxy=[]),
        RowError,
        "no usable box: none annotated in the event",
    ),
    (
        "truth: time and boxes",
        lambda: truth(time_only=True),
        RowError,
        "boxes in an annotation without boxes: 5 boxes, but `time_only` is True",
    ),
    ("truth: no rate", lambda: truth(annotated_fps=NAN), RowError, "invalid frame count or frame rate: (50, nan)"),
    (
        "truth: a rate in words",
        lambda: truth(annotated_fps="25"),
        RecordError,
        "`annotated_fps` must be a number, got '25'",
    ),
    (
        "truth: half a frame",
        lambda: truth(annotated_frames=50.5),
        RecordError,
        "`annotated_frames` must be a whole number, got 50.5",
    ),
    ("truth: a yes", lambda: truth(one_based="yes"), RecordError, "`one_based` must be True or False, got 'yes'"),
    ("sample: no text", lambda: replace(standing(), split=3), RecordError, "`split` must be text, got 3, row row"),
    (
        "sample: no sentence",
        lambda: replace(standing(), sentence=None),
        RecordError,
        "`sentence` must be text, got None, row row",
    ),
    (
        "sample: no path",
        lambda: replace(standing(), video="a.mp4"),
        RecordError,
        "`video` must be a Path, got 'a.mp4', row row",
    ),
    (
        "video: times fall",
        lambda: info(frame_times_s=np.array([0.0, 0.2, 0.1])),
        VideoError,
        "`frame_times_s` must increase, got 0.1 after 0.2 at position 2, a.mp4",
    ),
    (
        "video: no frame",
        lambda: info(frame_times_s=[]),
        VideoError,
        "`frame_times_s` must hold at least one frame, got none, a.mp4",
    ),
    (
        "video: ends early",
        lambda: info(end_s=0.5),
        VideoError,
        "`end_s` must be a finite number from 0.9, got 0.5, a.mp4",
    ),
    (
        "video: no size",
        lambda: info(size_wh=(0, 5)),
        VideoError,
        "`size_wh` must be a whole number in [1, 1048576], got 0, a.mp4",
    ),
    (
        "timeline: unit",
        lambda: replace(grid(), unit="minute"),
        RecordError,
        "`unit` must be one of frame, second, got 'minute'",
    ),
    (
        "timeline: no sample",
        lambda: replace(grid(), frames=[], times_s=[]),
        RecordError,
        "`frames` must hold at least one sample",
    ),
    (
        "timeline: index",
        lambda: replace(grid(), index_frames=[1, 2]),
        RecordError,
        "`index_frames` must be the samples, or hold a frame for each second",
    ),
    (
        "timeline: end",
        lambda: replace(grid(), end_s=NAN),
        RecordError,
        "`end_s` must be a finite number from 4.5, got nan",
    ),
    (
        "spec: unit",
        lambda: PromptSpec(Settings(), (56, 28), (64, 32), grid(unit="second")),
        RecordError,
        "`timeline.unit` must be frame, as the settings say, got second",
    ),
    (
        "spec: no settings",
        lambda: PromptSpec({}, (56, 28), (64, 32), grid()),
        RecordError,
        "`settings` must be Settings, got dict",
    ),  # type: ignore[arg-type]
    (
        "row truth: annotated",
        lambda: replace(row_truth(), annotated=[1]),
        RecordError,
        "`annotated` must hold one value for each index, got 1 for 10 in `index_frames`, row row",
    ),
    (
        "row truth: boxes where none are asked for",
        lambda: replace(row_truth(), settings=Settings(boxes=False)),
        RecordError,
        "`index` must hold no box, since the format has none, got 4, row row",
    ),
    (
        "request: times",
        lambda: request(times_s=(0.0,)),
        RecordError,
        "`times_s` must hold one value for each frame, got 1 for 2 in `frames`",
    ),
    (
        "request: frames",
        lambda: request(frames=(5, 0)),
        RecordError,
        "`frames` must increase, got 0 after 5 at position 1",
    ),
    ("request: rate", lambda: request(fps=0.0), RecordError, "`fps` must be above 0, got 0.0"),
    ("request: labels", lambda: request(labels="letters"), RecordError, "`labels` must be one of numbers, seconds"),
    (
        "request: coordinates",
        lambda: request(coords="yards"),
        RecordError,
        "`coords` must be one of pixel, norm1000, unit, source, got 'yards'",
    ),
    ("settings", lambda: Settings(fps=NAN), SettingsError, "STVG_FPS='NaN': must be a number in [0.01, 120]"),
    (
        "boxes as written: lengths",
        lambda: BoxList(np.arange(3), BOXES),
        RecordError,
        "`boxes_xyxy` must be numbers (3, 4), got float64 (5, 4)",
    ),
    (
        "boxes as written: index",
        lambda: BoxList(np.array([-1]), BOXES[:1]),
        RecordError,
        "`index` must be whole numbers in [0, 99999999], got -1 to -1",
    ),
    (
        "answer: span",
        lambda: Answer((1.5, 2), None, None),
        RecordError,
        "`span` must be a whole number in [0, 99999999], got 1.5",
    ),  # type: ignore[arg-type]
    (
        "answer: boxes",
        lambda: Answer((1, 2), None, BOXES),
        RecordError,
        "`pred` must be a BoxList or None, got ndarray",
    ),  # type: ignore[arg-type]
    (
        "scores",
        lambda: Scores(np.ones(2), np.ones(2), np.array([1.0, NAN])),
        RecordError,
        "`siou` must be finite numbers in [0, 1], got nan at position 1",
    ),
    (
        "scores: lengths",
        lambda: Scores(np.ones(2), np.ones(1), np.ones(2)),
        RecordError,
        "`viou` must hold one value for each sample, got 1 for 2 in `tiou`",
    ),
    (
        "track: kind",
        lambda: track(kind="guess"),
        RecordError,
        "`kind` must be one of truth, think, pred, first, second, got 'guess'",
    ),
    (
        "track: times",
        lambda: track(times_s=np.array([0.5, 0.0])),
        RecordError,
        "`times_s` must not decrease, got 0.0 after 0.5 at position 1",
    ),
    (
        "overlay",
        lambda: replace(Overlay.of(row_truth(), "it"), frames=[3]),
        RecordError,
        "`times_s` must hold one value for each frame, got 10 for 1 in `frames`",
    ),
    (
        "ground truth: lengths",
        lambda: ground_truth(videos=[]),
        RecordError,
        "`videos` must hold one value for each sample, got 0 for 1 in `keys`",
    ),
    (
        "ground truth: nothing",
        lambda: ground_truth(row_truths=None),
        RecordError,
        "`samples` must be known, or `row_truths`, got neither",
    ),
    (
        "tubes",
        lambda: TubeFile("mine", "mine.json", ["a"], {}, {}),
        RecordError,
        "`ids` must be those of tubes and faults, each once, got 1, mine",
    ),
    (
        "evaluate: no truth",
        lambda: evaluate([tube()], [tube()], "cg_stvg"),
        RecordError,
        "`truths` must hold Truth, got Tube",
    ),  # type: ignore[list-item]
    (
        "evaluate: no tube",
        lambda: evaluate([truth()], [BOXES], "cg_stvg"),
        RecordError,
        "`predictions` must hold Tube or NoneType, got ndarray",
    ),  # type: ignore[list-item]
    (
        "batch: one text",
        lambda: Batch("abc", [row_truth()] * 3),
        RecordError,
        "`completions` must be a sequence, got one str",
    ),
    (
        "batch: no text",
        lambda: Batch(["", None], [row_truth()] * 2),
        RecordError,
        "`completions` must hold str, got NoneType None at position 1",
    ),  # type: ignore[list-item]
    (
        "batch: rows unread",
        lambda: Batch([""], [row_truth().to_json()]),
        RecordError,
        "`row_truths` must hold RowTruth, as RowTruth.from_json reads them from rows, got str",
    ),  # type: ignore[list-item]
    (
        "parse: bytes",
        lambda: parse(b"<time>", row_truth()),
        RecordError,
        "`reply` must hold str or NoneType, got bytes",
    ),  # type: ignore[arg-type]
    (
        "parse: a row",
        lambda: parse("", {"stvg": ""}),
        RecordError,
        "`spec` must hold PromptSpec, as `ask` and RowTruth.from_json give it, got dict",
    ),  # type: ignore[arg-type]
    ("ask: no sentence", lambda: ask(Path("a.mp4"), None, Settings()), RowError, "no sentence: None"),  # type: ignore[arg-type]
    (
        "ask: endless clip",
        lambda: clip_frames(info(), (0.5, NAN)),
        RecordError,
        "`clip_s` must be finite numbers, got nan at position 1",
    ),
    (
        "ask: half a clip",
        lambda: clip_frames(info(), (0.5,)),
        RecordError,
        "`clip_s` must be two numbers, start and end, got (0.5,)",
    ),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("title", "make", "kind", "message"), WRONG, ids=[case[0] for case in WRONG])
def test_what_breaks_a_rule_is_refused(
    title: str, make: Callable[[], Any], kind: type[StvgError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert message in str(caught.value), title


def test_what_they_are_made_from_in_this_file_is_right() -> None:
    for make in (tube, truth, info, request, track, ground_truth):
        make()


def test_numbers_may_come_as_lists_and_of_any_width() -> None:
    for frames, boxes_xyxy in (
        (FRAMES.tolist(), BOXES.tolist()),
        (FRAMES.astype(np.uint16), BOXES.astype(np.float32)),
        (tuple(FRAMES), BOXES.astype(int)),
    ):
        made = tube(span_frames=np.array([10, 14]), frames=frames, boxes_xyxy=boxes_xyxy)
        assert (made.frames.dtype, made.boxes_xyxy.dtype) == (np.int64, np.float64)
        assert evaluate([truth()], [made], "hcstvg_official").viou.tolist() == [1.0]
    assert evaluate([truth()], [tube(span_frames=(14, 10))], "hcstvg_official").viou.tolist() == [0.0], "backwards"


LEFT_OUT = frozenset({"adapters", "plugin", "startup", "synthetic", "bench", "commands"})
"""Rooms whose records no other room makes, and files that others import by their path."""
OF_OTHERS = ("vllm_no_pixels", "app", "beside_weights.answer", "answer_video", "answer_engines")
"""Modules that need vLLM or Gradio, and scripts."""


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # importing torch warns
def test_every_record_that_holds_numbers_checks_itself() -> None:
    """All public dataclasses with arrays in the core; other packages do not make the renderer's scenes."""
    unchecked = []
    for module in pkgutil.walk_packages(swift_stvg.__path__, "swift_stvg."):
        if module.name.split(".")[1] in LEFT_OUT or module.name.endswith(OF_OTHERS):
            continue
        for name, record in vars(import_module(module.name)).items():
            if is_dataclass(record) and record.__module__ == module.name and not name.startswith("_"):
                held = " ".join(map(str, vars(record)["__annotations__"].values())).replace("Sequence[str]", "")
                if ("Array" in held or "Sequence" in held) and "__post_init__" not in dir(record):
                    unchecked.append(f"{module.name}.{name}")
    assert unchecked == []


def test_small_shares_are_written_without_an_exponent() -> None:
    """Rows hold settings as text, and a text with an exponent is not a valid setting."""
    settings = Settings.from_env({"STVG_THINK_JITTER": "0.00001"})
    assert Settings.from_texts(settings.to_texts()) == settings
    assert AnswerFormat() == AnswerFormat.of(settings)
