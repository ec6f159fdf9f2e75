"""Samples to ms-swift rows, and the contract that each row carries.

A row holds everything needed to score an answer to it, so rewards and the scorer read the row and nothing else:

    messages              [system,] user (the video, the sentence, the timeline), assistant (the exact answer)
    videos                [path]
    chat_template_kwargs  {"stvg_video": JSON}: what the template needs to decode and size the frames
    stvg                  JSON of `Contract`
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from swift_stvg.answers import Answer, AnswerFormat, BoxList
from swift_stvg.errors import DataError, RowError, VideoError
from swift_stvg.geometry import FloatArray, IntArray, clip_boxes
from swift_stvg.records import WIDEST, Sample, VideoInfo
from swift_stvg.settings import Settings
from swift_stvg.timeline import Timeline, annotated_clip, annotated_frames, nearest

CONTRACT_VERSION = 2
VIDEO_KEY = "stvg_video"
"""Key of `chat_template_kwargs` under which a row tells the template about its video."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What a model is shown and in which form it is to answer, whether the truth is known or not.

    Attributes:
        settings: those that the prompt was made with; the data root does not belong to them.
        size_wh: frame size in pixels, as the model receives it.
        source_wh: frame size in pixels, as decoded.
        timeline: the sampled frames and the index grid.
        clip_end_s: presentation time in the file at which the clip ends; None where a row does not say.
    """

    settings: Settings
    size_wh: tuple[int, int]
    source_wh: tuple[int, int]
    timeline: Timeline
    clip_end_s: float | None = field(default=None, kw_only=True)

    @property
    def format(self) -> AnswerFormat:
        """The answer format that the prompt asks for."""
        return self.settings.answer_format

    @property
    def scale_wh(self) -> tuple[int, int]:
        """Extent of the text's coordinates."""
        return self.format.scale_wh(self.size_wh)

    def on_grid(self, span: tuple[int, int] | None) -> tuple[int, int] | None:
        """The part of an answer's span that is on the grid; None if it runs backwards or begins after the clip."""
        if span is None or span[0] > min(span[1], self.timeline.size - 1):
            return None
        return span[0], min(span[1], self.timeline.size - 1)

    @property
    def duration_s(self) -> float:
        """Length of the clip in seconds, or until its last sample ends where a row does not say."""
        return self.timeline.end_s if self.clip_end_s is None else self.clip_end_s - self.timeline.clip_start_s

    def clip_span_s(self, on_grid: tuple[int, int]) -> tuple[float, float]:
        """When a span on the grid begins and ends, in seconds from the clip's start, within the clip.

        It reaches half an interval beyond its first and last index, and to the ends of the clip from its ends.
        """
        begin_s, end_s = self.timeline.span_s(on_grid)
        return begin_s, self.duration_s if on_grid[1] == self.timeline.size - 1 else min(end_s, self.duration_s)

    def span_s(self, on_grid: tuple[int, int]) -> tuple[float, float]:
        """The same in seconds of the file's presentation time."""
        begin_s, end_s = self.clip_span_s(on_grid)
        return self.timeline.clip_start_s + begin_s, self.timeline.clip_start_s + end_s


@dataclass(frozen=True, slots=True, eq=False)
class Contract(Question):
    """What scoring an answer to a row needs: the question with the truth.

    Attributes:
        id, dataset, split, query, category: as in `Sample`.
        annotated: (size,) annotated frame number of the frame that each index points at.
        span: closed span of grid indices during which the event is annotated.
        index: (M,) indices of the span that have an annotated box, increasing; gaps are left out. None where the format
            has no boxes.
        boxes_xyxy: (M, 4) whole numbers in the coordinates of the text (pixels of `size_wh`, or thousandths).
    """

    id: str
    dataset: str
    split: str
    query: str
    category: str | None
    annotated: IntArray
    span: tuple[int, int]
    index: IntArray
    boxes_xyxy: FloatArray

    @property
    def answer(self) -> Answer:
        """The exact answer, which earns the full reward; an index in an annotation gap repeats the nearest box."""
        if not self.format.boxes:
            return Answer(self.span, None, None)
        wanted = np.arange(self.span[0], self.span[1] + 1, dtype=np.int64)
        boxes = BoxList(wanted, self.boxes_xyxy[nearest(self.index, wanted)])
        return Answer(self.span, boxes if self.format.think else None, boxes)

    def to_json(self) -> str:
        """One line of JSON; `from_json` reads it back."""
        line = self.timeline
        return _dumps(
            {
                "v": CONTRACT_VERSION,
                "id": self.id,
                "dataset": self.dataset,
                "split": self.split,
                "query": self.query,
                "category": self.category,
                "settings": self.settings.to_texts(),
                "size_wh": self.size_wh,
                "source_wh": self.source_wh,
                "frames": line.frames.tolist(),
                "times_s": [round(t, 4) for t in line.times_s.tolist()],
                "clip_start_s": round(line.clip_start_s, 4),
                "interval_s": line.interval_s,
                "index_frames": None if line.unit == "frame" else line.index_frames.tolist(),
                "annotated": None if np.array_equal(self.annotated, line.index_frames) else self.annotated.tolist(),
                "span": self.span,
                "boxes": [
                    [i, *map(int, box)] for i, box in zip(self.index.tolist(), self.boxes_xyxy.tolist(), strict=True)
                ],
            }
        )

    @staticmethod
    def from_json(text: str) -> Contract:
        """Read what `to_json` wrote.

        Raises:
            DataError: the text is not such a contract, or one of another version.
        """
        if not isinstance(text, str):
            raise DataError(f"the `stvg` column must hold the text of a row contract, got {text!r:.80}")
        return _read_contract(text)

    def _fault(self) -> str | None:
        """What a row cannot say."""
        line, (first, last) = self.timeline, self.span
        names = [self.id, self.dataset, self.split, self.query]
        if not all(isinstance(name, str) for name in names) or not isinstance(self.category, str | None):
            return "names that are no text"
        if not all(0 < side <= WIDEST for side in (*self.size_wh, *self.source_wh)):
            return f"frames of {self.size_wh} and {self.source_wh} pixels"
        lists = (line.frames, line.times_s, line.index_frames, self.annotated)
        if {array.ndim for array in lists} != {1} or not (
            0 < len(line.frames) == len(line.times_s) and line.size == len(self.annotated) > 0
        ):
            return "frames, times and indices that differ in number"
        if not (np.diff(line.frames) > 0).all() or not (np.diff(self.annotated) >= 0).all() or self.annotated[0] < 0:
            return "frames that are not in order"
        if not np.isfinite([*line.times_s, line.clip_start_s, line.interval_s]).all() or line.interval_s <= 0:
            return "times that are no times"
        if not 0 <= first <= last < line.size:
            return f"the event at {self.span} of {line.size} indices"
        inside = (self.index >= first) & (self.index <= last)
        if (len(self.index) > 0) != self.format.boxes or not (inside.all() and (np.diff(self.index) > 0).all()):
            return "boxes that are not in order within the event"
        if not (self.boxes_xyxy[:, :2] < self.boxes_xyxy[:, 2:]).all():
            return "boxes without an area"
        if not ((self.boxes_xyxy >= 0) & (self.boxes_xyxy <= (*self.scale_wh, *self.scale_wh))).all():
            return "boxes outside the frame"
        return None


def frame_size(source_wh: tuple[int, int], max_side: int, multiple: int) -> tuple[int, int]:
    """Size in pixels at which the model receives a frame.

    The longer side is at most `max_side` and never enlarged, the aspect ratio is kept, and both sides are rounded to
    the nearest multiple of `multiple` (at least one, never beyond `max_side`).
    """
    scale = min(1.0, max_side / max(source_wh))
    largest = max_side // multiple * multiple
    width, height = (min(largest, max(multiple, round(side * scale / multiple) * multiple)) for side in source_wh)
    return width, height


def make_row(sample: Sample, video: VideoInfo, settings: Settings) -> dict[str, Any]:
    """One ms-swift row.

    Raises:
        RowError, VideoError: the annotation does not fit the video; the reason is what the loader counts.
    """
    contract = make_contract(sample, video, settings)
    row = make_prompt(contract, sample.sentence, video.path)
    row["messages"].append({"role": "assistant", "content": contract.format.render(_target(contract))})
    return row | {"stvg": contract.to_json()}


def make_prompt(question: Question, sentence: str, video: Path) -> dict[str, Any]:
    """What of a row does not depend on the truth: messages without an answer, the video, and its frames."""
    settings = question.settings
    content = ["<video>" + video_facts(question), sentence.strip()]
    system = [{"role": "system", "content": question.format.instruction()}] if settings.system_prompt else []
    return {
        "messages": [
            *system,
            {"role": "user", "content": "\n".join(reversed(content) if settings.query_first else content)},
        ],
        "videos": [str(video)],
        "chat_template_kwargs": {VIDEO_KEY: VideoRequest.of(question).to_json()},
    }


def sentence_of(messages: Any) -> str:
    """The sentence that a row's messages ask about, as `make_row` wrote them; "" where it cannot be found."""
    try:
        content = next(m["content"] for m in messages if m["role"] == "user")
        if content.startswith("<video>"):
            return str(content.partition("\n")[2])
        return str(content.rpartition("\n<video>")[0])
    except (TypeError, KeyError, AttributeError, StopIteration):
        return ""


def make_question(video: VideoInfo, settings: Settings, clip: tuple[int, int] | None = None) -> Question:
    """What a model sees of the decoded frames [first, end) of a video, or of all."""
    timeline = Timeline.sample(
        video.frame_times_s,
        video.end_s,
        fps=settings.fps,
        max_frames=settings.max_frames,
        clip=clip,
        unit=settings.index_unit,
    )
    at_end = video.n_frames if clip is None else clip[1]
    return Question(
        settings,
        frame_size(video.size_wh, settings.max_side, settings.side_multiple),
        video.size_wh,
        timeline,
        clip_end_s=float(video.frame_times_s[at_end]) if at_end < video.n_frames else video.end_s,
    )


def make_contract(sample: Sample, video: VideoInfo, settings: Settings) -> Contract:
    """The ground truth of a sample on the grid of what the model sees; raises as `make_row` does."""
    video = video.at_rate(sample.annotated_fps)
    _check_fit(sample, video)
    numbers = annotated_frames(video.frame_times_s, sample.annotated_frames, sample.annotated_fps)  # (N,)
    clip = annotated_clip(numbers, sample.clip)
    if clip[0] >= clip[1]:
        raise RowError("clip outside the video", f"clip {sample.clip_frames} of {video.path}, row {sample.id}")
    if sample.span_frames[0] > numbers[clip[1] - 1] or sample.span_frames[1] <= numbers[clip[0]]:
        raise VideoError(
            "event outside the video",
            f"event {sample.span_frames}, frames {numbers[clip[0]]} to {numbers[clip[1] - 1]} decoded, {video.path}, "
            f"row {sample.id}",
        )
    question = make_question(video, settings, clip)
    shown = numbers[question.timeline.index_frames]  # (size,) annotated frame of each index
    span, index, boxes_xyxy = truth_on_grid(sample, shown, question)
    return Contract(
        id=sample.id,
        dataset=sample.dataset,
        split=sample.split,
        query=sample.query,
        category=sample.category,
        settings=settings,
        size_wh=question.size_wh,
        source_wh=question.source_wh,
        timeline=question.timeline,
        annotated=shown,
        span=span,
        index=index,
        boxes_xyxy=boxes_xyxy,
    )


def truth_on_grid(
    sample: Sample, annotated: IntArray, question: Question
) -> tuple[tuple[int, int], IntArray, FloatArray]:
    """The ground truth of a sample as an answer can say it.

    Args:
        sample: the annotation.
        annotated: (size,) annotated frame that each index points at.
        question: what is asked: for boxes or not, in which coordinates.

    Returns:
        The closed span of the indices inside the event, or the nearest one of an event between two; the indices (M,) in
        it that have a box, of an event between two the nearest box; and the boxes (M, 4), whole numbers. M is 0 where
        no boxes are asked for.

    Raises:
        RowError: no box can be learned from, or none lies on an index.
    """
    first, end = sample.span_frames
    inside = np.flatnonzero((annotated >= first) & (annotated < end))
    between = len(inside) == 0
    if between:
        inside = np.array([np.abs(annotated - np.clip(annotated, first, end - 1)).argmin()])
    span = (int(inside[0]), int(inside[-1]))
    if not question.format.boxes:
        return span, np.empty(0, dtype=np.int64), np.empty((0, 4))
    frames, boxes_xyxy = sample.usable_tube()
    if len(frames) == 0:
        why = "set STVG_BOXES=false to ask for the time alone, " if sample.time_only else ""
        raise RowError(
            "no usable box", f"none of {len(sample.tube_frames)} has an area inside the frame, {why}row {sample.id}"
        )
    position = nearest(frames, annotated[inside])  # (I,)
    has_box = (frames[position] == annotated[inside]) | between
    if not has_box.any():
        raise RowError(
            "no box on a sampled frame",
            f"{len(frames)} boxes in frames [{first}, {end}), none among the sampled {annotated[inside].tolist()}, "
            f"row {sample.id}",
        )
    boxes_on_grid = _on_text_grid(boxes_xyxy[position[has_box]], sample.size_wh, question.scale_wh)
    return span, inside[has_box], boxes_on_grid


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """What the template needs of a row: which frames, at which size, at which rate, for which coordinates, and when.

    `times_s` holds, for each frame, its true time in seconds from the clip's start.
    """

    frames: tuple[int, ...]
    size_wh: tuple[int, int]
    fps: float
    coords: str
    times_s: tuple[float, ...]

    @classmethod
    def of(cls, question: Question) -> VideoRequest:
        """The request that fits a question."""
        return cls.on(question.timeline, question.size_wh, question.format.coords)

    @classmethod
    def on(cls, line: Timeline, size_wh: tuple[int, int], coords: str) -> VideoRequest:
        """The request for the samples of a timeline."""
        times_s = tuple(round(t, 4) for t in line.times_s.tolist())
        return cls(tuple(line.frames.tolist()), size_wh, line.fps, coords, times_s)

    def to_json(self) -> str:
        """One line of JSON; `from_json` reads it back."""
        return _dumps(self)

    @classmethod
    def from_json(cls, text: str) -> VideoRequest:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        times_s = tuple(map(float, data["times_s"]))
        return cls(tuple(data["frames"]), _pair(data["size_wh"]), float(data["fps"]), data["coords"], times_s)


def _target(contract: Contract) -> Answer:
    """What SFT learns to write: the exact answer, with think boxes that are off as the settings say.

    One draw moves the sides of all boxes of a tube alike. Drawn box by box, the mean of the think boxes would give the
    truth away, and refining could be learned without looking at the video.
    """
    answer, jitter = contract.answer, contract.settings.think_jitter
    if answer.think is None or jitter == 0:
        return answer
    seed = [contract.settings.think_seed, *hashlib.sha256(f"{contract.dataset}/{contract.id}".encode()).digest()]
    boxes_xyxy = answer.think.boxes_xyxy
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]  # (W, 2)
    moved = boxes_xyxy + np.random.default_rng(seed).normal(0, jitter, 4) * np.tile(sides, 2)
    moved = np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], axis=1)
    think = BoxList(answer.think.index, _on_text_grid(moved, contract.scale_wh, contract.scale_wh))
    return replace(answer, think=think)


def video_facts(question: Question) -> str:
    """What the model is told of the timeline and the frame size."""
    line, answer_format = question.timeline, question.format
    counted = "frame" if answer_format.unit == "frame" else "second"
    facts = f"{counted}s 0 - {line.size - 1}"
    if answer_format.unit == "frame":
        facts += f", {line.fps:.4g} per second"
    if answer_format.coords == "pixel":
        facts += f", {question.size_wh[0]} x {question.size_wh[1]} pixels"
    return f"({facts})"


def _check_fit(sample: Sample, video: VideoInfo) -> None:
    """Refuse a file that cannot be the annotated one: of another length, or of another shape."""
    annotated_s = sample.annotated_frames / sample.annotated_fps
    decoded_s = video.end_s - float(video.frame_times_s[0])
    same_count = abs(video.n_frames - sample.annotated_frames) <= 2
    if not same_count and abs(decoded_s - annotated_s) > max(2 / sample.annotated_fps, 0.02 * annotated_s):
        raise VideoError(
            "video and annotation differ in length",
            f"{video.n_frames} frames ({decoded_s:.2f} s) decoded, {sample.annotated_frames} ({annotated_s:.2f} s) "
            f"annotated; a truncated download? {video.path}, row {sample.id}",
        )
    aspect = (video.size_wh[0] * sample.size_wh[1]) / (video.size_wh[1] * sample.size_wh[0])
    if not 0.9 < aspect < 1.1:
        raise VideoError(
            "video and annotation differ in shape",
            f"{video.size_wh} decoded, {sample.size_wh} annotated, {video.path}, row {sample.id}",
        )


def _on_text_grid(boxes_xyxy: FloatArray, size_wh: tuple[int, int], scale_wh: tuple[int, int]) -> FloatArray:
    """Boxes (K, 4) of a frame of `size_wh` as whole numbers of a text grid of `scale_wh`, at least one unit wide."""
    limit = np.array([*scale_wh, *scale_wh], dtype=np.float64)
    boxes = np.rint(clip_boxes(boxes_xyxy, size_wh) * (limit / np.array([*size_wh, *size_wh])))
    low = np.minimum(boxes[:, :2], limit[:2] - 1)
    return np.concatenate([low, np.maximum(boxes[:, 2:], low + 1)], axis=1)


@lru_cache(maxsize=256)
def _read_contract(text: str) -> Contract:
    try:
        data = json.loads(text)
        if data["v"] != CONTRACT_VERSION:
            raise DataError(
                f"the `stvg` column has contract version {data['v']}, this package reads version "
                f"{CONTRACT_VERSION}: make the rows again with this version of swift-stvg"
            )
        boxes = np.array(data["boxes"], dtype=np.float64).reshape(-1, 5)
        if not (np.abs(boxes) < 1e9).all() or not np.array_equal(boxes, np.rint(boxes)):  # NaN is not
            raise DataError(f"the `stvg` column holds boxes that are not whole numbers: {text[:80]!r}")
        frames = np.array(data["frames"], dtype=np.int64)
        settings = _settings(tuple(data["settings"].items()))
        index_frames = frames if data["index_frames"] is None else np.array(data["index_frames"], dtype=np.int64)
        contract = Contract(
            id=data["id"],
            dataset=data["dataset"],
            split=data["split"],
            query=data["query"],
            category=data["category"],
            settings=settings,
            size_wh=_pair(data["size_wh"]),
            source_wh=_pair(data["source_wh"]),
            timeline=Timeline(
                frames,
                np.array(data["times_s"], dtype=np.float64),
                data["clip_start_s"],
                data["interval_s"],
                settings.index_unit,
                index_frames,
            ),
            annotated=index_frames if data["annotated"] is None else np.array(data["annotated"], dtype=np.int64),
            span=_pair(data["span"]),
            index=boxes[:, 0].astype(np.int64),
            boxes_xyxy=boxes[:, 1:],
        )
        fault = contract._fault()
        if fault is not None:
            raise DataError(f"the `stvg` column holds {fault}: {text[:80]!r}")
        return contract
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the `stvg` column does not hold a row contract ({error!r}): {text[:80]!r}") from None


@lru_cache(maxsize=64)
def _settings(texts: tuple[tuple[str, str], ...]) -> Settings:
    return Settings.from_texts(dict(texts))


def _dumps(data: Any) -> str:
    return msgspec.json.encode(data).decode()


def _pair(values: Any) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)
