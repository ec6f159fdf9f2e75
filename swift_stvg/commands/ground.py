"""`swift-stvg ground`: find when and where sentences happen in a video, with a model or a server."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from swift_stvg.commands.shared import check_writable
from swift_stvg.errors import DataError, VideoError
from swift_stvg.records import MAX_VIDEO_FRAMES
from swift_stvg.report.drawing import render
from swift_stvg.report.text.grounding import render_grounding
from swift_stvg.rows.row_truth import PromptSpec, RowTruth
from swift_stvg.scoring.cost import cost_line
from swift_stvg.scoring.vote import RULES
from swift_stvg.serving.answer_file import answer_rows
from swift_stvg.serving.cost import cost_of
from swift_stvg.serving.endpoint import SEND, Endpoint, check_url
from swift_stvg.serving.engines import Engine, Reply
from swift_stvg.serving.exporters import to_coco, to_mot, to_tubes
from swift_stvg.serving.grounding import EVERY_FRAME, OK, Grounded, Search
from swift_stvg.serving.sampling import Voting
from swift_stvg.settings import Settings
from swift_stvg.sharing.checkpoint import secrets
from swift_stvg.sharing.trained_settings import take_settings
from swift_stvg.sources import load_rows, parse_dataset
from swift_stvg.start import model_or_start
from swift_stvg.util.output_folder import first_line_object, make_folder, require_own_folder
from swift_stvg.util.writing import write_text_atomic
from swift_stvg.video.reader import is_picture

EXPORTS = ("coco", "mot", "tubes")
FREE = {"--temperature": "1", "--top_k": "-1", "--top_p": "1", "--repetition_penalty": "1"}
"""Defaults of ms-swift's options for --samples. They are those of GRPO, not of the model's generation_config.json."""
SETTINGS_OF_MODEL = (
    "The command uses the STVG_* settings that the checkpoint was trained with. For a server, or for a checkpoint that "
    "does not record them, set them in the environment."
)
DRAWINGS = ("mp4", "gif", "png", "none")
ANSWERS = "answers.jsonl"


def add_options(ground: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = ground.add_argument
    ground.usage = "swift-stvg ground VIDEO SENTENCE [SENTENCE ...] [--model M | --endpoint URL] [options]"
    ground.description = (
        "Find when and where sentences happen in a video. VIDEO is a video or a picture. Each SENTENCE is a separate "
        "question."
    )
    add("--dataset", metavar="NAME:SUBSET", help="answer these rows instead, for `swift-stvg score`")
    add_engine_options(ground)
    add("--out", type=Path, metavar="PATH", help="output folder; with --dataset: a .jsonl file")
    add(
        "--format",
        nargs="+",
        choices=("json", *EXPORTS),
        default=[],
        help="json: print records instead of text; others: also write the boxes to the output folder in this format",
    )
    add("--draw", choices=DRAWINGS, help="format in which answers are drawn onto the video (default: mp4)")
    add("--clip", nargs=2, type=float, metavar=("START", "END"), help="search only this part of the video, in seconds")
    add(
        "--rate",
        type=_rate,
        metavar="R",
        help="boxes per second, or `all` for a box in each frame (default: only the boxes of the model's answer)",
    )
    add("--samples", type=int, default=1, metavar="K", help="sample K answers to each sentence, and vote on them")
    add(
        "--vote",
        choices=RULES,
        default="median",
        help="rule of the vote: medoid takes the answer that agrees most with the others; median takes the median of "
        "spans and boxes (default: median)",
    )
    ground.epilog = (
        "Give VIDEO and sentences first. Options that are not listed go to ms-swift, as for `swift infer`: --adapters, "
        f"--max_new_tokens, --infer_backend. {SETTINGS_OF_MODEL}"
    )
    ground.set_defaults(run=run, passes_on=True)


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the model, and the options for a server."""
    parser.add_argument(
        "--model",
        help="a model or checkpoint, as for `swift infer`; with --endpoint: the model's name on the server (default: "
        "the small start model of this package, which knows synthetic clips only)",
    )
    parser.add_argument(
        "--endpoint",
        metavar="URL",
        help="a server with OpenAI's chat completions API, such as http://127.0.0.1:8000/v1",
    )
    server = parser.add_argument_group("with --endpoint")
    add = server.add_argument
    add("--send", choices=SEND, help="send frames as images (default), or the video file, for `swift deploy`")
    add("--timeout", dest="timeout_s", type=float, metavar="S", help="seconds to wait for an answer (default: 120)")
    add("--retries", type=int, help="attempts after a temporary failure (default: 2)")
    add("--at-once", type=int, metavar="N", help="number of parallel requests (default: 4)")
    add(
        "--body",
        type=_object,
        metavar="JSON",
        help='more fields of the request, such as {"max_tokens": null, "seed": 1}',
    )


def run(args: argparse.Namespace) -> int:
    """Ask the model or server, and print or write its answers."""
    # video and sentences are not arguments of argparse: it would take values of ms-swift's options for sentences
    args.what = list(takewhile(lambda word: not _is_option(word), args.further))
    args.further = args.further[len(args.what) :]
    if bool(args.what) == bool(args.dataset):
        raise DataError("give a video and sentences, or --dataset; options for ms-swift come after them")
    check_engine_options(args)
    args.voting = Voting(args.samples, args.vote)
    if args.samples > 1:
        _make_sampling(args)
    return (_answer_dataset if args.dataset else _ground)(args, cache(partial(make_engine, args)))


def check_engine_options(args: argparse.Namespace) -> None:
    """Check the options of `add_engine_options`, and take the start model if no model is given.

    Raises:
        DataError: options do not fit together, or the address is not valid.
    """
    if args.endpoint and args.further:
        raise DataError(f"with --endpoint leave out these options, which are for ms-swift: {' '.join(args.further)}")
    if args.endpoint:
        check_url(args.endpoint)
    if not args.endpoint and _of_server(args):
        raise DataError("--send, --timeout, --retries, --at-once and --body are for a server: give --endpoint too")
    if not args.endpoint:
        args.model = model_or_start(args.model)


def _make_sampling(args: argparse.Namespace) -> None:
    """Add options so that the model samples its answers.

    Raises:
        DataError: the options ask for the same answer each time.
    """
    if args.endpoint:
        args.body = {"temperature": 1} | (args.body or {})
        same = args.body["temperature"] == 0 or args.body.get("seed") is not None
    else:
        given = _options(args.further)
        args.further += [f"{name}={value}" for name, value in FREE.items() if name not in given]
        same = given.get("--temperature") in ("0", "0.0")
    if same:
        raise DataError("--samples needs different answers: give a temperature above 0, and no seed in --body")


def model_settings(args: argparse.Namespace, engine: Callable[[], Engine]) -> Settings:
    """The settings of the model's training, or of the environment."""
    if not args.endpoint:
        folders = [*_options(args.further).get("--adapters", "").split(), args.model]
        if all(map(os.path.isdir, folders)):
            take_settings(folders, partial(print, file=sys.stderr))
        else:
            engine()  # a model of a hub: its settings are known only after loading
    return Settings.from_env()


def _ground(args: argparse.Namespace, engine: Callable[[], Engine]) -> int:
    exports = [form for form in args.format if form != "json"]
    if (exports or args.draw not in (None, "none")) and not args.out:
        raise DataError("--format and --draw write files: give --out, a folder")
    video, *sentences = args.what
    if not os.path.exists(video):
        raise VideoError("video missing", video)
    made: list[Path] = []
    if args.out:
        require_own_folder(args.out, "answers of swift-stvg ground", lambda: _is_own(args.out / ANSWERS))
        made = make_folder(args.out)
    try:
        clip_s = tuple(args.clip) if args.clip else None
        search = Search.of(Path(video), sentences, model_settings(args, engine), clip_s)
        found = search.answers_from(engine(), args.rate, args.voting)
    except BaseException:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise
    records = [grounded.record for grounded in found]
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    if args.out:
        for path in _written_with(args.out / ANSWERS):  # files of an earlier run
            path.unlink(missing_ok=True)
        write_text_atomic(args.out / ANSWERS, lines)
        _export(args, records)
        _draw(args, found)
    print(lines if "json" in args.format else "".join(map(render_grounding, records)), end="")
    _report(records)
    _report_cost([grounded.reply for grounded in found], [search.spec] * len(found))
    return 0


def _is_own(answers: Path) -> bool:
    """Whether an earlier run wrote this file of answers."""
    return {"schema", "swift_stvg"} <= first_line_object(answers).keys()


def _written_with(answers: Path) -> list[Path]:
    """Files that an earlier run may have written beside its answers."""
    if not answers.exists():
        return []
    with answers.open("rb") as file:
        numbers = range(1, sum(1 for _ in file) + 1)
    names = ["coco.json", "tubes.json", *(f"mot_{number}.txt" for number in numbers)]
    names += [f"{number}.{form}" for number in numbers for form in DRAWINGS if form != "none"]
    return [answers.with_name(name) for name in names]


def _export(args: argparse.Namespace, records: list[dict[str, Any]]) -> None:
    if "coco" in args.format:
        write_text_atomic(args.out / "coco.json", to_coco(records))
    if "tubes" in args.format:
        write_text_atomic(args.out / "tubes.json", to_tubes(records))
    if "mot" in args.format:
        for number, record in enumerate(records, 1):
            write_text_atomic(args.out / f"mot_{number}.txt", to_mot(record))


def _draw(args: argparse.Namespace, found: list[Grounded]) -> None:
    video = Path(args.what[0])
    form = args.draw or ("png" if is_picture(video) else "mp4")
    if form != "none":
        for number, grounded in enumerate(found, 1):
            most = MAX_VIDEO_FRAMES if form == "mp4" else None
            title = f"drawing {number} of {len(found)}"
            render(grounded.overlay, video, args.out / f"{number}.{form}", most, title)


def _answer_dataset(args: argparse.Namespace, engine: Callable[[], Engine]) -> int:
    if args.out is None or args.out.suffix != ".jsonl":
        raise DataError("--dataset needs --out, a .jsonl file")
    if args.clip or args.rate or args.format or args.draw:
        raise DataError("--clip, --rate, --format and --draw are for one video: leave them out with --dataset")
    check_writable(args.out)
    name, splits, count = parse_dataset(args.dataset)
    settings = model_settings(args, engine)
    rows = [row for split in splits for row in load_rows(name, split, settings)[0]][:count]
    done = answer_rows(args.out, rows, engine, _made_by(args), settings, args.voting)
    print(f"{args.out}: {done.kept} answers kept from an earlier run, {done.asked} rows asked now", file=sys.stderr)
    done.check()
    row_truths = [RowTruth.from_json(line["stvg"]) for line in done.lines]
    _report([{**line, "sentence": found.id} for line, found in zip(done.lines, row_truths, strict=True)])
    _report_cost(done.replies, row_truths)
    return 0


def _made_by(args: argparse.Namespace) -> dict[str, Any]:
    """The model and every option that changes its answers, without secrets. Each answer to a dataset records it."""
    options = _options(args.further)
    body = args.body or {}
    return {
        "model": args.model,
        "endpoint": args.endpoint,
        "send": (args.send or SEND[0]) if args.endpoint else None,
        "body": {name: value for name, value in body.items() if name not in secrets(body, {})},
        "votes": None if args.samples == 1 else [args.samples, args.vote],
        "options": {name: value for name, value in options.items() if name not in secrets(options, {})},
    }


def _options(further: list[str]) -> dict[str, str]:
    """Options for ms-swift with their values."""
    found: dict[str, str] = {}
    name = ""
    for word in further:
        if _is_option(word):
            name, _, value = word.partition("=")
            found[name] = value
        else:
            found[name] = f"{found.get(name, '')} {word}".strip()
    return found


def _is_option(word: str) -> bool:
    """Whether a word is an option. A sentence may begin with a dash, but it has spaces."""
    return word.startswith("-") and " " not in word.partition("=")[0]


def make_engine(args: argparse.Namespace) -> Engine:
    """The model or server of the options."""
    if not args.endpoint:
        from swift_stvg.adapters.engine import SwiftEngine

        return SwiftEngine(args.model, *args.further)
    return Endpoint(args.endpoint, args.model, **_of_server(args))


def _of_server(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the server, as arguments of `Endpoint`."""
    names = ("send", "timeout_s", "retries", "at_once", "body")
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _report(records: list[dict[str, Any]]) -> None:
    """Print how many answers have a fault, with an example of each kind."""
    statuses = Counter(record["status"] for record in records)
    for status, number in statuses.items():
        if status != OK:
            first = next(record for record in records if record["status"] == status)
            print(
                f"{number} of {statuses.total()} answers: {status}, for example {first['sentence']!r:.60}: "
                f"{first['detail']:.300}",
                file=sys.stderr,
            )


def _report_cost(replies: Sequence[Reply], specs: Sequence[PromptSpec]) -> None:
    if line := cost_line(cost_of(replies, specs).figures()):
        print(line, file=sys.stderr)


def _rate(text: str) -> float:
    try:
        rate = EVERY_FRAME if text == "all" else float(text)
    except ValueError:
        rate = 0.0
    if not rate > 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0, or all")
    return rate


def _object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise argparse.ArgumentTypeError(f"{text!r} must be a JSON object")
    return data
