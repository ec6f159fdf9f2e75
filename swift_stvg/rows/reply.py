"""What a reply means on the video that was asked about: seconds and pixels."""

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
    """A reply, as far as it can be read.

    Attributes:
        status: "ok", or "unparsable" or "inconsistent" as in `Answer.fault`, with what was seen in `detail`.
        detail: see there.
        file_span_s: begin and end of the event, in seconds of the file's presentation time; None if unreadable.
        file_times_s: (K,) when the boxes are, likewise.
        think_xyxy, pred_xyxy: (K, 4) in pixels of the video; NaN where there is no box, None without such a list.

    Raises:
        RecordError: shapes, order or lengths are others.
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
    """Read any text as the answer to a question of `ask`, or to a row, whatever it is; linear in its length.

    None, which servers give where a model wrote nothing, is read as "".

    Raises:
        RecordError: the reply is no text, or the question none.
    """
    validation.all_instances("reply", (reply,), (str, type(None)))
    validation.all_instances("spec", (spec,), PromptSpec, ", as `ask` and RowTruth.from_json give it")
    answer = spec.format.parse(reply or "")
    status, detail = answer.fault(spec.timeline.size, spec.scale_wh) or (OK, "")
    line, tracks = spec.timeline, {track.kind: track for track in answer_tracks(spec, answer)}
    boxes = {kind: track.boxes_xyxy * np.array(spec.source_wh * 2) for kind, track in tracks.items()}
    times_s = next((line.clip_start_s + track.times_s for track in tracks.values()), np.empty(0))
    on_grid = spec.on_grid(answer.span)
    span_s = None if on_grid is None else spec.file_span_s(on_grid)
    return Reading(status, detail, span_s, times_s, boxes.get("think"), boxes.get("pred"))
