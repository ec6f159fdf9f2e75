"""Asking about any video and sentence, where nothing is known of the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.errors import RowError, VideoError
from swift_stvg.records import VideoInfo, sentence_fault
from swift_stvg.rows.making import make_prompt, make_prompt_spec
from swift_stvg.rows.row_truth import PromptSpec
from swift_stvg.settings import Settings
from swift_stvg.sources.loading import probe_all
from swift_stvg.util import validation

ROUNDING_S = 5.01e-4
"""How far the times that a record gives are from those of the frames, at most."""


def ask(
    video: Path, sentence: str, settings: Settings, clip_s: tuple[float, float] | None = None
) -> tuple[PromptSpec, dict[str, Any]]:
    """The question, and the row that puts it to a model: `messages`, `videos` and `chat_template_kwargs`.

    Args:
        video: the file.
        sentence: what to look for.
        settings: those that the model was trained with.
        clip_s: seconds of the video's presentation time [start, end) to look at; the whole video if None.

    Raises:
        VideoError: the file is missing or no video can be read from it.
        RowError: the sentence cannot be asked about, or the clip holds no frame.
        RecordError: the clip is no two seconds.
    """
    check_sentence(sentence)
    video = Path(video)
    _, spec = prompt_spec_of(video, settings, clip_s)
    return spec, make_prompt(spec, sentence, video)


def prompt_spec_of(video: Path, settings: Settings, clip_s: tuple[float, float] | None) -> tuple[VideoInfo, PromptSpec]:
    """What a video is, and what all sentences about it have in common; arguments and errors as for `ask`."""
    info = probe_all({video}, str(video), settings)[video]
    if isinstance(info, VideoError):
        raise info
    return info, make_prompt_spec(info, settings, None if clip_s is None else clip_frames(info, clip_s))


def check_sentence(sentence: str) -> None:
    """Refuse a sentence that cannot be asked about.

    Raises:
        RowError: it is one.
    """
    if (fault := sentence_fault(sentence)) is not None:
        raise RowError(*fault)


def clip_frames(video: VideoInfo, clip_s: tuple[float, float]) -> tuple[int, int]:
    """The frames [first, end) of a video that begin within [start, end) seconds of its presentation time.

    Seconds may be those of a record, which are rounded to thousandths.

    Raises:
        RowError: there is none.
    """
    if len(validation.numbers("clip_s", clip_s)) != 2:
        validation.refuse("clip_s", "be two numbers, start and end", clip_s)
    first, end = (int(place) for place in np.searchsorted(video.frame_times_s, np.array(clip_s) - ROUNDING_S))
    if first >= end:
        lasts = f"{video.frame_times_s[0]:.2f} to {video.end_s:.2f} s"
        raise RowError(
            "clip outside the video", f"{clip_s[0]:g} to {clip_s[1]:g} s of {video.path}, which lasts from {lasts}"
        )
    return first, end
