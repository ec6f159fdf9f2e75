"""Asking about any video and sentence, where nothing is known of the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.errors import RowError, VideoError
from swift_stvg.records import VideoInfo, sentence_fault
from swift_stvg.rows import Question, make_prompt, make_question
from swift_stvg.settings import Settings
from swift_stvg.sources import probe_all


def ask(
    video: Path, sentence: str, settings: Settings, clip_s: tuple[float, float] | None = None
) -> tuple[Question, dict[str, Any]]:
    """The question, and the row that puts it to a model: `messages`, `videos` and `chat_template_kwargs`.

    Args:
        video: the file.
        sentence: what to look for.
        settings: those that the model was trained with.
        clip_s: seconds of the video [start, end) to look at; the whole video if None.

    Raises:
        VideoError: the file is missing or no video can be read from it.
        RowError: the sentence cannot be asked about, or the clip holds no frame.
    """
    check_sentence(sentence)
    info = probe_all({video}, str(video), settings)[video]
    if isinstance(info, VideoError):
        raise info
    question = make_question(info, settings, None if clip_s is None else clip_frames(info, clip_s))
    return question, make_prompt(question, sentence, video)


def check_sentence(sentence: str) -> None:
    """Refuse a sentence that cannot be asked about.

    Raises:
        RowError: it is one.
    """
    if (fault := sentence_fault(sentence)) is not None:
        raise RowError(*fault)


def clip_frames(video: VideoInfo, clip_s: tuple[float, float]) -> tuple[int, int]:
    """The frames [first, end) of a video that begin within [start, end) seconds after its first one.

    Raises:
        RowError: there is none.
    """
    times_s = video.frame_times_s - video.frame_times_s[0]
    first, end = (int(place) for place in np.searchsorted(times_s, clip_s))
    if first >= end:
        length_s = video.end_s - float(video.frame_times_s[0])
        raise RowError(
            "clip outside the video", f"{clip_s[0]:g} to {clip_s[1]:g} s of {video.path}, which lasts {length_s:.2f} s"
        )
    return first, end
