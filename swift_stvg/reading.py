"""What a reply means on the video that was asked about: seconds and pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swift_stvg.drawing import Overlay
from swift_stvg.geometry import FloatArray
from swift_stvg.rows import Question

OK = "ok"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A reply, as far as it can be read.

    Attributes:
        status: "ok", or "unparsable" or "inconsistent" as in `Answer.fault`, with what was seen in `detail`.
        detail: see there.
        span_s: when the event begins and ends, in seconds of the video's presentation time; None if it cannot be read.
        times_s: (K,) when the boxes are, likewise.
        think_xyxy, pred_xyxy: (K, 4) in pixels of the video; NaN where there is no box, None without such a list.
    """

    status: str
    detail: str
    span_s: tuple[float, float] | None
    times_s: FloatArray
    think_xyxy: FloatArray | None
    pred_xyxy: FloatArray | None


def parse(reply: str | None, question: Question) -> Reading:
    """Read any text as the answer to a question of `ask`, or to a row; never raises, linear in its length.

    None, which servers give where a model wrote nothing, is read as "".
    """
    answer = question.format.parse(reply or "")
    status, detail = answer.fault(question.timeline.size, question.scale_wh) or (OK, "")
    line, tracks = question.timeline, {track.kind: track for track in Overlay.of(question, "", answer).tracks}
    tracks.pop("truth", None)
    boxes = {kind: track.boxes_xyxy * np.array(question.source_wh * 2) for kind, track in tracks.items()}
    times_s = next((line.clip_start_s + track.times_s for track in tracks.values()), np.empty(0))
    on_grid = question.on_grid(answer.span)
    span_s = None if on_grid is None else question.span_s(on_grid)
    return Reading(status, detail, span_s, times_s, boxes.get("think"), boxes.get("pred"))
