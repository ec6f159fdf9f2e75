"""Samples to ms-swift rows.

messages              [system,] user (the video, the sentence, the timeline), assistant (the exact answer)
videos                [path]
chat_template_kwargs  {"stvg_video": JSON of `VideoRequest`}, from which the template decodes and resizes the frames;
                      "stvg_settings": JSON of the settings; they must equal the settings of the model
stvg                  JSON of `RowTruth`
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.answers.format import Answer, BoxList
from swift_stvg.answers.styles import STYLE_CLASSES
from swift_stvg.errors import DataError, RowError, VideoError
from swift_stvg.geometry import FloatArray, IntArray, clip_boxes
from swift_stvg.records import Sample, VideoInfo
from swift_stvg.rows.objects import ClipObjects, VideoTracks, best_object
from swift_stvg.rows.row_truth import PromptSpec, RowTruth
from swift_stvg.settings import Settings
from swift_stvg.video.request import VIDEO_KEY, VideoRequest
from swift_stvg.video.timeline import (
    Timeline,
    annotated_clip,
    annotated_frames,
    frames_before,
    is_same_rate,
    nearest,
    off_by_s,
    slack_s,
)

SETTINGS_KEY = "stvg_settings"
"""Key of `chat_template_kwargs` under which a row stores the settings that it was made with."""
_SAME_COUNT = 2
"""Frame counts of the same video may differ by this many."""


def frame_size(source_wh: tuple[int, int], max_side: int, multiple: int) -> tuple[int, int]:
    """Size in pixels at which the model receives a frame.

    The longer side becomes at most `max_side`; a frame is never enlarged, and its aspect ratio is kept. Both sides are
    rounded to the nearest multiple of `multiple`, at least one multiple and never more than `max_side`.
    """
    scale = min(1.0, max_side / max(source_wh))
    largest = max_side // multiple * multiple
    width, height = (min(largest, max(multiple, round(side * scale / multiple) * multiple)) for side in source_wh)
    return width, height


def make_row(sample: Sample, video: VideoInfo, settings: Settings, tracks: VideoTracks | None = None) -> dict[str, Any]:
    """Make one ms-swift row. `tracks` are the tracks of objects in the video, for answers that name an object.

    Raises:
        RowError, VideoError: the annotation does not fit the video. The load report counts the error by its reason.
    """
    row_truth = make_row_truth(sample, video, settings, tracks)
    row = make_prompt(row_truth, sample.sentence, video.path)
    row["messages"].append({"role": "assistant", "content": row_truth.format.render(_target(row_truth))})
    return row | {"stvg": row_truth.to_json()}


def make_prompt(spec: PromptSpec, sentence: str, video: Path) -> dict[str, Any]:
    """The part of a row that does not depend on the truth: messages without an answer, the video, and its frames."""
    settings = spec.settings
    content = ["<video>" + describe_video(spec), sentence.strip()]
    system = [{"role": "system", "content": spec.format.instruction()}] if settings.system_prompt else []
    return {
        "messages": [
            *system,
            {"role": "user", "content": "\n".join(reversed(content) if settings.query_first else content)},
        ],
        "videos": [str(video)],
        "chat_template_kwargs": {
            VIDEO_KEY: video_request(spec).to_json(),
            SETTINGS_KEY: json.dumps(settings.to_texts()),
        },
    }


@lru_cache(maxsize=64)
def settings_of(text: str) -> Settings:
    """The settings that a row has under `SETTINGS_KEY`.

    Raises:
        DataError, SettingsError: the text does not hold settings.
    """
    try:
        return Settings.from_texts(json.loads(text))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{SETTINGS_KEY} of a row does not hold settings: {text[:80]!r}") from None


def video_request(spec: PromptSpec) -> VideoRequest:
    """The frames that a prompt shows."""
    labels = "seconds" if STYLE_CLASSES[spec.format.style].knows_seconds else "numbers"
    outlines = spec.settings.marks == "outlines"
    return VideoRequest.on(spec.timeline, spec.size_wh, spec.format.coords, labels, spec.marks, outlines)


def make_prompt_spec(
    video: VideoInfo, settings: Settings, clip: tuple[int, int] | None = None, tracks: VideoTracks | None = None
) -> PromptSpec:
    """The prompt spec for the decoded frames [first, end) of a video, or for all its frames.

    Raises:
        RowError: answers name an object, and the video has no tracks, or none on the sampled frames.
    """
    timeline = Timeline.sample(
        video.frame_times_s,
        video.end_s,
        fps=settings.fps,
        max_frames=settings.max_frames,
        clip=clip,
        unit=settings.index_unit,
    )
    size_wh = frame_size(video.size_wh, settings.max_side, settings.side_multiple)
    spec = PromptSpec(settings, size_wh, video.size_wh, timeline)
    if not spec.format.names_object:
        return spec
    if tracks is None:
        raise RowError("video without tracks", f"STVG_PROPOSALS does not name {video.path}")
    objects = ClipObjects.of(tracks, timeline.frames, video.frame_times_s, video.size_wh)
    if not objects.tubes:
        raise RowError("no track on a sampled frame", f"{len(tracks.tracks)} tracks, {video.path}")
    return replace(
        spec,
        objects=objects.lists(timeline.index_frames, spec.scale_wh),
        marks=objects.marks(timeline.frames, size_wh),
    )


def make_row_truth(sample: Sample, video: VideoInfo, settings: Settings, tracks: VideoTracks | None = None) -> RowTruth:
    """The ground truth of a sample on the grid of the sampled frames; it raises the errors of `make_row`."""
    video = video.at_rate(sample.annotated_fps)
    _check_fit(sample, video)
    numbers = annotated_frames(
        video.frame_times_s, *_annotated(sample), before=_before(sample, video), at_least=sample.at_least
    )  # (N,)
    clip = annotated_clip(numbers, sample.clip)
    if clip[0] >= clip[1]:
        raise RowError("clip outside the video", f"clip {sample.clip_frames} of {video.path}, row {sample.id}")
    if sample.span_frames[0] > numbers[clip[1] - 1] or sample.span_frames[1] <= numbers[clip[0]]:
        raise VideoError(
            "event outside the video",
            f"event {sample.span_frames}, frames {numbers[clip[0]]} to {numbers[clip[1] - 1]} decoded, {video.path}, "
            f"row {sample.id}",
        )
    spec = make_prompt_spec(video, settings, clip, tracks)
    shown = numbers[spec.timeline.index_frames]  # (size,) annotated frame of each index
    span, index, boxes_xyxy = truth_on_grid(sample, shown, spec)
    number = _best_object(sample, spec, index, boxes_xyxy) if spec.format.names_object else None
    return RowTruth(
        id=sample.id,
        sentence=sample.sentence,
        dataset=sample.dataset,
        split=sample.split,
        query=sample.query,
        category=sample.category,
        settings=settings,
        size_wh=spec.size_wh,
        source_wh=spec.source_wh,
        timeline=spec.timeline,
        annotated=shown,
        span=span,
        index=index,
        boxes_xyxy=boxes_xyxy,
        objects=spec.objects,
        marks=spec.marks,
        object=number,
    )


def _best_object(sample: Sample, spec: PromptSpec, index: IntArray, boxes_xyxy: FloatArray) -> int:
    """The number of the right object; 0 if none covers the truth well enough and the row is kept for its time."""
    number, viou = best_object(spec.objects, index, boxes_xyxy)
    if viou >= spec.settings.object_viou:
        return number
    if spec.settings.object_missing == "time":
        return 0
    raise RowError(
        "no track covers the object",
        f"the best of {len(spec.objects)} has vIoU {viou:.2f}, STVG_OBJECT_VIOU is {spec.settings.object_viou:g}, "
        f"row {sample.id}",
    )


def truth_on_grid(
    sample: Sample, annotated: IntArray, spec: PromptSpec
) -> tuple[tuple[int, int], IntArray, FloatArray]:
    """The ground truth of a sample in the form of an answer.

    Args:
        sample: the annotation.
        annotated: (size,) annotated frame that each index points at.
        spec: the prompt spec; it says whether the answer has boxes, and in which coordinates.

    Returns:
        The closed span of the indices inside the event; if the event lies between two indices, the nearest index.
        The indices (M,) of the span that have a box; if the event lies between two indices, the nearest box is used.
        The boxes (M, 4), whole numbers. M is 0 if the answer has no boxes.

    Raises:
        RowError: the sample has no usable box, or no box on an index.
    """
    first, end = sample.span_frames
    inside = np.flatnonzero((annotated >= first) & (annotated < end))
    between = len(inside) == 0
    if between:
        inside = np.array([np.abs(annotated - np.clip(annotated, first, end - 1)).argmin()])
    span = (int(inside[0]), int(inside[-1]))
    if not spec.format.boxes:
        return span, np.empty(0, dtype=np.int64), np.empty((0, 4))
    frames, boxes_xyxy = sample.usable_tube()
    if len(frames) == 0:
        why = "set STVG_BOXES=false to ask for the time alone, " if sample.time_only else ""
        raise RowError(
            "no usable box", f"none of {len(sample.tube_frames)} has an area inside the frame, {why}row {sample.id}"
        )
    position = nearest(frames, annotated[inside])  # (I,)
    has_box = (frames[position] == annotated[inside]) | between
    if not has_box.any():
        raise RowError(
            "no box on a sampled frame",
            f"{len(frames)} boxes in frames [{first}, {end}), none among the sampled {annotated[inside].tolist()}, "
            f"row {sample.id}",
        )
    boxes_on_grid = _on_text_grid(boxes_xyxy[position[has_box]], sample.size_wh, spec.scale_wh)
    return span, inside[has_box], boxes_on_grid


def _target(row_truth: RowTruth) -> Answer:
    """The SFT target: the exact answer, with the error of think boxes that STVG_THINK_JITTER sets.

    One random draw moves the sides of all boxes of a tube by the same share. With a draw for each box, the mean of the
    think boxes would be the truth, and a model could learn to refine boxes without looking at the video.
    """
    answer, jitter = row_truth.answer, row_truth.settings.think_jitter
    if answer.think is None or jitter == 0:
        return answer
    seed = [row_truth.settings.think_seed, *hashlib.sha256(f"{row_truth.dataset}/{row_truth.id}".encode()).digest()]
    boxes_xyxy = answer.think.boxes_xyxy
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]  # (W, 2)
    moved = boxes_xyxy + np.random.default_rng(seed).normal(0, jitter, 4) * np.tile(sides, 2)
    moved = np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], axis=1)
    think = BoxList(answer.think.index, _on_text_grid(moved, row_truth.scale_wh, row_truth.scale_wh))
    return replace(answer, think=think)


def describe_video(spec: PromptSpec) -> str:
    """The text of the prompt about the timeline and the frame size."""
    line, answer_format = spec.timeline, spec.format
    counted = "frame" if answer_format.unit == "frame" else "second"
    facts = f"{counted}s 0 - {line.size - 1}"
    if answer_format.unit == "frame":
        facts += f", {line.fps:.4g} per second"
    if answer_format.coords in ("pixel", "source") and not answer_format.names_object:
        facts += f", {spec.scale_wh[0]} x {spec.scale_wh[1]} pixels"
    return f"({facts})"


def fit_notes(sample: Sample, video: VideoInfo) -> Iterator[tuple[str, str]]:
    """(kind, detail) of each deviation of a video from its annotation that does not drop the row."""
    before, annotated = _before(sample, video), sample.annotated_frames
    if before:
        yield (
            "videos whose picture begins late",
            f"{video.lead_s:.2f} s after the file begins, with frame {before} of the annotation, row {sample.id}",
        )
    more = before + video.n_frames - annotated
    if not is_same_rate(video.frame_times_s, sample.annotated_fps):
        if more != 0:
            rate = (video.n_frames - 1) / float(video.frame_times_s[-1] - video.frame_times_s[0])
            yield (
                "frame numbers rescaled to the video's frame rate",
                f"{sample.annotated_fps:.5g} per second annotated, {rate:.5g} decoded, row {sample.id}",
            )
    elif more < -_SAME_COUNT or (more > _SAME_COUNT and not sample.at_least):
        yield (
            "videos with another number of frames than annotated",
            f"{video.n_frames} decoded, {annotated} annotated; counted from the first frame, at "
            f"{video.frame_times_s[0]:.2f} s, row {sample.id}",
        )


def _annotated(sample: Sample) -> tuple[int, float]:
    return sample.annotated_frames, sample.annotated_fps


def _before(sample: Sample, video: VideoInfo) -> int:
    """Number of annotated frames before the first frame of the video."""
    return frames_before(_duration_s(video), video.lead_s, *_annotated(sample), sample.at_least)


def _duration_s(video: VideoInfo) -> float:
    return video.end_s - float(video.frame_times_s[0])


def _check_fit(sample: Sample, video: VideoInfo) -> None:
    """Refuse a video whose length or aspect ratio differs from that of the annotation."""
    before, annotated = _before(sample, video), _annotated(sample)
    decoded_s = _duration_s(video) + before / sample.annotated_fps
    same_count = abs(before + video.n_frames - sample.annotated_frames) <= _SAME_COUNT
    if not same_count and off_by_s(decoded_s, *annotated, sample.at_least) > slack_s(*annotated):
        raise VideoError(
            "video and annotation differ in length",
            f"{video.n_frames} frames ({decoded_s:.2f} s) decoded, {sample.annotated_frames} "
            f"({annotated[0] / annotated[1]:.2f} s) annotated; the first frame is at {video.frame_times_s[0]:.2f} s; "
            f"check whether the file is complete: {video.path}, row {sample.id}",
        )
    aspect = (video.size_wh[0] * sample.size_wh[1]) / (video.size_wh[1] * sample.size_wh[0])
    if not 0.9 < aspect < 1.1:
        raise VideoError(
            "video and annotation differ in shape",
            f"{video.size_wh} decoded, {sample.size_wh} annotated, {video.path}, row {sample.id}",
        )


def _on_text_grid(boxes_xyxy: FloatArray, size_wh: tuple[int, int], scale_wh: tuple[int, int]) -> FloatArray:
    """Convert boxes (K, 4) in a frame of `size_wh` to whole numbers in text coordinates of extent `scale_wh`.

    A box is at least one unit wide and high.
    """
    limit = np.array([*scale_wh, *scale_wh], dtype=np.float64)
    boxes = np.rint(clip_boxes(boxes_xyxy, size_wh) * (limit / np.array([*size_wh, *size_wh])))
    low = np.minimum(boxes[:, :2], limit[:2] - 1)
    return np.concatenate([low, np.maximum(boxes[:, 2:], low + 1)], axis=1)
