"""A reply of a model, converted to seconds and pixels of the video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swift_stvg.geometry import FloatArray
from swift_stvg.records import MAX_SIDE_PX
from swift_stvg.rows.row_truth import PromptSpec
from swift_stvg.rows.tracks import answer_tracks
from swift_stvg.util import validation

OK = "ok"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The readable content of a reply.

    Attributes:
        status: "ok", "unparsable" or "inconsistent"; see `Answer.fault`.
        detail: the reason if the status is not "ok"; otherwise "".
        file_span_s: start and end of the event, in seconds of the file's presentation time; None if unreadable.
        file_times_s: (K,) times of the boxes, on the same clock.
        think_xyxy, pred_xyxy: (K, 4) in pixels of the video; NaN where there is no box; None if there is no such list.

    Raises:
        RecordError: a shape, an order or a length is wrong.
    """

    status: str
    detail: str
    file_span_s: tuple[float, float] | None
    file_times_s: FloatArray
    think_xyxy: FloatArray | None
    pred_xyxy: FloatArray | None

    def __post_init__(self) -> None:
        times_s = validation.numbers("file_times_s", self.file_times_s, rising="weakly")
        lists = {name: getattr(self, name) for name in ("think_xyxy", "pred_xyxy")}
        lists = {
            name: boxes_xyxy
            if boxes_xyxy is None
            else validation.boxes(name, boxes_xyxy, times_s, largest=MAX_SIDE_PX, unread=True)
            for name, boxes_xyxy in lists.items()
        }
        validation.set_fields(self, file_times_s=times_s, **lists)


def parse(reply: str | None, spec: PromptSpec) -> Reading:
    """Read any text, in linear time, as the answer to a prompt of `ask` or of a row.

    None is read as "": some servers return it if the model wrote nothing.

    Args:
        reply: the text.
        spec: the spec that `ask` returned, or the truth of a row.

    Raises:
        RecordError: the reply is not text, or `spec` has another type.
    """
    validation.all_instances("reply", (reply,), (str, type(None)))
    validation.all_instances("spec", (spec,), PromptSpec, ", as `ask` and RowTruth.from_json give it")
    answer = spec.parse(reply or "")
    status, detail = answer.fault(spec.timeline.size, spec.scale_wh) or (OK, "")
    line, tracks = spec.timeline, {track.kind: track for track in answer_tracks(spec, answer)}
    boxes = {kind: track.boxes_xyxy * np.array(spec.source_wh * 2) for kind, track in tracks.items()}
    times_s = next((line.clip_start_s + track.times_s for track in tracks.values()), np.empty(0))
    on_grid = spec.on_grid(answer.span)
    span_s = None if on_grid is None else spec.file_span_s(on_grid)
    return Reading(status, detail, span_s, times_s, boxes.get("think"), boxes.get("pred"))
