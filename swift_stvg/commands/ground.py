"""`swift-stvg ground`: from a video and sentences to spans, boxes and drawings, by a model or a server."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from swift_stvg.commands import check_writable
from swift_stvg.drawing import render
from swift_stvg.engines import SEND, Endpoint, Engine, Reply, SwiftEngine, check_url
from swift_stvg.errors import DataError
from swift_stvg.grounding import (
    EVERY_FRAME,
    NO_ANSWER,
    OK,
    STATUSES,
    Grounded,
    Search,
    judge,
    no_answers,
    replies,
    to_coco,
    to_mot,
    to_tubes,
)
from swift_stvg.jsonfile import MALFORMED, is_vacant, text, write_whole
from swift_stvg.records import MOST_FRAMES
from swift_stvg.rows import Contract
from swift_stvg.settings import Settings
from swift_stvg.sharing import secrets
from swift_stvg.sources import load_rows, parse_dataset
from swift_stvg.start import model_or_start
from swift_stvg.video import is_picture

EXPORTS = ("coco", "mot", "tubes")
DRAWINGS = ("mp4", "gif", "png", "none")
ANSWERS = "answers.jsonl"
_BEGINS = b'{"response": '
"""How a line about a row of a dataset begins."""


def add_options(ground: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add = ground.add_argument
    ground.usage = "swift-stvg ground VIDEO SENTENCE [SENTENCE ...] [--model M | --endpoint URL] [options]"
    ground.description = "VIDEO is a video or a picture; each SENTENCE says what to look for, by itself."
    add("--dataset", metavar="NAME:SUBSET", help="instead: answer these rows, as for `swift infer`, to be scored")
    add(
        "--model",
        help="a model or checkpoint, as for `swift infer`; with --endpoint, its name there (default: the start, a "
        "small model that comes with this package and knows synthetic clips)",
    )
    add("--endpoint", metavar="URL", help="a server with OpenAI's chat completions, such as http://127.0.0.1:8000/v1")
    add("--out", type=Path, metavar="PATH", help="a folder for all that is made; a .jsonl file for --dataset")
    add("--format", nargs="+", choices=EXPORTS, default=[], help="also written to the folder")
    add("--draw", choices=DRAWINGS, help="how answers are drawn onto the video (default: mp4)")
    add("--clip", nargs=2, type=float, metavar=("START", "END"), help="seconds of the video to look at (default: all)")
    add("--rate", type=_rate, metavar="R", help="boxes per second, or all; default: those that the model gave")
    server = ground.add_argument_group("with --endpoint")
    add = server.add_argument
    add("--send", choices=SEND, help="frames as images (default), or the file, for `swift deploy`")
    add("--timeout", dest="timeout_s", type=float, metavar="S", help="seconds to wait for an answer (default: 120)")
    add("--retries", type=int, help="further attempts after a failure that may pass (default: 2)")
    add("--at-once", type=int, metavar="N", help="requests at a time (default: 4)")
    add("--body", type=_object, metavar="JSON", help='more of the request, e.g. {"max_tokens": null, "seed": 1}')
    ground.epilog = (
        "Give VIDEO and sentences first. Other options go to ms-swift, as for `swift infer`: --adapters, "
        "--max_new_tokens, --infer_backend. The STVG_* settings must be those of the training."
    )
    ground.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Ask, and print or write what was answered."""
    # argparse would take values of ms-swift's options for sentences
    args.what = list(takewhile(lambda word: not _is_option(word), args.further))
    args.further = args.further[len(args.what) :]
    if args.endpoint and args.further:
        raise DataError(f"with --endpoint these mean nothing: {' '.join(args.further)}")
    if args.endpoint:
        check_url(args.endpoint)
    if not args.endpoint and _of_server(args):
        raise DataError("--send, --timeout, --retries, --at-once and --body are for --endpoint")
    if bool(args.what) == bool(args.dataset):
        raise DataError("give a video and sentences, or --dataset; options of ms-swift come after them")
    if not args.endpoint:
        args.model = model_or_start(args.model)
    settings = Settings.from_env()
    return _answer_dataset(args, settings) if args.dataset else _ground(args, settings)


def _ground(args: argparse.Namespace, settings: Settings) -> int:
    if (args.format or args.draw not in (None, "none")) and not args.out:
        raise DataError("--format and --draw need --out, a folder")
    video, *sentences = args.what
    search = Search.of(Path(video), sentences, settings, tuple(args.clip) if args.clip else None)
    made = _make_folder(args.out) if args.out else []
    try:
        found = search.put_to(_engine(args), args.rate)
    except BaseException:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise
    records = [grounded.record for grounded in found]
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    if args.out:
        for path in _made_of(args.out / ANSWERS):  # nothing of an earlier run stays beside the new answers
            path.unlink(missing_ok=True)
        write_whole(args.out / ANSWERS, lines)
        _export(args, records)
        _draw(args, found)
    else:
        print(lines, end="")
    _report(Counter(record["status"] for record in records), records)
    return 0


def _make_folder(out: Path) -> list[Path]:
    """Make the folder for all that is made, and those above it; returns the new ones, the innermost first.

    Raises:
        DataError: it cannot be made, or holds what no earlier run put there.
    """
    new = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        if is_vacant(out) or _is_ours(out / ANSWERS):
            return new
    except OSError as error:
        raise DataError(f"cannot make the folder {out}: {error.strerror}") from None
    raise DataError(f"{out} holds something else than answers: choose another folder")


def _is_ours(answers: Path) -> bool:
    try:
        with answers.open("rb") as file:
            first = json.loads(file.readline())
    except (FileNotFoundError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and {"schema", "swift_stvg"} <= set(first)


def _made_of(answers: Path) -> list[Path]:
    """What an earlier run may have put beside its answers."""
    if not answers.exists():
        return []
    with answers.open("rb") as file:
        numbers = range(1, sum(1 for _ in file) + 1)
    names = ["coco.json", "tubes.json", *(f"mot_{number}.txt" for number in numbers)]
    names += [f"{number}.{form}" for number in numbers for form in DRAWINGS if form != "none"]
    return [answers.with_name(name) for name in names]


def _export(args: argparse.Namespace, records: list[dict[str, Any]]) -> None:
    if "coco" in args.format:
        write_whole(args.out / "coco.json", to_coco(records))
    if "tubes" in args.format:
        write_whole(args.out / "tubes.json", to_tubes(records))
    if "mot" in args.format:
        for number, record in enumerate(records, 1):
            write_whole(args.out / f"mot_{number}.txt", to_mot(record))


def _draw(args: argparse.Namespace, found: list[Grounded]) -> None:
    video = Path(args.what[0])
    form = args.draw or ("png" if is_picture(video) else "mp4")
    if form != "none":
        for number, grounded in enumerate(found, 1):
            most = MOST_FRAMES if form == "mp4" else None
            title = f"drawing {number} of {len(found)}"
            render(grounded.overlay, video, args.out / f"{number}.{form}", most, title)


def _answer_dataset(args: argparse.Namespace, settings: Settings) -> int:
    """Lines as `swift infer` writes them; those that an earlier run wrote are kept."""
    if args.out is None or args.out.suffix != ".jsonl":
        raise DataError("--dataset needs --out, a .jsonl file")
    if args.clip or args.rate or args.format or args.draw:
        raise DataError("--clip, --rate, --format and --draw are about one video, not --dataset")
    check_writable(args.out)
    name, splits, count = parse_dataset(args.dataset)
    rows = [row for split in splits for row in load_rows(name, split, settings)[0]][:count]
    who = _who(args)
    lines = _kept(args.out, who, settings)
    answered = {stvg for stvg, line in lines.items() if line["status"] != NO_ANSWER}
    asked = [row for row in rows if row["stvg"] not in answered]
    prompts = [row | {"messages": [m for m in row["messages"] if m["role"] != "assistant"]} for row in asked]
    found: list[dict[str, Any]] = []
    given: list[Reply] = []
    if prompts:
        engine = _engine(args)
        if isinstance(engine, Endpoint):
            who["model"] = engine.model
            for line in lines.values():
                _check_same(args.out, line, who)
        if args.out.exists():
            write_whole(args.out, _text(lines.values()))  # without what was cut off
        try:
            for row, reply in zip(prompts, replies(prompts, engine), strict=True):
                contract = Contract.from_json(row["stvg"])
                status, detail = judge(contract, contract.format.parse(reply.text), reply)
                line = {"response": reply.text, **row, "status": status, "detail": detail, **who}
                found.append({"sentence": contract.id, "status": status, "detail": detail})
                given.append(reply)
                with args.out.open("a", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(_text([line]))
                lines[row["stvg"]] = line
        finally:
            if lines:
                write_whole(args.out, _text(lines.values()))  # without the lines that newer ones stand for
    print(f"{args.out}: {len(answered)} answers were there, {len(prompts)} were asked for", file=sys.stderr)
    if given and all(reply.failure for reply in given) and (not answered or all(reply.down for reply in given)):
        raise no_answers(given, len(prompts))
    _report(Counter(line["status"] for line in found), found)
    return 0


def _who(args: argparse.Namespace) -> dict[str, Any]:
    """Who answers and how, as each line says it: all that makes other answers of the same rows, and no secrets."""
    options = _options(args.further)
    body = args.body or {}
    return {
        "model": args.model,
        "endpoint": args.endpoint,
        "send": (args.send or SEND[0]) if args.endpoint else None,
        "body": {name: value for name, value in body.items() if name not in secrets(body, {})},
        "options": {name: value for name, value in options.items() if name not in secrets(options, {})},
    }


def _options(further: list[str]) -> dict[str, str]:
    """Those that are given to ms-swift, with their values."""
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
    """Whether a word is one, and no sentence that begins with a dash."""
    return word.startswith("-") and " " not in word.partition("=")[0]


def _text(lines: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _kept(path: Path, who: dict[str, Any], settings: Settings) -> dict[str, dict[str, Any]]:
    """Lines of an earlier run by their row's contract; of several about one row the last.

    Args:
        path: the file.
        who: answers, as each line says; which model a server has is not compared while it is not known.
        settings: the rows are made with.

    Raises:
        DataError: the file holds something else, which must not be lost, or must not be mixed with this.
    """
    found: dict[str, dict[str, Any]] = {}
    known = {name: value for name, value in who.items() if name != "model" or value is not None}
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if number == len(lines) and _is_cut_off(line):
            break
        try:
            data = json.loads(line)
            if data["status"] not in STATUSES:
                raise ValueError(f"status {data['status']!r:.40}")
            made_with = Contract.from_json(text(data["stvg"])).settings.to_texts()
        except MALFORMED as error:
            raise DataError(f"line {number} of {path} is none that ground wrote: {error!r:.200}") from None
        _check_same(path, data, known)
        _check_same(path, made_with, settings.to_texts())
        found[data["stvg"]] = data
    return found


def _is_cut_off(line: bytes) -> bool:
    """Whether the last line of a file is what is left of one of ours, or nothing."""
    if not (line.startswith(_BEGINS) or _BEGINS.startswith(line)):
        return False
    try:
        json.loads(line)
    except RecursionError:
        return False
    except ValueError:
        return True
    return False


def _check_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to mix answers that were made in another way."""
    differing = [name for name in now if before.get(name) != now[name]]
    if differing:
        was, is_now = (", ".join(f"{name} {of.get(name)}" for name in differing) for of in (before, now))
        raise DataError(f"{path} holds answers with {was}, not {is_now}: give another --out")


def _engine(args: argparse.Namespace) -> Engine:
    if not args.endpoint:
        return SwiftEngine(args.model, *args.further)
    return Endpoint(args.endpoint, args.model, **_of_server(args))


def _of_server(args: argparse.Namespace) -> dict[str, Any]:
    """What was said of the server, as `Endpoint` takes it."""
    names = ("send", "timeout_s", "retries", "at_once", "body")
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _report(statuses: Counter[str], records: list[dict[str, Any]]) -> None:
    """Say what was wrong with answers, if anything was."""
    for status, number in statuses.items():
        if status != OK:
            first = next(record for record in records if record["status"] == status)
            print(
                f"{number} of {statuses.total()} answers: {status}, for example {first['sentence']!r:.60}: "
                f"{first['detail']:.300}",
                file=sys.stderr,
            )


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
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise argparse.ArgumentTypeError(f"{text!r} must be a JSON object")
    return data
