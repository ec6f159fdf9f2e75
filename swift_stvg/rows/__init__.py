"""Rows for ms-swift: the prompt, and the truth and settings that each row carries."""

from swift_stvg.rows.contract import Contract, Question
from swift_stvg.rows.making import frame_size, make_contract, make_prompt, make_question, make_row
from swift_stvg.rows.reply import Reading, parse
from swift_stvg.video.request import VIDEO_KEY, VideoRequest

__all__ = [
    "VIDEO_KEY",
    "Contract",
    "Question",
    "Reading",
    "VideoRequest",
    "frame_size",
    "make_contract",
    "make_prompt",
    "make_question",
    "make_row",
    "parse",
]
