"""Files of predictions, each read by its kind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from swift_stvg.errors import DataError
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.tube_file import TubeFile

Predictions: TypeAlias = AnswerFile | TubeFile
"""The predictions of one system."""


def read_predictions(path: Path, style: str | None = None, coords: str | None = None) -> Predictions:
    """A file of predictions: `.jsonl` as `swift infer` writes it, `.json` with tubes.

    Args:
        path: the file.
        style, coords: of answers; as for `recognise`.

    Raises:
        DataError: the file is missing or has another suffix.
    """
    if not os.path.isfile(path):  # False, where Path.is_file raises, for names that cannot be
        raise DataError(f"no file {str(path)!r:.200}")
    suffix = path.suffix.strip().lower()
    if suffix == ".jsonl":
        return AnswerFile.read(path, style, coords)
    if suffix == ".json":
        return TubeFile.read(path)
    if suffix == ".csv":
        raise DataError(f"{path}: .csv files of tubes are scored with --vue-stg")
    raise DataError(f"{path} must be a .jsonl file of `swift infer` or a .json file of tubes")
