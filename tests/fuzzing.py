"""Guarantees that hold for any input, for the property tests and for `tests/fuzz.py`: one function for each boundary.

Each function takes input from outside. If a guarantee is broken, it raises AssertionError or another error.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.answers.format import Answer, AnswerFormat
from swift_stvg.errors import DataError, RowError, VideoError
from swift_stvg.geometry import FloatArray
from swift_stvg.records import MAX_COORDINATE, MAX_VIDEO_FRAMES, Sample, Tube, VideoInfo
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import REWARDS, total, usual_weights
from swift_stvg.rewards.known_mistakes import full_mark
from swift_stvg.rows.making import make_row_truth
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.protocols import PROTOCOLS, evaluate
from swift_stvg.scoring.tubes import answer_tube, read_tubes
from swift_stvg.settings import Settings
from swift_stvg.sources import LoadReport, hcstvg, jsonl, load_samples
from swift_stvg.sources.files import DataRoot
from tests.helpers import row_truth, true_box

BOUNDS = {
    "stvg_format": (0, 1),
    "stvg_consistency": (0, 1),
    "stvg_temporal": (0, 1),
    "stvg_spatial": (-10, 2),
    "stvg_think": (0, 6),
    "stvg_spatial_giou": (-2, 2),
    "stvg_spatial_l1": (-8, 0),
    "stvg_object": (0, 1),
    "stvg_object_viou": (0, 1),
    "stvg_tiou": (0, 1),
    "stvg_viou": (0, 1),
    "stvg_viou@0.3": (0, 1),
    "stvg_viou@0.5": (0, 1),
}
FORMATS = (
    AnswerFormat(),
    AnswerFormat(think=False),
    AnswerFormat(True, "second", "norm1000"),
    AnswerFormat(False, boxes=False),
    AnswerFormat(False, style="csv"),
    AnswerFormat(False, style="ids"),
    AnswerFormat(False, "second", boxes=False, style="csv"),
    AnswerFormat(False, "second", "norm1000", style="csv"),
    AnswerFormat(True, "frame", "unit"),
    AnswerFormat(False, "second", "unit", style="fig8"),
    AnswerFormat(False, "second", "norm1000", style="qwen_json"),
    AnswerFormat(True, "second", "unit", style="qwen_json"),
    AnswerFormat(True, "second", "norm1000", style="span_json"),
    AnswerFormat(False, "second", "source", style="span_json"),
)
WORDS = (
    *("<time>", "</time>", "<think_bbox>", "</think_bbox>", "<pred_bbox>", "</pred_bbox>"),
    *("<think>", "</think>", "<answer>", "</answer>", "```", "```csv\n", "2 - 5", "2. [1, 2, 3, 4]"),
    *("00:02", "01:02:03", "00:02.5", "00:02,500", "2.0", "2.5", "0.25", "1e3", "-2", "1/2", "50%"),
    *("s", "sec", "seconds", "frame", "min", "ms", "from", "to", "-->", "--", "~", "start", "end"),
    *(
        "２",
        "５",
        "，",
        "：",
        "【",
        "】",
        "（",
        "）",
        "～",
        "－",
        "．",
        "、",
        "。",
        "第",
        "帧",
        "秒",
        "分",
        "从",
        "至",
        "到",
    ),
    *('"time"', '"boxes"', '"think_boxes"', '"bbox_2d"', '"think_bbox_2d"', '"label"', "{", "}", "[", "]", ":", ","),
    *('{"time": 2.0, "bbox_2d": [1, 2, 3, 4]}', '"2": [1, 2, 3, 4]', '{"time": [2, 5]', "```json\n", "0.1,0.2,0.3,0.4"),
    *("２：【１，２，３，４】", "],", "[2,1,2,3,4],\n", "2,5\n", "2,1,2,3,4\n"),
)
"""Pieces of answers: forms that the reader accepts, and similar forms that it must not accept."""
HALF_WIDTH = {c: unicodedata.normalize("NFKC", chr(c)) for c in range(0xFF01, 0xFF5F)}
HIGHEST_INDEX = 10_000_000
"""Upper bound of a rounded index with at most seven digits and a decimal part."""


@cache
def rows() -> tuple[RowTruth, ...]:
    """A row for each format and for each unit of an index."""
    ways: list[dict[str, Any]] = [{}, {"floor": -1.0}, {"frames": "either"}, {"floor": -1.0, "frames": "either"}]
    return tuple(
        row_truth(fmt=fmt, box=true_box(fmt), gaps=(3,) if way else (), **way) for fmt in FORMATS for way in ways
    )


def check_read(text: str, fmt: AnswerFormat) -> tuple[Answer, bool]:
    """Check that a completion gives finite numbers without an error, and that strict and lenient reading agree."""
    answer, valid = fmt.read(text)
    if valid:
        assert answer.span is not None
        assert (answer.pred is not None) == (fmt.boxes and not fmt.names_object)
        assert (answer.object is not None) == fmt.names_object
        assert (answer.think is not None) == fmt.think
        assert not answer.failures
        again = fmt.render(answer)
        assert fmt.read(again) == (answer, True), "what is valid can be rendered and read again"
        assert fmt.parse(text + (".", "\n.")[fmt.style in ("csv", "fig8")]) == answer, (
            "the lenient reader sees what the strict one does"
        )
    parts: dict[str, object] = {"time": answer.span}
    parts |= {"pred_bbox": answer.object if fmt.names_object else answer.pred} if fmt.boxes else {}
    parts |= {"think_bbox": answer.think} if fmt.think else {}
    assert set(answer.failures) == {part for part, found in parts.items() if found is None}
    written = numbers_in(text)
    indices = {round_half_down(n) for n in written} if fmt.unit == "second" else written
    if fmt.style == "span_json":  # of a time between two seconds, the boxes say which one counts
        indices |= {int(n) for n in written} | {int(n) + 1 for n in written}
    places = indices if fmt.style == "qwen_json" else written
    if answer.span is not None:
        assert all(0 <= end <= HIGHEST_INDEX for end in answer.span)
        assert indices.issuperset(answer.span), "each end is a whole number of the text, no part of one"
    for boxes in (answer.think, answer.pred):
        if boxes is not None:
            assert places.issuperset(boxes.index.tolist())
            sides = np.abs(boxes.boxes_xyxy[~np.isnan(boxes.boxes_xyxy)]).tolist()
            if fmt.shares:
                assert (
                    np.isclose(sorted(written), np.array(sides)[:, None] / 1000, rtol=1e-12, atol=0).any(axis=1).all()
                )
            else:
                assert written.issuperset(sides)
        if boxes is not None:
            assert len(boxes.index) == len(boxes.boxes_xyxy) > 0
            assert ((boxes.index >= 0) & (boxes.index < HIGHEST_INDEX)).all()
            assert (np.isfinite(boxes.boxes_xyxy).all(axis=1) | np.isnan(boxes.boxes_xyxy).all(axis=1)).all()
    return answer, valid


@lru_cache(maxsize=1)  # asked for once for each format
def numbers_in(text: str) -> set[float]:
    """The numbers of a text, found without the reader; a clock time counts in seconds."""
    found = set()
    for run in re.findall("[0-9.:]+", text.translate(HALF_WIDTH)):
        parts = run.rstrip(".:").lstrip(":").split(":")
        if all(part.replace(".", "", 1).isdigit() and part[0] != "." for part in parts) and len(parts) <= 3:
            found.add(sum(float(part) * 60**i for i, part in enumerate(reversed(parts))))
    return found


def round_half_down(number: float) -> int:
    """The nearest whole number, the lower of two."""
    return int(number) + (number - int(number) > 0.5)


def check_rewards(texts: Sequence[str], row_truths: Sequence[RowTruth] | None = None) -> None:
    """Check that rewards on every row are finite, within their bounds, and at most the exact answer's."""
    row_truths = rows() if row_truths is None else row_truths
    batch = Batch([text for text in texts for _ in row_truths], list(row_truths) * len(texts))
    for name, reward in REWARDS.items():
        values = reward(batch)
        low, high = BOUNDS[name]
        fine = np.isfinite(values) & (values >= low) & (values <= high)
        assert fine.all(), (name, values[~fine][0], texts[int(np.flatnonzero(~fine)[0]) // len(row_truths)])
    for i, row in enumerate(row_truths):
        own = Batch(texts, [row] * len(texts))
        weights = usual_weights([row])
        most = float(total(own, weights).max(initial=-np.inf))
        assert most <= full_mark(row, weights) + 1e-9, (i, most)


def check_scores(texts: Sequence[str]) -> None:
    """Check that scores lie in [0, 1] under every protocol, for think boxes and for final boxes."""
    truth = standing()
    row = make_row_truth(truth, VideoInfo.nominal(truth), Settings(max_side=196))
    tubes: list[Tube | None] = []
    for text in texts:
        answer = row.format.parse(text)
        if answer.span is None or not answer.span[0] <= answer.span[1] or answer.span[0] >= row.timeline.size:
            tubes.append(None)
        else:
            tubes += [answer_tube(answer.span, boxes, row, truth) for boxes in (answer.think, answer.pred)]
    check_tubes([truth] * len(tubes), tubes)


def check_tubes(truths: Sequence[Sample], tubes: Sequence[Tube | None]) -> None:
    """Check that the scores of any tubes are finite and in [0, 1]."""
    for protocol in PROTOCOLS:
        for interpolate in (True, False):
            scores = evaluate(truths, tubes, protocol, interpolate=interpolate)
            for values in (scores.tiou, scores.viou, scores.siou):
                assert ((values >= 0) & (values <= 1)).all(), (protocol, values)  # NaN is not


def check_tubes_file(data: bytes, path: Path) -> None:
    """Check that a file of tubes raises a DataError, or gives tubes that can be scored and reasons for the others."""
    path.write_bytes(data)
    try:
        tubes, faults, _ = read_tubes(path)
    except DataError:
        return
    assert not set(tubes) & set(faults)
    assert all(kind in ("unparsable", "inconsistent") and why for kind, why in faults.values())
    for tube in tubes.values():
        first, last = tube.span_frames
        assert 0 <= first <= last <= MAX_VIDEO_FRAMES
        assert (np.abs(tube.boxes_xyxy) <= MAX_COORDINATE).all()
        assert (np.diff(tube.frames) > 0).all()
        assert ((tube.frames >= 0) & (tube.frames <= MAX_VIDEO_FRAMES)).all()
    check_tubes([standing()] * len(tubes), list(tubes.values()))


def check_row_truth(text: str) -> None:
    """Check that a text raises a DataError, or is a row on which the rewards of any answer keep their bounds."""
    try:
        row = RowTruth.from_json(text)
    except DataError:
        return
    exact = row.format.render(row.answer) if row.timeline.size <= 1000 else ""
    check_rewards(["", "<time> 2 - 5 </time> <pred_bbox> 2. [1, 2, 3, 4]", exact], [row])


def check_sample(read: Callable[[], Sequence[Sample]]) -> None:
    """Check that an annotation raises a RowError, or makes a row whose exact answer earns the full mark."""
    try:
        samples = read()
    except RowError:
        return
    for sample in samples:
        for settings in (Settings(), Settings(index_unit="second", coords="norm1000")):
            try:
                row = make_row_truth(sample, VideoInfo.nominal(sample), settings)
            except (RowError, VideoError):
                continue
            row = RowTruth.from_json(row.to_json())
            if row.timeline.size > 1000:
                continue
            weights = usual_weights([row])
            exact = Batch([row.format.render(row.answer)], [row])
            assert abs(float(total(exact, weights)[0]) - full_mark(row, weights)) < 1e-9
            check_tubes([sample], [answer_tube(row.span, row.answer.pred, row, sample)])


def check_hcstvg(entry: Any) -> None:
    """Check an entry of HC-STVG's files."""
    check_sample(lambda: [hcstvg.read_sample("a.mp4", entry, "hcstvg_v1", "test", Path("a.mp4"))])


def check_jsonl(line: str) -> None:
    """Check a line of this project's schema."""
    check_sample(
        lambda: [jsonl.read_sample(line, "line 1", DataRoot(Path("folder")), Path("folder"), "stvg_jsonl", "mine")]
    )


def check_vidstg(annotation: Any, trajectories: bytes, folder: Path) -> None:
    """Check an annotation of VidSTG with a file of VidOR's trajectories; `folder` is overwritten."""
    for part in ("vidstg", "vidstg/bbox_annos"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "vidstg/test_annotations.json").write_text(json.dumps([annotation]))
    (folder / "vidstg/bbox_annos/77.json").write_bytes(trajectories)
    check_sample(lambda: load_samples("vidstg", "test", Settings(data_root=str(folder)), LoadReport("vidstg:test")))


def check_merged(content: bytes, folder: Path) -> None:
    """Check a file with VidSTG's sentences and boxes in STCAT's or TubeDETR's form; `folder` is overwritten."""
    (folder / "vidstg/vstg_annos").mkdir(parents=True, exist_ok=True)
    (folder / "vidstg/vstg_annos/test.json").write_bytes(content)
    try:
        load_samples("vidstg", "test", Settings(data_root=str(folder)), LoadReport("vidstg:test"))
    except DataError:
        return
    check_sample(lambda: load_samples("vidstg", "test", Settings(data_root=str(folder)), LoadReport("vidstg:test")))


@cache
def standing() -> Sample:
    """An object that stands still in frames [10, 30) of 50, without a box in one of them."""
    frames = np.delete(np.arange(10, 30), 7)
    boxes_xyxy: FloatArray = np.tile([40.0, 40, 120, 120], (len(frames), 1))
    return Sample(
        id="row",
        dataset="made",
        split="up",
        sentence="it stands",
        video=Path("a.mp4"),
        annotated_frames=50,
        annotated_fps=10.0,
        size_wh=(200, 200),
        span_frames=(10, 30),
        tube_frames=frames,
        tube_xyxy=boxes_xyxy,
    )
