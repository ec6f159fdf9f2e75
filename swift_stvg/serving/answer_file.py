"""A file of answers to the rows of a dataset, with lines as `swift infer` writes them. A later run continues it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift_stvg.errors import DataError
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.serving.cost import cost_fields
from swift_stvg.serving.endpoint import Endpoint
from swift_stvg.serving.engines import Engine, Reply, Row
from swift_stvg.serving.grounding import NO_ANSWER, STATUSES, no_answers, replies, reply_status
from swift_stvg.serving.sampling import Voting
from swift_stvg.settings import Settings
from swift_stvg.util.json_reading import PARSE_ERRORS, json_text
from swift_stvg.util.writing import write_text_atomic

_LINE_BEGINS = b'{"response": '


@dataclass(frozen=True, slots=True)
class Progress:
    """What one run did.

    Attributes:
        kept: number of answers that earlier runs wrote.
        asked: number of rows that this run asked about.
        replies: a reply to each of these rows.
        lines: the lines that this run wrote for them.
    """

    kept: int
    asked: int
    replies: list[Reply]
    lines: list[dict[str, Any]]

    def check(self) -> None:
        """Refuse a run in which nothing was answered.

        Raises:
            EndpointError: no reply is an answer, and earlier runs wrote none either or the server is down.
        """
        found = self.replies
        if found and all(reply.failure for reply in found) and (not self.kept or all(reply.down for reply in found)):
            raise no_answers(found, self.asked)


def answer_rows(
    path: Path,
    rows: Sequence[Row],
    start_engine: Callable[[], Engine],
    made_by: Mapping[str, Any],
    settings: Settings,
    voting: Voting | None = None,
) -> Progress:
    """Ask about the rows that the file has no answer to. Each answer is added to the file when it comes.

    Args:
        path: the file. Lines of earlier runs are kept; where a row was asked again, the newer line replaces the older.
        rows: rows of a dataset. Their own answers are not shown to the engine.
        start_engine: makes the engine. It is called only if a row has no answer yet.
        made_by: which model answers and with which options, written into each line. `model` may be None if only the
            server knows it.
        settings: the settings that the rows were made with.
        voting: as for `ground`.

    Raises:
        DataError: the file holds something else, or answers that were made in another way.
        EndpointError: the server stopped answering.
    """
    made_by = dict(made_by)
    lines = _read(path, made_by, settings)
    answered = {stvg for stvg, line in lines.items() if line["status"] != NO_ANSWER}
    asked = [row for row in rows if row["stvg"] not in answered]
    prompts = [row | {"messages": [m for m in row["messages"] if m["role"] != "assistant"]} for row in asked]
    progress = Progress(len(answered), len(prompts), [], [])
    if not prompts:
        return progress
    engine = start_engine()
    if isinstance(engine, Endpoint):
        made_by["model"] = engine.model
        for line in lines.values():
            _check_same(path, line, made_by)
    if path.exists():
        write_text_atomic(path, _text(lines.values()))  # without a line that was cut off
    engine = (voting or Voting()).around(engine, lambda row: RowTruth.from_json(row["stvg"]))
    try:
        for row, reply in zip(prompts, replies(prompts, engine), strict=True):
            row_truth = RowTruth.from_json(row["stvg"])
            status, detail = reply_status(row_truth, row_truth.parse(reply.text), reply)
            line = {"response": reply.text, **row, "status": status, "detail": detail}
            line |= cost_fields(reply) | made_by
            progress.replies.append(reply)
            progress.lines.append(line)
            with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(_text([line]))
            lines[row["stvg"]] = line
    finally:
        if lines:
            write_text_atomic(path, _text(lines.values()))  # one line for each row
    return progress


def _text(lines: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _read(path: Path, made_by: Mapping[str, Any], settings: Settings) -> dict[str, dict[str, Any]]:
    """Lines of earlier runs by the row_truth of their row. If a row has several lines, the last one counts."""
    found: dict[str, dict[str, Any]] = {}
    known = {name: value for name, value in made_by.items() if name != "model" or value is not None}
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
            made_with = RowTruth.from_json(json_text(data["stvg"])).settings.to_texts()
        except PARSE_ERRORS as error:
            raise DataError(f"line {number} of {path} is none that ground wrote: {error!r:.200}") from None
        _check_same(path, data, known)
        _check_same(path, made_with, settings.to_texts())
        found[data["stvg"]] = data
    return found


def _is_cut_off(line: bytes) -> bool:
    """Whether the last line of a file is empty, or the beginning of a line that ground writes."""
    if not (line.startswith(_LINE_BEGINS) or _LINE_BEGINS.startswith(line)):
        return False
    try:
        json.loads(line)
    except RecursionError:
        return False
    except ValueError:
        return True
    return False


def _check_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to mix answers that were made in different ways."""
    differing = [name for name in now if before.get(name) != now[name]]
    if differing:
        was, is_now = (", ".join(f"{name} {of.get(name)}" for name in differing) for of in (before, now))
        raise DataError(f"{path} holds answers with {was}, not {is_now}: give another --out")
