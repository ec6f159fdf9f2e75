"""Rows for ms-swift: the prompt, the truth and the settings of each row, and the reading of replies."""

from swift_stvg.rows.making import frame_size, make_prompt, make_prompt_spec, make_row, make_row_truth
from swift_stvg.rows.reply import Reading, parse
from swift_stvg.rows.row_truth import PromptSpec, RowTruth
from swift_stvg.video.request import VIDEO_KEY, VideoRequest

__all__ = [
    "VIDEO_KEY",
    "PromptSpec",
    "Reading",
    "RowTruth",
    "VideoRequest",
    "frame_size",
    "make_prompt",
    "make_prompt_spec",
    "make_row",
    "make_row_truth",
    "parse",
]
