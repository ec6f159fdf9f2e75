"""The boxes, spans and texts that are drawn onto a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from swift_stvg.answers.format import Answer
from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.rows.row_truth import PromptSpec
from swift_stvg.rows.tracks import Track, answer_tracks, true_tracks
from swift_stvg.util import validation

DRAWING_VERSION = 2
"""Increased when the same overlay is drawn differently, so that older drawings are not used again."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """The boxes, spans and texts that are drawn onto a clip.

    Attributes:
        sentence: the sentence that the model was asked about.
        tracks: boxes over time, at most one track of each kind.
        frames: (T,) numbers of the native frames that the model saw, increasing.
        times_s: (T,) times of these frames in seconds from the clip's first frame.
        clip_start_s: presentation time of the clip's first frame in the file, in seconds.
        duration_s: the clip's duration in seconds.
        scores: scores by name, in the order of display.

    Raises:
        RecordError: an array has a wrong shape, order or length.
    """

    sentence: str
    tracks: tuple[Track, ...]
    frames: IntArray
    times_s: FloatArray
    clip_start_s: float
    duration_s: float
    scores: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        validation.all_instances("tracks", self.tracks, Track)
        frames = validation.integers("frames", self.frames)
        times_s = validation.numbers("times_s", self.times_s, rising="weakly")
        if validation.same_length("frame", frames=frames, times_s=times_s) == 0:
            validation.refuse("frames", "hold at least one frame", "none")
        validation.numbers("clip_start_s, duration_s", (self.clip_start_s, self.duration_s))
        validation.set_fields(self, frames=frames, times_s=times_s)

    @property
    def rate(self) -> float:
        """Native frames per second between the first and the last frame that the model saw."""
        lasts_s = float(self.times_s[-1] - self.times_s[0])
        return int(self.frames[-1] - self.frames[0]) / lasts_s if lasts_s > 0 else 1.0

    @classmethod
    def of(
        cls,
        spec: PromptSpec,
        sentence: str,
        answer: Answer | str | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> Overlay:
        """The truth of a row, if it is known, and the boxes and span of an answer to the row.

        Args:
            spec: the truth of the row, or a prompt spec without the truth.
            sentence: the sentence that the row asks about.
            answer: the model's text, or the answer that was read from it; None to draw the truth alone.
            scores: scores to show beside the legend.
        """
        line = spec.timeline
        if isinstance(answer, str):
            answer = spec.parse(answer)
        return cls(
            sentence=sentence,
            tracks=(*true_tracks(spec), *answer_tracks(spec, answer)),
            frames=line.frames,
            times_s=line.times_s,
            clip_start_s=line.clip_start_s,
            duration_s=line.end_s,
            scores=dict(scores or {}),
        )

    @classmethod
    def of_two(cls, first: Overlay | None, second: Overlay | None, scores: Mapping[str, float]) -> Overlay:
        """The truth of a sample, and the final boxes and spans of two systems, A and B.

        Args:
            first, second: the drawing of each system's answer to the same sample; None for a system without an answer.
                One of the two must have an answer.
            scores: scores to show beside the legend.
        """
        base = first or second
        if base is None:
            raise ValueError("one of two systems must have an answer")
        tracks = [track for track in base.tracks if track.kind == "truth"]
        for kind, overlay in (("first", first), ("second", second)):
            if overlay is not None:
                tracks += [replace(track, kind=kind) for track in overlay.tracks if track.kind == "pred"]
        return replace(base, tracks=tuple(tracks), scores=dict(scores))

    def to_data(self) -> dict[str, Any]:
        """Everything that the drawing depends on except the video, for JSON."""
        return {
            "version": DRAWING_VERSION,
            "sentence": self.sentence,
            "tracks": [
                [t.kind, t.span_s, t.times_s.tolist(), np.where(np.isnan(t.boxes_xyxy), -9, t.boxes_xyxy).tolist()]
                for t in self.tracks
            ],
            "clip": [self.frames.tolist(), self.times_s.tolist(), self.clip_start_s, self.duration_s],
            "scores": dict(self.scores),
        }
