"""Synthetic clips to learn and test with: coloured shapes that appear, move, grow and go, and sentences about them.

`generate` writes H.264 files and annotations in this project's own schema (sources/jsonl.py):

    out/synth.json          the settings that the clips were made with
    out/train.jsonl         one sentence a line
    out/videos/train_000000.mp4

A sentence names one thing and one event: "the small red circle moves left.", "what grows?". The name gives some of
size, colour and shape. The event happens to the thing exactly once, and its time is the span. No other thing that fits
the name does the same at any time, but other things may have the same colour or shape. A thing that changes its size
fits both size words. A thing that "stands still" neither moves nor changes its size.

Boxes are amodal: a box holds the whole thing, clipped to the frame, even if a gray bar or another thing hides a part of
it. If less than a pixel of the thing is inside a frame, the frame has no box and belongs to no span.

A clip depends only on the seed, the split's name, the clip's number and the settings.
"""

from __future__ import annotations

import io
import json
import math
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from swift_stvg.errors import DataError
from swift_stvg.geometry import FloatArray, IntArray, clip_boxes
from swift_stvg.sources.jsonl import JSONL_SCHEMA
from swift_stvg.util.output_folder import make_folder, require_own_folder
from swift_stvg.util.processes import process_pool
from swift_stvg.util.writing import remove_partial_files, write_bytes_atomic, write_text_atomic
from swift_stvg.video.decoding import one_thread

Pixels: TypeAlias = npt.NDArray[np.uint8]

RGB = {
    "red": (215, 45, 45),
    "green": (40, 175, 60),
    "blue": (50, 80, 225),
    "yellow": (225, 205, 45),
    "purple": (160, 50, 185),
}
SHAPES = ("circle", "cross", "square", "triangle")
HALF = {"small": (0.085, 0.105), "large": (0.15, 0.19)}
"""Half the side of a thing's box, in units of the frame's shorter side."""
DEEDS = ("is visible", "moves left", "moves right", "moves up", "moves down", "stands still", "grows", "shrinks")
VISIBLE, LEFT, RIGHT, UP, DOWN, STILL, GROW, SHRINK = range(8)
AXIS_AND_SIGN = {LEFT: (0, -1), RIGHT: (0, 1), UP: (1, -1), DOWN: (1, 1)}
WORDS = tuple(sorted({"the", "what", "which", "shape", *HALF, *RGB, *SHAPES, *" ".join(DEEDS).split()}))
"""Every word of every sentence; sentences end in a full stop or a question mark."""

GENERATOR = 1
"""Version of the generator. It increases when the same settings give other clips."""
ATTEMPTS = 300
CALM_GRAY = 118
CALM_HALF = {"small": (0.10, 0.12), "large": (0.20, 0.24)}
CALM_TRAVEL = (0.1, 0.45)
"""How far a thing of a calm clip moves, in units of the frame's shorter side."""


@dataclass(frozen=True, slots=True)
class Level:
    """The settings of a difficulty; `SynthConfig` describes the fields that are not listed here.

    Attributes:
        deeds: the indices of DEEDS that sentences use.
        calm: whether clips are plain, so that a model of a million parameters learns from them within minutes. Things
            have two clearly different sizes. They appear at once, stand still or move a little, and vanish at once,
            within half the clip. Sentences name colour and shape. The background is middle gray, which is nearly 0
            after a model's image normalisation.
    """

    objects: tuple[int, int]
    distractor: float
    occlusion: float
    min_event_s: float
    deeds: tuple[int, ...]
    calm: bool = False
    background: tuple[int, int] | None = None
    sides: tuple[float, float] | None = None


LEVELS = {
    "easy": Level((1, 1), 0.0, 0.0, 1.5, (VISIBLE,), calm=True),
    "normal": Level((2, 4), 0.5, 0.3, 0.7, tuple(range(8))),
    "hard": Level((4, 6), 0.7, 0.7, 0.7, tuple(range(8))),
}


@dataclass(frozen=True, slots=True)
class SynthConfig:
    """The settings of clips.

    Attributes:
        seed: the random seed.
        size_wh: frame size in pixels, even.
        duration_s: duration of a clip in seconds.
        fps: native frame rate.
        difficulty: easy, normal or hard: defaults for the number, sizes, likeness and occlusion of objects, for the
            shortest event and for the background.
        objects: minimum and maximum number of things in a clip.
        distractor: probability that a thing takes its colour, its shape or both from another thing.
        occlusion: probability that a gray bar passes over the thing that the first sentence is about.
        min_event_s: duration of the shortest event.
        background: darkest and lightest gray of backgrounds, which are plain or have a faint pattern of waves.
        sides: minimum and maximum side of a thing, in units of the frame's shorter side. Things are called
            small in the lowest third of this range, and large in the highest third; no thing has a size between.
        question: probability that a sentence is a question.
        sentences_per_clip: number of sentences about a clip; each has a line of its own.
    """

    seed: int = 0
    size_wh: tuple[int, int] = (56, 56)
    duration_s: float = 8.0
    fps: int = 10
    difficulty: str = "normal"
    objects: tuple[int, int] | None = None
    distractor: float | None = None
    occlusion: float | None = None
    min_event_s: float | None = None
    background: tuple[int, int] | None = None
    sides: tuple[float, float] | None = None
    question: float = 0.2
    sentences_per_clip: int = 1

    def __post_init__(self) -> None:
        def require(rule: bool, name: str, what: str, seen: object) -> None:
            if not rule:
                raise DataError(f"`{name}` of synthetic clips must be {what}, got {seen!r}")

        require(self.difficulty in LEVELS, "difficulty", f"one of {', '.join(LEVELS)}", self.difficulty)
        require(
            len(self.size_wh) == 2 and all(side >= 32 and side % 2 == 0 for side in self.size_wh),
            "size_wh",
            "two even numbers of at least 32",
            self.size_wh,
        )
        require(1 <= self.fps <= 240, "fps", "in [1, 240]", self.fps)
        require(math.isfinite(self.duration_s) and self.duration_s > 0, "duration_s", "positive", self.duration_s)
        level = self.level
        require(
            len(level.objects) == 2 and 1 <= level.objects[0] <= level.objects[1] <= 12,
            "objects",
            "the fewest and the most, in [1, 12]",
            level.objects,
        )
        for name, value in (
            ("distractor", level.distractor),
            ("occlusion", level.occlusion),
            ("question", self.question),
        ):
            require(0 <= value <= 1, name, "a probability", value)
        require(
            2 <= self.min_frames <= self.n_frames // 2,
            "min_event_s",
            f"at least two frames and at most half of `duration_s` ({self.duration_s})",
            level.min_event_s,
        )
        if level.background is not None:
            rising = len(level.background) == 2 and 0 <= level.background[0] <= level.background[1] <= 255
            require(rising, "background", "the darkest and the lightest gray, in [0, 255]", level.background)
        if level.sides is not None:
            rising = len(level.sides) == 2 and 0.1 <= level.sides[0] <= level.sides[1] <= 0.6
            require(rising, "sides", "the smallest and the largest, in [0.1, 0.6]", level.sides)
        require(self.sentences_per_clip >= 1, "sentences_per_clip", "at least 1", self.sentences_per_clip)

    @property
    def level(self) -> Level:
        """The level of the difficulty, with the fields that are set here instead of its own."""
        names = ("objects", "distractor", "occlusion", "min_event_s", "background", "sides")
        given = {name: getattr(self, name) for name in names}
        return replace(LEVELS[self.difficulty], **{name: value for name, value in given.items() if value is not None})

    @property
    def n_frames(self) -> int:
        """Number of frames of a clip."""
        return round(self.duration_s * self.fps)

    @property
    def min_frames(self) -> int:
        """Number of frames of the shortest event."""
        return round(self.level.min_event_s * self.fps)


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """One moving shape over the F frames of a clip.

    Attributes:
        shape, colour: words of sentences.
        size: "small" or "large"; "changing" if the thing grows or shrinks.
        rgb: the colour in the picture, 0 to 255.
        centre_xy: (F, 2) centre in pixels.
        half: (F,) half the side of its box, in pixels.
        deed: (F,) what the thing did just before this frame, an index of DEEDS; -1 if the thing does not exist.
        boxes_xyxy: (F, 4) in pixels, clipped to the frame.
        visible: (F,) whether at least a pixel of its width and of its height is inside the frame.
    """

    shape: str
    colour: str
    size: str
    rgb: tuple[float, float, float]
    centre_xy: FloatArray
    half: FloatArray
    deed: IntArray
    boxes_xyxy: FloatArray
    visible: npt.NDArray[np.bool_]

    def does(self, deed: int) -> npt.NDArray[np.bool_]:
        """Whether the thing visibly does this in each frame, (F,)."""
        return self.visible if deed == VISIBLE else self.visible & (self.deed == deed)

    def fits(self, size: str | None, colour: str | None, noun: str) -> bool:
        """Whether a name fits the thing; None for a property that the name does not give."""
        return size in (None, self.size) + (tuple(HALF) if self.size == "changing" else ()) and (
            colour in (None, self.colour) and noun in ("shape", self.shape)
        )


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence about `things[thing]`, and the frames [first, end) in which it is true."""

    text: str
    query: str
    thing: int
    deed: int
    span_frames: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A clip before it is drawn.

    Attributes:
        things: the things in the order of drawing: large things, and things that become large, come first.
        sentences: sentences about the things.
        background: (H, W, 3) RGB.
        bar_x: (F,) centre of the gray bar in pixels, or None.
        bar_width: width of the bar in pixels.
    """

    things: tuple[Thing, ...]
    sentences: tuple[Sentence, ...]
    background: Pixels
    bar_x: FloatArray | None
    bar_width: float


def make_scene(config: SynthConfig, split: str, number: int) -> Scene:
    """The scene of clip `number` of a split, with its sentences.

    Raises:
        DataError: the settings allow too few different sentences about a clip.
    """
    rng = random.Random(f"{config.seed}/{split}/{number}")
    for _ in range(ATTEMPTS):
        things = tuple(sorted(_things(rng, config), key=lambda thing: -thing.half.max()))
        sentences = _sentences(rng, config, things)
        if len(sentences) == config.sentences_per_clip:
            bar_x, bar_width = _bar(rng, config, things[sentences[0].thing], sentences[0])
            return Scene(things, sentences, _background(rng, config), bar_x, bar_width)
    raise DataError(
        f"clip {number} of {split}: {ATTEMPTS} attempts gave no scene with {config.sentences_per_clip} unambiguous "
        "sentences; lower `sentences_per_clip` or `distractor`, or raise `objects` or `duration_s`"
    )


def generate(
    out: Path,
    splits: Mapping[str, int],
    config: SynthConfig,
    workers: int | None = None,
    label_scale: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Write clips and annotations. A call with the same settings completes the work of an earlier call.

    Later calls may add splits and clips to a folder. This function spawns processes, so a script that calls it needs
    `if __name__ == "__main__"`.

    Args:
        out: folder, made if missing.
        splits: name of each split to its number of clips.
        config: the settings of the clips.
        workers: number of processes; the number of CPU cores if None.
        label_scale: for each split, the minimum and maximum factor of its annotated boxes. Each clip gets a random
            factor between them, and its boxes are scaled about their centres. (0.7, 0.7) imitates an annotator who
            always draws too tight boxes, (0.5, 0.9) an annotator who does so unevenly. The default is (1, 1). The
            videos do not depend on it.

    Raises:
        DataError: the folder holds something else, or an argument is impossible.
    """
    from tqdm import tqdm

    scales = {split: (label_scale or {}).get(split, (1.0, 1.0)) for split in splits}
    _check(splits, scales, label_scale or {}, workers)
    _claim(out, config, scales)
    n_clips = sum(splits.values())
    workers = min(workers or os.cpu_count() or 1, math.ceil(n_clips / 8))
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=n_clips, desc=f"clips in {out}", unit="clip"))
        over: Any = map
        if workers > 1:
            pool = stack.enter_context(process_pool(workers))
            over = partial(pool.map, chunksize=min(16, math.ceil(n_clips / workers)))
        for split, n in splits.items():
            lines = []
            for clip_lines in over(partial(_make_clip, out, config, split, scales[split]), range(n)):
                lines.append(clip_lines)
                bar.update()
            write_text_atomic(out / f"{split}.jsonl", "".join(lines))


def _check(
    splits: Mapping[str, int],
    scales: Mapping[str, tuple[float, float]],
    label_scale: Mapping[str, tuple[float, float]],
    workers: int | None,
) -> None:
    for split, n in splits.items():
        if not (split.isascii() and split.replace("_", "").replace("-", "").isalnum()):
            raise DataError(f"a split's name must consist of letters, digits, - and _, got {split!r}")
        if n < 1:
            raise DataError(f"a split must have at least one clip, got {n} for {split}")
        if not 0.1 <= scales[split][0] <= scales[split][1] <= 4.0:
            raise DataError(f"`label_scale` must be rising and lie in [0.1, 4], got {scales[split]} for {split}")
    if unknown := sorted(set(label_scale) - set(splits)):
        raise DataError(f"`label_scale` names splits that are not made: {', '.join(unknown)}")
    if workers is not None and workers < 1:
        raise DataError(f"`workers` must be at least 1, got {workers}")


def _claim(out: Path, config: SynthConfig, scales: Mapping[str, tuple[float, float]]) -> None:
    """Make the folder with its manifest, or check that an existing folder was made with the same settings."""
    manifest = out / "synth.json"
    mine = {"generator": GENERATOR, "stvg_schema": JSONL_SCHEMA, "config": asdict(config) | asdict(config.level)}
    mine = json.loads(json.dumps(mine))
    mine["config"] = {name: value for name, value in mine["config"].items() if value is not None}
    advice = f"choose another folder or delete {out}"
    splits: dict[str, Any] = {}
    require_own_folder(out, "a set of synthetic clips (no synth.json)", manifest.is_file)
    make_folder(out)
    try:
        if manifest.is_file():
            found = json.loads(manifest.read_text(encoding="utf-8"))
            splits = found.pop("label_scale")
            if found != mine:
                raise DataError(f"{out} holds clips made with other settings: {_differences(found, mine)}; {advice}")
        for split, scale in scales.items():
            if tuple(splits.setdefault(split, scale)) != scale:
                raise DataError(
                    f"{split} in {out} has `label_scale` {tuple(splits[split])}, asked for {scale}; {advice}"
                )
        write_text_atomic(manifest, json.dumps(mine | {"label_scale": splits}, indent=1, sort_keys=True))
        (out / "videos").mkdir(exist_ok=True)
        remove_partial_files(out)
    except (OSError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise DataError(f"{out} cannot be used: {error!r}; {advice}") from None


def _differences(found: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    old = {**found, **found.get("config", {})}
    new = {**mine, **mine["config"]}
    names = [name for name in sorted(old | new) if name != "config" and old.get(name) != new.get(name)]
    return ", ".join(f"{name} {old.get(name)} there, {new.get(name)} asked for" for name in names)


def _make_clip(out: Path, config: SynthConfig, split: str, scale: tuple[float, float], number: int) -> str:
    """Render a clip unless it exists. Returns its lines of annotation."""
    scene = make_scene(config, split, number)
    factor = random.Random(f"label_scale/{config.seed}/{split}/{number}").uniform(*scale)
    video = out / "videos" / f"{split}_{number:06d}.mp4"
    if not video.is_file():
        write_bytes_atomic(video, _encoded(_draw(scene, config), config))
    lines = []
    for k, sentence in enumerate(scene.sentences):
        thing = scene.things[sentence.thing]
        first, end = sentence.span_frames
        boxes = _scaled(thing.boxes_xyxy[first:end], factor, config.size_wh)
        row = {
            "stvg_schema": JSONL_SCHEMA, "id": f"{video.stem}/{k}", "video": f"videos/{video.name}",
            "sentence": sentence.text, "n_frames": config.n_frames, "fps": float(config.fps),
            "size_wh": list(config.size_wh), "span_frames": [first, end],
            "tube": [[frame, *box] for frame, box in zip(range(first, end), boxes.round(2).tolist(), strict=True)],
            "query": sentence.query, "category": thing.shape,
        }  # fmt: skip
        lines.append(json.dumps(row) + "\n")
    return "".join(lines)


def _scaled(boxes_xyxy: FloatArray, factor: float, size_wh: tuple[int, int]) -> FloatArray:
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2  # (T, 2)
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * factor  # (T, 2)
    return clip_boxes(np.hstack([centres - sides / 2, centres + sides / 2]), size_wh)


def _things(rng: random.Random, config: SynthConfig) -> list[Thing]:
    looks: list[tuple[str, str, str]] = []
    for _ in range(rng.randint(*config.level.objects)):
        shape, colour, size = rng.choice(SHAPES), rng.choice(tuple(RGB)), rng.choice(tuple(HALF))
        if looks and rng.random() < config.level.distractor:
            other_shape, other_colour, other_size = rng.choice(looks)
            shared = rng.choices(("shape", "colour", "both", "all"), (4, 4, 3, 1))[0]
            shape = shape if shared == "colour" else other_shape
            colour = colour if shared == "shape" else other_colour
            if shared in ("both", "all"):
                size = other_size if shared == "all" else "small" if other_size == "large" else "large"
        looks.append((shape, colour, size))
    return [_thing(rng, config, *look) for look in looks]


def _thing(rng: random.Random, config: SynthConfig, shape: str, colour: str, size: str) -> Thing:
    """A thing that exists for some time and does several deeds; two deeds in sequence are never the same."""
    n_frames, shortest = config.n_frames, config.min_frames
    side = min(config.size_wh)
    calm = config.level.calm
    half = side * rng.uniform(*_halves(config.level)[size])
    xy = [rng.uniform(half, room - half) for room in config.size_wh]
    if calm:
        length = rng.randint(shortest, n_frames // 2)
    else:
        length = n_frames if rng.random() < 0.05 else rng.randint(shortest, n_frames)
    start = rng.randint(0, n_frames - length)

    centre_xy = np.zeros((n_frames, 2))
    halves = np.full(n_frames, half)
    deeds = np.full(n_frames, -1, dtype=np.int64)
    frame, end, before = start, start + length, -1
    choices = tuple(AXIS_AND_SIGN) if calm else range(1, len(DEEDS))
    while frame < end:
        n = end - frame if calm else rng.randint(shortest, end - frame)
        n = n if end - frame - n >= shortest else end - frame
        enters = not calm and frame == start and rng.random() < 0.3
        leaves = not calm and frame + n == end and rng.random() < 0.3
        for deed in rng.sample(choices, 1 if calm else len(choices)):
            path = _path(rng, config, deed, xy, half, n, enters, leaves)
            if deed != before and path is not None:
                break
        else:
            deed, path = STILL, np.tile([*xy, half], (n, 1))
        now = slice(frame, frame + n)
        centre_xy[now], halves[now], deeds[now] = path[:, :2], path[:, 2], deed
        halves[frame + n :] = half = float(path[-1, 2])
        xy = path[-1, :2].tolist()
        frame, before = frame + n, deed

    boxes = clip_boxes(np.hstack([centre_xy - halves[:, None], centre_xy + halves[:, None]]), config.size_wh)
    inside = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
    red, green, blue = (part + rng.uniform(-18, 18) for part in RGB[colour])
    size = size if np.ptp(halves) == 0 else "changing"
    return Thing(shape, colour, size, (red, green, blue), centre_xy, halves, deeds, boxes, (deeds >= 0) & inside)


def _halves(level: Level) -> dict[str, tuple[float, float]]:
    """Minimum and maximum half side of small and large things, in units of the frame's shorter side."""
    if level.sides is None:
        return CALM_HALF if level.calm else HALF
    least, greatest = (side / 2 for side in level.sides)
    third = (greatest - least) / 3
    return {"small": (least, least + third), "large": (greatest - third, greatest)}


def _path(
    rng: random.Random, config: SynthConfig, deed: int, xy: list[float], half: float, n: int, enters: bool, leaves: bool
) -> FloatArray | None:
    """Centre and half side (n, 3) of a thing at `xy` after each step of a deed; None if there is no room for it."""
    side, seconds = min(config.size_wh), n / config.fps
    path = np.tile([*xy, half], (n, 1))
    steps = np.arange(1, n + 1) / n
    if deed == STILL:
        return path
    if deed in (GROW, SHRINK):
        factor = rng.uniform(1.6, 1.9)
        goal = half * factor if deed == GROW else half / factor
        room_around = min(min(at, room - at) for at, room in zip(xy, config.size_wh, strict=True))
        if not 0.08 * side <= goal <= min(0.2 * side, room_around):
            return None
        path[:, 2] += (goal - half) * steps
        return path
    axis, sign = AXIS_AND_SIGN[deed]
    if enters:
        path[:, axis] = config.size_wh[axis] + half if sign < 0 else -half
    room = (config.size_wh[axis] - half - path[0, axis]) if sign > 0 else path[0, axis] - half
    slowest, fastest = max(0.12 * side, 0.06 * side * seconds, 2 * half if enters else 0), 0.6 * side * seconds
    if config.level.calm:
        slowest, fastest = CALM_TRAVEL[0] * side, CALM_TRAVEL[1] * side
    if leaves and slowest <= room + 2 * half <= fastest:
        travel = room + 2 * half
    elif slowest <= min(room, fastest):
        travel = rng.uniform(slowest, min(room, fastest))
    else:
        return None
    path[:, axis] += sign * travel * steps
    across = 1 - axis
    bow = rng.uniform(-0.18, 0.18) * travel
    bow = min(max(bow, half - xy[across]), config.size_wh[across] - half - xy[across])
    path[:, across] += bow * np.sin(np.pi * steps)
    return path


def _sentences(rng: random.Random, config: SynthConfig, things: tuple[Thing, ...]) -> tuple[Sentence, ...]:
    """Unambiguous sentences about different events; fewer than wanted if there are not enough."""
    events: dict[int, list[tuple[int, tuple[int, int]]]] = {}
    for (k, thing), deed in product(enumerate(things), config.level.deeds):
        frames = np.flatnonzero(thing.does(deed))
        once = len(frames) >= config.min_frames and frames[-1] - frames[0] == len(frames) - 1
        if once and (_hidden(things, k)[frames] > 0.5).mean() < 0.2:
            events.setdefault(deed, []).append((k, (int(frames[0]), int(frames[-1]) + 1)))
    sentences: list[Sentence] = []
    while events and len(sentences) < config.sentences_per_clip:
        deed = rng.choice(sorted(events))
        k, span = events[deed].pop(rng.randrange(len(events[deed])))
        if not events[deed]:
            del events[deed]
        if texts := _unambiguous(rng, config, things, k, deed):
            sentences.append(Sentence(*rng.choice(texts), k, deed, span))
    return tuple(sentences)


def _unambiguous(
    rng: random.Random, config: SynthConfig, things: tuple[Thing, ...], k: int, deed: int
) -> list[tuple[str, str]]:
    """Sentences that are true only for `things[k]`, with their kinds of query."""
    thing = things[k]
    others = [other for i, other in enumerate(things) if i != k and other.does(deed).any()]
    sizes = [None] if thing.size == "changing" else [None, thing.size]
    asks = rng.random() < config.question
    usual = config.level.calm or rng.random() < 0.5
    texts = []
    for size, colour, noun in product(sizes, [None, thing.colour], ["shape", thing.shape]):
        if any(other.fits(size, colour, noun) for other in others):
            continue
        name = " ".join(word for word in (size, colour, noun) if word)
        if asks and noun == "shape":
            subject = "what" if name == "shape" and deed != VISIBLE else f"which {name}"
            texts.append((f"{subject} {DEEDS[deed]}?", "interrogative"))
        elif not asks and name != "shape":
            text = (f"the {name} {DEEDS[deed]}.", "declarative")
            if usual and name == f"{thing.colour} {thing.shape}":
                return [text]
            texts.append(text)
    return texts


def _hidden(things: tuple[Thing, ...], k: int) -> FloatArray:
    """Share (F,) of the box of `things[k]` that one box covers, which is drawn later or has the same colour."""
    mine = things[k].boxes_xyxy
    area = np.maximum((mine[:, 2:] - mine[:, :2]).prod(axis=1), 1e-9)
    hidden = np.zeros(len(mine))
    for i, other in enumerate(things):
        if i == k or (i < k and other.colour != things[k].colour):
            continue
        low = np.maximum(mine[:, :2], other.boxes_xyxy[:, :2])
        high = np.minimum(mine[:, 2:], other.boxes_xyxy[:, 2:])
        hidden = np.maximum(hidden, np.maximum(high - low, 0).prod(axis=1) / area * other.visible)
    return hidden


def _bar(rng: random.Random, config: SynthConfig, thing: Thing, sentence: Sentence) -> tuple[FloatArray | None, float]:
    """Path (F,) and width of an upright bar. It is narrower than the thing, and meets it in the middle of the event."""
    if rng.random() >= config.level.occlusion:
        return None, 0.0
    middle = sum(sentence.span_frames) // 2
    pixels_per_frame = rng.choice((-1, 1)) * rng.uniform(0.15, 0.5) * config.size_wh[0] / config.fps
    bar_x = thing.centre_xy[middle, 0] + pixels_per_frame * (np.arange(config.n_frames) - middle)
    return bar_x, min(config.size_wh) * rng.uniform(0.08, 0.14)


def _background(rng: random.Random, config: SynthConfig) -> Pixels:
    """Gray (H, W, 3), plain or with a faint pattern of waves: dark or light, or as configured; middle gray if calm."""
    width, height = config.size_wh
    given = config.level.background
    if config.level.calm and given is None:
        return np.full((height, width, 3), CALM_GRAY, dtype=np.uint8)
    x, y = (np.arange(side) / min(width, height) for side in (width, height))
    level = rng.uniform(*given) if given else rng.choice((rng.uniform(15, 70), rng.uniform(190, 240)))
    strength = rng.choice((0.0, rng.uniform(3, 9)))
    waves = [np.sin(rng.uniform(10, 40) * at + rng.uniform(0, 6)) for at in (x, y)]
    gray = level + strength * (waves[0][None, :] + waves[1][:, None]) / 2  # (1, W) + (H, 1)
    background: Pixels = np.repeat(gray[:, :, None], 3, axis=2).round().clip(0, 255).astype(np.uint8)
    return background


def _draw(scene: Scene, config: SynthConfig) -> Iterator[Pixels]:
    """Frames (H, W, 3) RGB, antialiased by each pixel's distance to the outline."""
    width, height = config.size_wh
    columns, rows = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5
    colours = [np.array(thing.rgb, dtype=np.float32) for thing in scene.things]
    for frame in range(config.n_frames):
        canvas = scene.background.copy()
        for thing, rgb in zip(scene.things, colours, strict=True):
            if not thing.visible[frame]:
                continue
            left, top = np.floor(thing.boxes_xyxy[frame, :2]).astype(int).tolist()
            right, bottom = np.ceil(thing.boxes_xyxy[frame, 2:]).astype(int).tolist()
            x, y = thing.centre_xy[frame].tolist()
            outside = _distance(thing.shape, columns[left:right] - x, rows[top:bottom] - y, float(thing.half[frame]))
            cover = np.clip(0.5 - outside, 0, 1)[:, :, None]
            patch = canvas[top:bottom, left:right]
            patch[:] = np.rint(patch + cover * (rgb - patch))
        if scene.bar_x is not None:
            middle, reach = float(scene.bar_x[frame]), scene.bar_width / 2 + 0.5
            over = slice(max(int(middle - reach), 0), max(math.ceil(middle + reach), 0))
            cover = np.clip(reach - np.abs(columns[over] - middle), 0, 1)[:, None].astype(np.float32)
            patch = canvas[:, over]
            patch[:] = np.rint(patch + cover * (128 - patch.astype(np.float32)))
        yield canvas


def _distance(shape: str, x: Any, y: Any, half: float) -> npt.NDArray[np.float32]:
    """Distance in pixels (H, W) from the outline of a shape around (0, 0), negative inside; x (W,), y (H,)."""
    x, y = np.abs(x)[None, :], y[:, None]
    distance: npt.NDArray[np.float32]
    if shape == "circle":
        distance = np.hypot(x, y) - half
    elif shape == "triangle":
        distance = np.maximum(y - half, (2 * x - y - half) / math.sqrt(5))
    elif shape == "square":
        distance = np.maximum(x, np.abs(y)) - half
    else:
        y, arm = np.abs(y), 0.36 * half
        distance = np.minimum(np.maximum(x - half, y - arm), np.maximum(x - arm, y - half))
    return distance


def _encoded(frames: Iterator[Pixels], config: SynthConfig) -> bytes:
    """H.264 data, with one thread, for repeatable bytes (docs/data.md). Without B-frames, time starts at 0."""
    import av
    from av.video.reformatter import VideoReformatter

    options = {"crf": "14", "preset": "veryfast", "threads": "1", "bf": "0", "g": str(config.fps)}
    converter: Any = VideoReformatter()
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=config.fps, options=options)
        stream.width, stream.height = config.size_wh
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            image = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(converter.reformat(image, format="yuv420p", **one_thread())))
        container.mux(stream.encode())
    return data.getvalue()
