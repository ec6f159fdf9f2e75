"""The prompt, the settings and the truth of a row, as its column `stvg` stores them.

A row holds everything that scoring an answer needs, so rewards and the scorer read the row and nothing else. The column
`stvg` is the JSON of `RowTruth`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from swift_stvg.answers.format import Answer, AnswerFormat, BoxList
from swift_stvg.errors import DataError, RecordError
from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.records import MAX_FRAME_NUMBER, MAX_SIDE_PX
from swift_stvg.rows.objects import object_boxes
from swift_stvg.settings import Settings
from swift_stvg.util import validation
from swift_stvg.video.marks import Mark
from swift_stvg.video.timeline import Timeline, nearest

ROW_TRUTH_VERSION = 3
"""Version of the JSON; raised when its fields or their meaning change."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptSpec:
    """The frames that a model receives, and the form of its answer. The truth may be unknown.

    Attributes:
        settings: the settings of the prompt; the data root is not one of them.
        size_wh: frame size in pixels, as the model receives it.
        source_wh: frame size in pixels, as decoded.
        timeline: the sampled frames, the index grid, and the end of the clip.
        objects: for answers that name an object, the boxes of the objects 1, 2, ... in text coordinates.
        marks: the numbers of these objects on the sampled frames. The JSON of a row truth does not hold them.

    Raises:
        RecordError: a size is not positive, or the timeline and the settings have different units.
    """

    settings: Settings
    size_wh: tuple[int, int]
    source_wh: tuple[int, int]
    timeline: Timeline
    objects: tuple[BoxList, ...] = field(default=(), kw_only=True)
    marks: tuple[Mark, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        for name, value, kind in (("settings", self.settings, Settings), ("timeline", self.timeline, Timeline)):
            if not isinstance(value, kind):
                validation.refuse(name, f"be {kind.__name__}", type(value).__name__)
        validation.set_fields(
            self,
            size_wh=validation.integer_pair("size_wh", self.size_wh, low=1, high=MAX_SIDE_PX),
            source_wh=validation.integer_pair("source_wh", self.source_wh, low=1, high=MAX_SIDE_PX),
        )
        if self.timeline.unit != self.settings.index_unit:
            validation.refuse(
                "timeline.unit", f"be {self.settings.index_unit}, as the settings say", self.timeline.unit
            )
        validation.all_instances("objects", self.objects, BoxList)
        for boxes in self.objects:
            validation.integers("objects", boxes.index, most=self.timeline.size - 1)
            if len(boxes.index) == 0:
                validation.refuse("objects", "have at least one box each", "none")

    @property
    def format(self) -> AnswerFormat:
        """The answer format that the prompt asks for."""
        return AnswerFormat.of(self.settings)

    @property
    def scale_wh(self) -> tuple[int, int]:
        """Extent of the text coordinates."""
        return self.format.scale_wh(self.size_wh, self.source_wh)

    def read(self, text: str) -> tuple[Answer, bool]:
        """Read any text as an answer, in linear time, and check its form; see `AnswerFormat.read`.

        If the answer names an object, it gets that object's boxes.
        """
        answer, valid = self.format.read(text)
        return self.with_object(answer), valid

    def parse(self, text: str) -> Answer:
        """The first result of `read`."""
        return self.read(text)[0]

    def with_object(self, answer: Answer) -> Answer:
        """Add the boxes of the named object to an answer. Other answers are returned unchanged."""
        if answer.object is None or answer.span is None:
            return answer
        first, last = answer.span
        if not first <= last < self.timeline.size:
            return answer  # `Answer.fault` says why
        boxes = object_boxes(self.objects, answer.object, np.arange(first, last + 1, dtype=np.int64))
        if boxes is not None:
            return replace(answer, pred=boxes)
        failure = f"no object has the number {answer.object}; the numbers are 1 to {len(self.objects)}"
        return replace(answer, failures=dict(answer.failures) | {"pred_bbox": failure})

    def on_grid(self, span: tuple[int, int] | None) -> tuple[int, int] | None:
        """Cut an answer's span to the grid; None if the span runs backwards or begins after the clip."""
        if span is None or span[0] > min(span[1], self.timeline.size - 1):
            return None
        return span[0], min(span[1], self.timeline.size - 1)

    def file_span_s(self, on_grid: tuple[int, int]) -> tuple[float, float]:
        """Start and end of a span on the grid in seconds of the file's presentation time (`Timeline.clip_span_s`)."""
        begin_s, end_s = self.timeline.clip_span_s(on_grid)
        return self.timeline.clip_start_s + begin_s, self.timeline.clip_start_s + end_s


@dataclass(frozen=True, slots=True, eq=False)
class RowTruth(PromptSpec):
    """Everything that scoring an answer to a row needs: the prompt spec and the truth.

    Attributes:
        id, sentence, dataset, split, query, category: as in `Sample`.
        annotated: (size,) annotated frame number of the frame that each index points at.
        span: closed span of grid indices during which the event is annotated.
        index: (M,) indices of the span that have an annotated box, increasing. M is 0 if the format has no boxes.
        boxes_xyxy: (M, 4) whole numbers in text coordinates (pixels of `size_wh` or `source_wh`, or thousandths).
        object: for answers that name an object, the number of the object that covers the truth best; 0 if none covers
            it well enough. None for other answers.

    Raises:
        RecordError: a shape, an order, a range or a length is wrong.
    """

    id: str
    sentence: str
    dataset: str
    split: str
    query: str
    category: str | None
    annotated: IntArray
    span: tuple[int, int]
    index: IntArray
    boxes_xyxy: FloatArray
    object: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        PromptSpec.__post_init__(self)  # `super()` does not work in classes with slots
        where = f", row {self.id!s:.80}"
        for name in ("id", "sentence", "dataset", "split", "query"):
            validation.text(name, getattr(self, name), where)
        if self.category is not None:
            validation.text("category", self.category, where)
        if (self.object is not None) != self.format.names_object:
            validation.refuse("object", 'be a number in the style "ids", and None in others', self.object, where)
        if self.object is not None:
            validation.set_fields(
                self, object=validation.integer("object", self.object, where, low=0, high=len(self.objects))
            )
        size = self.timeline.size
        annotated = validation.integers("annotated", self.annotated, where, most=MAX_FRAME_NUMBER, rising="weakly")
        validation.same_length("index", where, index_frames=self.timeline.index_frames, annotated=annotated)
        first, last = span = validation.integer_pair("span", self.span, where, low=0, high=size - 1)
        if first > last:
            validation.refuse("span", "not run backwards", span, where)
        index = validation.integers("index", self.index, where, least=first, most=last)
        if (len(index) > 0) != self.format.boxes:
            wanted = "at least one box" if self.format.boxes else "no box, since the format has none"
            validation.refuse("index", f"hold {wanted}", len(index), where)
        boxes_xyxy = validation.boxes("boxes_xyxy", self.boxes_xyxy, index, where, largest=max(self.scale_wh))
        low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
        usable = (low >= 0) & (low < high) & (high <= self.scale_wh) & (low == np.rint(low)) & (high == np.rint(high))
        if not usable.all():
            wrong = int(np.flatnonzero(~usable.all(axis=1))[0])
            rule = f"be whole numbers, with an area, inside {self.scale_wh}"
            validation.refuse("boxes_xyxy", rule, f"{boxes_xyxy[wrong].tolist()} at index {index[wrong]}", where)
        validation.set_fields(self, annotated=annotated, span=span, index=index, boxes_xyxy=boxes_xyxy)

    @property
    def answer(self) -> Answer:
        """The exact answer, which earns the full reward; an index without an annotated box gets the nearest box."""
        if not self.format.boxes:
            return Answer(self.span, None, None)
        wanted = np.arange(self.span[0], self.span[1] + 1, dtype=np.int64)
        if self.object is not None:
            return self.with_object(Answer(self.span, None, None, object=self.object))
        boxes = BoxList(wanted, self.boxes_xyxy[nearest(self.index, wanted)])
        return Answer(self.span, boxes if self.format.think else None, boxes)

    def to_json(self) -> str:
        """One line of JSON; `from_json` reads it back."""
        line = self.timeline
        return _dumps(
            {
                "v": ROW_TRUTH_VERSION,
                "id": self.id,
                "sentence": self.sentence,
                "dataset": self.dataset,
                "split": self.split,
                "query": self.query,
                "category": self.category,
                "settings": self.settings.to_texts(),
                "size_wh": self.size_wh,
                "source_wh": self.source_wh,
                "frames": line.frames.tolist(),
                "times_s": line.times_s.tolist(),
                "clip_start_s": line.clip_start_s,
                "end_s": line.end_s,
                "interval_s": line.interval_s,
                "index_frames": None if line.unit == "frame" else line.index_frames.tolist(),
                "annotated": None if np.array_equal(self.annotated, line.index_frames) else self.annotated.tolist(),
                "span": self.span,
                "boxes": [
                    [i, *map(int, box)] for i, box in zip(self.index.tolist(), self.boxes_xyxy.tolist(), strict=True)
                ],
            }
            | (
                {}
                if self.object is None
                else {"object": self.object, "objects": [_table(boxes).tolist() for boxes in self.objects]}
            )
        )

    @staticmethod
    def from_json(text: str) -> RowTruth:
        """Read what `to_json` wrote.

        Raises:
            DataError: the text is not a row truth, or has another version.
        """
        if not isinstance(text, str):
            raise DataError(f"the `stvg` column must hold the text of a row truth, got {text!r:.80}")
        return _read_row_truth(text)


@lru_cache(maxsize=256)
def _read_row_truth(text: str) -> RowTruth:
    try:
        data = json.loads(text)
        if data["v"] != ROW_TRUTH_VERSION:
            raise DataError(
                f"the `stvg` column has version {data['v']}, but this package reads version {ROW_TRUTH_VERSION}: "
                "make the rows again with this version of swift-stvg"
            )
        boxes = _box_list("boxes", data["boxes"])
        settings = _settings(tuple(data["settings"].items()))
        index_frames = data["frames"] if data["index_frames"] is None else data["index_frames"]
        return RowTruth(
            id=data["id"],
            sentence=data["sentence"],
            dataset=data["dataset"],
            split=data["split"],
            query=data["query"],
            category=data["category"],
            settings=settings,
            size_wh=data["size_wh"],
            source_wh=data["source_wh"],
            timeline=Timeline(
                data["frames"],
                data["times_s"],
                data["clip_start_s"],
                data["interval_s"],
                settings.index_unit,
                index_frames,
                data["end_s"],
            ),
            annotated=index_frames if data["annotated"] is None else data["annotated"],
            span=data["span"],
            index=boxes.index,
            boxes_xyxy=boxes.boxes_xyxy,
            object=data.get("object"),
            objects=tuple(_box_list("objects", table) for table in data.get("objects", ())),
        )
    except RecordError as error:
        raise DataError(f"the `stvg` column does not hold a row truth: {error}: {text[:80]!r}") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the `stvg` column does not hold a row truth ({error!r}): {text[:80]!r}") from None


def _table(boxes: BoxList) -> FloatArray:
    """Index, x1, y1, x2, y2 of each box, (K, 5)."""
    return np.column_stack([boxes.index, boxes.boxes_xyxy])


def _box_list(name: str, table: Any) -> BoxList:
    """Read rows of index, x1, y1, x2, y2."""
    boxes = np.array(table, dtype=np.float64).reshape(-1, 5)
    if not (np.abs(boxes[:, 0]) < 1e9).all() or not np.array_equal(boxes[:, 0], np.rint(boxes[:, 0])):
        validation.refuse(name, "begin with whole numbers", boxes[:, 0].tolist())
    return BoxList(boxes[:, 0].astype(np.int64), boxes[:, 1:])


@lru_cache(maxsize=64)
def _settings(texts: tuple[tuple[str, str], ...]) -> Settings:
    return Settings.from_texts(dict(texts))


def _dumps(data: Any) -> str:
    return msgspec.json.encode(data).decode()
