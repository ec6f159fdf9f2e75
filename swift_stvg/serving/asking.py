"""Questions about any video and sentence, without a known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.errors import RowError, VideoError
from swift_stvg.records import VideoInfo, sentence_fault
from swift_stvg.rows.making import make_prompt, make_prompt_spec
from swift_stvg.rows.row_truth import PromptSpec
from swift_stvg.settings import Settings
from swift_stvg.sources.proposals import load_proposals
from swift_stvg.util import validation
from swift_stvg.video.probing import probe_all

ROUNDING_S = 5.01e-4
"""The largest rounding error of the times in a record, in seconds."""


def ask(
    video: Path, sentence: str, settings: Settings, clip_s: tuple[float, float] | None = None
) -> tuple[PromptSpec, dict[str, Any]]:
    """The question, and the row that puts it to a model: `messages`, `videos` and `chat_template_kwargs`.

    Args:
        video: the video's path.
        sentence: what to look for.
        settings: the settings of the training.
        clip_s: the part [start, end) of the video to look at, in seconds of presentation time; the whole video if None.

    Raises:
        VideoError: the video is missing or cannot be read.
        RowError: the sentence is not valid; the clip has no frame; or the video has no tracks, for STVG_STYLE=ids.
        RecordError: `clip_s` is not two numbers.
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
    clip = None if clip_s is None else clip_frames(info, clip_s)
    return info, make_prompt_spec(info, settings, clip, load_proposals(settings).of(video))


def check_sentence(sentence: str) -> None:
    """Refuse a sentence that is empty, too long or not valid text.

    Raises:
        RowError: the sentence is not valid.
    """
    if (fault := sentence_fault(sentence)) is not None:
        raise RowError(*fault)


def clip_frames(video: VideoInfo, clip_s: tuple[float, float]) -> tuple[int, int]:
    """The frames [first, end) of a video that begin within [start, end) seconds of its presentation time.

    Seconds may come from a record, which rounds them to thousandths.

    Raises:
        RowError: no frame begins there.
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
