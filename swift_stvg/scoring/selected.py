"""Reading the answers to choose from, and describing the rows that `rewards.selection` chose."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.errors import DataError
from swift_stvg.rewards.selection import SELECTED_KEY, Candidates, Selected, shares_of
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.dataset import distribution
from swift_stvg.settings import PREFIX
from swift_stvg.util.json_reading import PARSE_ERRORS, json_text, read_bytes

_ERRORS = (*PARSE_ERRORS, IndexError)


def read_candidates(paths: Sequence[Path]) -> list[Candidates]:
    """The answers of several files, put together by row.

    A line is one that `swift-stvg headroom --answers` wrote, whose samples are taken and whose greedy answer is not; or
    one of a result file of `swift infer`; or one that `swift sample` wrote without rewards. The last two hold one
    answer. The rows come in the order in which they are first seen.

    Raises:
        DataError: a file cannot be read or holds no answer, a line is another, or rows do not belong together.
    """
    groups: dict[tuple[str, str, str], tuple[RowTruth, str, list[str]]] = {}
    first: tuple[str, RowTruth] | None = None
    for path in paths:
        empty = True
        for where, line in _lines(path):
            try:
                row_truth, video, texts = _answers(line)
            except _ERRORS as error:
                raise DataError(
                    f"{where} holds no answer of `swift-stvg headroom --answers`, `swift infer` or `swift sample` with "
                    f"its row's `stvg` column: {error!r:.300}"
                ) from None
            first = first or (where, row_truth)
            _same_settings(first, (where, row_truth))
            key = (row_truth.dataset, row_truth.split, row_truth.id)
            known, known_video, answers = groups.setdefault(key, (row_truth, video, []))
            if known.to_json() != row_truth.to_json() or known_video != video:
                raise DataError(f"{where}: row {row_truth.id} has another truth or video than in an earlier line")
            answers += texts
            empty = False
        if empty:
            raise DataError(f"{path} holds no answer")
    return [Candidates(*group) for group in groups.values()]


def _answers(line: str) -> tuple[RowTruth, str, list[str]]:
    """The truth, the video and the answers of a line."""
    data = json.loads(line)
    row_truth = RowTruth.from_json(data["stvg"])
    if "samples" in data:
        if not isinstance(data["samples"], list):
            raise TypeError("`samples` must be a list")
        return row_truth, json_text(data["video"]), [json_text(text) for text in data["samples"]]
    if "response" in data:
        return row_truth, json_text(data["videos"][0]), [json_text(data["response"])]
    if "rejected_response" in data or SELECTED_KEY in data or data["messages"][-1]["role"] != "assistant":
        raise ValueError("a row of a dataset, and not an answer of a model")
    json_text(data["id"])  # of `swift sample`
    return row_truth, json_text(data["videos"][0]), [json_text(data["messages"][-1]["content"])]


def _same_settings(first: tuple[str, RowTruth], other: tuple[str, RowTruth]) -> None:
    if first[1].settings is other[1].settings:  # the usual case: read from the same text
        return
    expected, found = first[1].settings.to_texts(), other[1].settings.to_texts()
    if differing := [name for name in expected if expected[name] != found[name]]:
        now, then = (", ".join(f"{PREFIX}{n.upper()}={texts[n]}" for n in differing) for texts in (found, expected))
        raise DataError(
            f"{other[0]} was made with {now}, {first[0]} with {then}: rows of one file have the same settings"
        )


def read_selected(path: Path) -> tuple[list[dict[str, Any]], list[Selected]]:
    """The rows of a file that `swift-stvg select` wrote, and how each was chosen.

    Raises:
        DataError: the file cannot be read, is empty, or a line was not written by `select`.
    """
    rows: list[dict[str, Any]] = []
    selected: list[Selected] = []
    first: tuple[str, RowTruth] | None = None
    for where, line in _lines(path):
        try:
            row = json.loads(line)
            row_truth, how = RowTruth.from_json(row["stvg"]), Selected.from_json(row[SELECTED_KEY])
            json_text(row["messages"][-1]["content"])
            json_text(row["videos"][0])
            if how.purpose == "dpo":
                json_text(row["rejected_response"])
            if how.purpose == "kto" and not isinstance(row["label"], bool):
                raise TypeError(f"`label` must be true or false, got {row['label']!r:.60}")
        except _ERRORS as error:
            raise DataError(f"{where} was not written by swift-stvg select: {error!r:.300}") from None
        first = first or (where, row_truth)
        _same_settings(first, (where, row_truth))
        if selected and how.purpose != selected[0].purpose:
            raise DataError(
                f"{where} is a row for {how.purpose}, earlier lines of the file are for {selected[0].purpose}"
            )
        rows.append(row)
        selected.append(how)
    if not rows:
        raise DataError(f"{path} holds no row")
    return rows, selected


def describe(rows: Sequence[dict[str, Any]], selected: Sequence[Selected]) -> dict[str, Any]:
    """What N >= 1 rows of one purpose hold.

    Returns:
        for, weights, rows, prompts (different ones), figures (distributions of the reward of chosen answers, of
        the difference within pairs, and of the lengths in characters), and shares: of rows whose chosen answer is the
        exact answer, and, of pairs, of the rows whose difference is made by form, time and place.
    """
    chosen = [row["messages"][-1]["content"] for row in rows if row.get("label") is not False]
    rejected = [row["rejected_response"] for row in rows if "rejected_response" in row]
    rejected += [row["messages"][-1]["content"] for row in rows if row.get("label") is False]
    pairs = [how for row, how in zip(rows, selected, strict=True) if row.get("label") is not False]
    columns = {
        "reward of the chosen answer": [how.reward for how in pairs],
        "difference of rewards in a pair": [how.difference for how in pairs if how.difference is not None],
        "chosen answer, characters": [len(text) for text in chosen],
        "rejected answer, characters": [len(text) for text in rejected],
    }
    shares = {"the exact answer is chosen": float(np.mean([how.truth for how in pairs]))} if pairs else {}
    labels = [row["label"] for row in rows if "label" in row]
    if labels:
        shares["label true"] = float(np.mean(labels))
    shares |= {f"difference made by {aspect}": share for aspect, share in shares_of(pairs).items()}
    return {
        "for": selected[0].purpose,
        "weights": dict(selected[0].weights),
        "rows": len(rows),
        "prompts": len({row["stvg"] for row in rows}),
        "figures": {
            name: distribution(np.asarray(values, dtype=np.float64)) for name, values in columns.items() if values
        },
        "shares": shares,
    }


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """(where, text) of the lines of a file that are not blank."""
    try:
        text = read_bytes(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number} of {path}", line
