"""The truth of a row whose `stvg` column is lost: read from its prompt, its request for frames, and its exact answer.

`swift sample` gives rewards the messages, the video and the row's own answer, and no other column.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.errors import DataError
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from swift_stvg.video.request import VideoRequest
from swift_stvg.video.timeline import Timeline, nearest

_GRID = re.compile(r"<video>\((frame|second)s 0 - ([0-9]{1,7})[,)]")
"""How `making.describe_video` begins."""


def truth_of_target(prompt: str, request: VideoRequest, target: str, settings: Settings) -> RowTruth:
    """The truth that an exact answer states.

    It differs from the row's own truth in one case: an index without an annotated box has the nearest box.

    Args:
        prompt: the text of the user's message.
        request: the row's request for frames.
        target: the row's exact answer.
        settings: the settings that the row was made with.

    Raises:
        DataError: the prompt is not one of this package, or the answer has another format than the settings say.
    """
    found = _GRID.search(prompt)
    if found is None:
        raise DataError(
            f"the prompt does not say how its frames are counted, as rows of swift_stvg do: {prompt[:80]!r}"
        )
    settings = replace(settings, index_unit=found[1], coords=request.coords)
    frames, times_s = np.array(request.frames), np.array(request.times_s)
    pointed_at = frames
    if settings.index_unit == "second":
        pointed_at = frames[nearest(times_s, np.arange(int(found[2]) + 1, dtype=np.float64))]
    interval_s = 1 / request.fps
    end_s = float(times_s[-1]) + interval_s
    answer, valid = AnswerFormat.of(settings).read(target)
    if not valid or answer.span is None:
        raise DataError(
            "the row's own answer does not have the format of these settings: set the STVG_* variables to the settings "
            f"that the rows were made with: {target[:80]!r}"
        )
    boxes = answer.pred
    return RowTruth(
        settings=settings,
        size_wh=request.size_wh,
        source_wh=request.size_wh,
        timeline=Timeline(frames, times_s, 0.0, interval_s, settings.index_unit, pointed_at, end_s),
        id="target",
        sentence=prompt,
        dataset="target",
        split="target",
        query="declarative",
        category=None,
        annotated=pointed_at,
        span=answer.span,
        index=np.empty(0, dtype=np.int64) if boxes is None else boxes.index,
        boxes_xyxy=np.empty((0, 4)) if boxes is None else boxes.boxes_xyxy,
    )
