"""From a video and sentences to records: the span, a box for each frame, and faults of the answer.

    engine = SwiftEngine("CHECKPOINT")                       # or Endpoint("http://127.0.0.1:8000/v1")
    for found in ground(Path("clip.mp4"), ["the man in red sits down"], engine):
        found.record["span_s"], found.record["boxes"]

A record can be written as JSON. `make_record` describes its fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.answers.format import Answer, BoxList
from swift_stvg.errors import DataError, EndpointError
from swift_stvg.geometry import FloatArray, IntArray
from swift_stvg.records import Tube, VideoInfo
from swift_stvg.report.drawing import Overlay
from swift_stvg.rows.making import make_prompt
from swift_stvg.rows.row_truth import PromptSpec
from swift_stvg.rows.tracks import Track
from swift_stvg.scoring.cost import NO_ANSWER as NO_ANSWER
from swift_stvg.scoring.tubes import tube_on
from swift_stvg.serving.asking import check_sentence, prompt_spec_of
from swift_stvg.serving.cost import cost_fields
from swift_stvg.serving.engines import Engine, Reply, Row
from swift_stvg.serving.sampling import Voting
from swift_stvg.settings import Settings
from swift_stvg.util import validation
from swift_stvg.video.timeline import nearest

GROUNDING_SCHEMA = 1
OK = "ok"
STATUSES = (OK, "unparsable", "inconsistent", NO_ANSWER)
"""For unparsable and inconsistent answers see `Answer.fault`; a record has their readable parts. "no answer": the model
gave none."""
EVERY_FRAME = float("inf")
PATIENCE = 3
"""After this many failed batches in sequence the server is not asked again."""


@dataclass(frozen=True, slots=True, eq=False)
class Grounded:
    """The answer to a sentence.

    Attributes:
        record: the answer as data for JSON; see `make_record`.
        overlay: the answer as a drawing on the video.
        reply: the reply of the engine.
    """

    record: dict[str, Any]
    overlay: Overlay
    reply: Reply


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """A search for sentences in a video.

    Attributes:
        info: the video's properties.
        spec: the prompt spec that all sentences share.
        sentences: (N,) what to look for; each sentence is searched for alone.
        rows: (N,) rows for an engine.

    Raises:
        RecordError: lengths differ.
    """

    info: VideoInfo
    spec: PromptSpec
    sentences: Sequence[str]
    rows: list[Row]

    def __post_init__(self) -> None:
        validation.same_length("sentence", sentences=self.sentences, rows=self.rows)

    @classmethod
    def of(
        cls, video: Path, sentences: Sequence[str], settings: Settings, clip_s: tuple[float, float] | None = None
    ) -> Search:
        """Read the video's properties and make the rows; arguments and errors as for `ground`."""
        if not sentences:
            raise DataError("there is no sentence to look for: give at least one")
        for sentence in sentences:
            check_sentence(sentence)
        info, spec = prompt_spec_of(video, settings, clip_s)
        return cls(info, spec, sentences, [make_prompt(spec, sentence, video) for sentence in sentences])

    def answers_from(self, engine: Engine, rate: float | None = None, voting: Voting | None = None) -> list[Grounded]:
        """Let an engine answer; arguments and errors as for `ground`."""
        if rate is not None and not rate > 0:
            raise DataError(f"boxes per second must be above 0, got {rate:g}")
        engine = (voting or Voting()).around(engine, lambda _: self.spec)
        answers: list[Reply] = []
        try:
            for reply in replies(self.rows, engine):
                answers.append(reply)
        except EndpointError as error:
            if all(reply.failure for reply in answers):
                raise
            answers += [Reply("", str(error), down=True)] * (len(self.rows) - len(answers))
        if all(reply.failure for reply in answers):
            raise no_answers(answers, len(answers))
        found = []
        for i, reply in enumerate(answers):
            sentence, name = self.sentences[i], self.info.path.name + (f"#{i + 1}" if i else "")
            record = {"id": name} | make_record(self.spec, self.info, self.rows[i], sentence, reply, rate)
            found.append(Grounded(record, _overlay(self.spec, sentence, reply.text), reply))
        return found


def ground(
    video: Path,
    sentences: Sequence[str],
    engine: Engine,
    settings: Settings | None = None,
    *,
    clip_s: tuple[float, float] | None = None,
    rate: float | None = None,
    voting: Voting | None = None,
) -> list[Grounded]:
    """Ask an engine for the tube of each sentence.

    Args:
        video: the path of a video or a picture.
        sentences: what to look for; each sentence is searched for alone.
        engine: the engine that answers.
        settings: the settings of the training; the environment's settings if None.
        clip_s: the part [start, end) of the video to look at, in seconds of presentation time; the whole video if None.
        rate: boxes per second, or `EVERY_FRAME`; boxes between the model's boxes are interpolated linearly. Only the
            model's boxes if None.
        voting: how many answers are sampled for a sentence, and how they are joined; one answer if None. The engine
            must sample.

    Raises:
        VideoError, RowError: the video or a sentence is not usable.
        EndpointError: no sentence was answered.
    """
    return Search.of(video, sentences, settings or Settings.from_env(), clip_s).answers_from(engine, rate, voting)


def replies(rows: Sequence[Row], engine: Engine, title: str = "answers") -> Iterator[Reply]:
    """A reply to each row in order, with a progress bar.

    Raises:
        EndpointError: the server fails for the whole first batch, or later for `PATIENCE` batches in sequence.
    """
    from tqdm import tqdm

    waiting, done, failed = iter(rows), 0, 0
    with tqdm(total=len(rows), desc=title, unit="answer") as bar:
        while part := list(islice(waiting, engine.at_once)):
            found = engine.answer(part)
            failed = failed + 1 if all(reply.down for reply in found) else 0
            if done + len(found) < len(rows) and failed == (PATIENCE if done else 1):
                raise no_answers(found, len(rows), done)
            yield from found
            done += len(found)
            bar.update(len(found))


def no_answers(failed: Sequence[Reply], asked: int, before: int = 0) -> EndpointError:
    """The error that no question was answered, or no further question after the first ones."""
    after = f" after the first {before}" if before else ""
    return EndpointError(f"no answer to {len(failed)} of {asked} questions{after}: {failed[0].failure}")


def make_record(
    spec: PromptSpec, info: VideoInfo, row: Row, sentence: str, reply: Reply, rate: float | None = None
) -> dict[str, Any]:
    """The record of an answer, in seconds of the video's presentation time and pixels of the video.

    Returns:
        schema, swift_stvg: versions of the record's format and of this package.
        sentence, size_wh, n_frames: the sentence; the video's frame size and number of frames.
        status, detail: see `STATUSES`, and what was wrong.
        span_s, span_frames: the span in seconds, and its first and last frame as in scoring; None if the answer has no
            readable span on the clip.
        boxes: for each box: time_s; frame, counted from 0; given, whether the model gave it and it is not interpolated;
            think_xyxy and pred_xyxy, None if there is no such box or it is inverted.
        response: the model's text.
        seconds, tokens, samples: the cost of the answer and the sampled texts that were joined to it, where known.
        messages, videos, settings: as in the row.
    """
    answer = spec.parse(reply.text)
    status, detail = reply_status(spec, answer, reply)
    record: dict[str, Any] = {
        "schema": GROUNDING_SCHEMA,
        "swift_stvg": __version__,
        "sentence": sentence,
        "size_wh": list(spec.source_wh),
        "n_frames": info.n_frames,
        "status": status,
        "detail": detail,
        "span_s": None,
        "span_frames": None,
        "boxes": [],
    }
    on_grid = spec.on_grid(answer.span)
    if on_grid is not None:
        tubes = {part: _tube(spec, info, on_grid, getattr(answer, part)) for part in ("think", "pred")}
        first, last = record["span_frames"] = list(tubes["pred"].span_frames)
        record["span_s"] = [round(t, 3) for t in spec.file_span_s(on_grid)]
        tracks = {part: _track(tube, info) for part, tube in tubes.items()}
        inverted = tubes["pred"].frames[np.isnan(tubes["pred"].boxes_xyxy).any(axis=1)]
        if rate is None:
            frames = np.unique(np.concatenate([tube.frames for tube in tubes.values()]))
        else:
            frames = np.union1d(first + _at_rate(info.frame_times_s[first : last + 1], rate), inverted)
        holes = set(inverted.tolist())
        for frame, time_s in zip(frames.tolist(), info.frame_times_s[frames].tolist(), strict=True):
            found = {part: track.at(time_s, 1e-6) for part, track in tracks.items()}
            known = {part: box for part, box in found.items() if box is not None and (box[1] or rate is not None)}
            if known or frame in holes:
                record["boxes"].append(
                    {
                        "time_s": round(time_s, 3),
                        "frame": frame,
                        "given": all(given for _, given in known.values()),
                        **{
                            f"{part}_xyxy": known[part][0].round(2).tolist() if part in known else None
                            for part in tracks
                        },
                    }
                )
    return record | {"response": reply.text, **cost_fields(reply), **row, "settings": spec.settings.to_texts()}


def reply_status(spec: PromptSpec, answer: Answer, reply: Reply) -> tuple[str, str]:
    """The status of an answer, and what was wrong."""
    if reply.failure is not None:
        return NO_ANSWER, reply.failure
    status, detail = answer.fault(spec.timeline.size, spec.scale_wh) or (OK, "")
    return status, "; ".join(said for said in (detail, reply.cut) if said)


def _overlay(spec: PromptSpec, sentence: str, text: str) -> Overlay:
    """The drawing of an answer. If the format has no boxes, only the span is drawn."""
    answer = spec.parse(text)
    if not spec.format.boxes:
        answer = replace(answer, pred=BoxList(np.empty(0, dtype=np.int64), np.empty((0, 4))))
    return Overlay.of(spec, sentence, answer)


def _tube(spec: PromptSpec, info: VideoInfo, on_grid: tuple[int, int], boxes: BoxList | None) -> Tube:
    """The tube of an answer on the frames of the file."""
    line = spec.timeline
    clip = int(line.frames[0]), info.end_frame(line.clip_start_s + line.end_s)
    return tube_on(on_grid, boxes, spec.scale_wh, line.index_frames, clip, spec.source_wh)


def _track(tube: Tube, info: VideoInfo) -> Track:
    """The boxes of a tube over the file's presentation time, in pixels."""
    times_s = info.frame_times_s
    first, last = tube.span_frames
    return Track("pred", (float(times_s[first]), float(times_s[last])), times_s[tube.frames], tube.boxes_xyxy)


def _at_rate(times_s: FloatArray, rate: float) -> IntArray:
    """Indices of the frames, at times (N,), that get a box: the frames nearest to `rate` moments per second."""
    step_s = max(1 / rate, float(np.diff(times_s).min(initial=np.inf)) / 2)  # a higher rate would add no frame
    if rate == EVERY_FRAME or len(times_s) == 1:
        return np.arange(len(times_s))
    return np.unique(nearest(times_s, np.arange(times_s[0], times_s[-1] + 1e-6, step_s)))
