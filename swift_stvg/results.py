"""Result files of `swift infer`, scored on the sampled grid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from swift_stvg.errors import DataError
from swift_stvg.metrics import summarise
from swift_stvg.rewards import Batch, temporal_reward, viou
from swift_stvg.rows import Contract


def read_results(path: Path) -> Batch:
    """Completions of a result file with their contracts.

    Raises:
        DataError: the file is missing or empty, or a line of it is not a result with an `stvg` column.
    """
    if not path.is_file():
        raise DataError(f"no result file {path}")
    pairs = list(_pairs(path))
    if not pairs:
        raise DataError(f"{path} holds no result")
    return Batch([completion for completion, _ in pairs], [contract for _, contract in pairs])


def score(path: Path) -> dict[str, float]:
    """Native-grid metrics of a result file, with the number of answers and the share that is well-formed."""
    batch = read_results(path)
    metrics = summarise(temporal_reward(batch), viou(batch))
    return {"answers": len(batch), "well-formed": sum(batch.valid) / len(batch), **metrics}


def _pairs(path: Path) -> Iterator[tuple[str, Contract]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                data = json.loads(line)
                yield str(data["response"]), Contract.from_json(data["stvg"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise DataError(
                    f"line {number} of {path} is not a result of `swift infer` with its row's `stvg` column: {error!r}"
                ) from None
