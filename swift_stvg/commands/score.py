"""`swift-stvg score`: score predictions with the protocols of published tables."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from swift_stvg import __version__
from swift_stvg.commands.shared import add_delivery, deliver, names_of, read_dataset
from swift_stvg.errors import DataError
from swift_stvg.geometry import THRESHOLDS
from swift_stvg.report.text.explanation import render_explanation
from swift_stvg.report.text.score import render_score, with_published
from swift_stvg.scoring.explain import explain
from swift_stvg.scoring.predictions import AnswerFile, TubeFile, read_predictions
from swift_stvg.scoring.score import ALL_PROTOCOLS, FACETS, GroundTruth, score
from swift_stvg.scoring.vote import RULES, read_voted
from swift_stvg.settings import UNITS, Settings
from swift_stvg.util.json_reading import no_garbage_collection
from swift_stvg.util.writing import write_text_atomic


def add_options(score: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = score.add_argument
    add(
        "results",
        type=Path,
        nargs="*",
        help=".jsonl of `swift infer`, or .json with tubes; later files are compared with the first",
    )
    add(
        "--dataset",
        metavar="NAME:SUBSET",
        help="ground truth from annotation files below STVG_DATA_ROOT; videos are not needed",
    )
    add(
        "--oracle", metavar="NAME:SUBSET", help="score the exact answers to this dataset: the upper bound of its scores"
    )
    add(
        "--protocol",
        type=names_of(ALL_PROTOCOLS),
        default=[],
        metavar="A,B",
        help="protocols (default: all that apply)",
    )
    add(
        "--by",
        type=names_of(FACETS),
        default=["query"],
        metavar="A,B",
        help="also score groups of samples by these properties (default: query)",
    )
    add(
        "--thresholds",
        type=_shares,
        default=THRESHOLDS,
        metavar="R,S",
        help="thresholds of tIoU@R and vIoU@R (default: 0.3,0.5)",
    )
    add(
        "--partial",
        action="store_true",
        help="score the readable boxes of answers that would count 0, if their span is readable",
    )
    add(
        "--no-interpolation",
        action="store_true",
        help="count 0 for frames of a span without a box, instead of interpolating",
    )
    add(
        "--vote",
        choices=RULES,
        help="score one answer to each row, joined from the sampled answers of `ground --samples` or `headroom "
        "--answers`: medoid or median",
    )
    add("--compare-to", choices=["published"], help="print the paper's tables and later published scores too")
    add_delivery(score)
    add("--explain", metavar="ID", help="explain the answer to one sample instead: its boxes, rewards and metrics")
    add(
        "--failures",
        type=Path,
        metavar="FILE",
        help="write all answers that count 0 or were set aside to this file, as JSON lines",
    )
    score.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score, and deliver the report."""
    if bool(args.results) == bool(args.oracle) or (args.oracle and (args.dataset or args.vote)):
        raise DataError("give result files, with or without --dataset; or give --oracle NAME:SUBSET alone")
    files = [os.path.realpath(path) for path in (*args.results, args.out, args.failures) if path is not None]
    if len(set(files)) < len(files):
        raise DataError("a file is given twice: the results, --out and --failures must be different files")
    if args.explain is not None and (args.failures or args.compare_to):
        raise DataError("--explain explains one answer: leave --failures and --compare-to out")
    how = {"protocols": args.protocol, "thresholds": args.thresholds}
    how |= {"partial": args.partial, "interpolate": not args.no_interpolation}
    by = args.by + ["query"] * bool(args.compare_to and "query" not in args.by)  # as in published tables
    with no_garbage_collection():  # everything here is used until the end
        systems, truth = _read(args, Settings.from_env())
        if args.explain is not None:
            explained = explain(systems, truth, args.explain, **how)
            deliver(render_explanation({"swift_stvg": __version__, "answers": explained}, args.format), args.out)
            return 0
        report, scored = score(systems, truth, by=by, **how)
    if args.compare_to:
        report = with_published(report)
    if args.failures:
        write_text_atomic(args.failures, "".join(s.failures() for s in scored))
    deliver(render_score(report, args.format), args.out)
    return 0


def _read(args: argparse.Namespace, settings: Settings) -> tuple[list[AnswerFile | TubeFile], GroundTruth]:
    systems = [read_voted(path, args.vote) if args.vote else read_predictions(path) for path in args.results]
    for system, name in zip(systems, _names(args.results), strict=True):
        system.name = name
    name = args.oracle or args.dataset
    if not name:
        answers = [system for system in systems if isinstance(system, AnswerFile)]
        if len(answers) < len(systems):
            raise DataError("tubes need a ground truth: give --dataset NAME:SUBSET")
        return systems, GroundTruth.of_rows(answers)
    samples, truth = read_dataset(name, settings)
    if args.oracle:
        units = (replace(settings, think=False, index_unit=unit) for unit in UNITS)
        systems = [AnswerFile.oracle(samples, unit) for unit in units]
    return systems, truth


def _names(paths: list[Path]) -> list[str]:
    """Names of the files: their paths below their common folder."""
    if not paths:
        return []
    whole = [os.path.abspath(path) for path in paths]
    folder = os.path.commonpath([os.path.dirname(path) for path in whole])
    return [os.path.relpath(path, folder) for path in whole]


def _shares(text: str) -> list[float]:
    try:
        values = sorted({float(word) for word in text.split(",")})
    except ValueError:
        values = [-1.0]
    if not all(0 <= value < 1 for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} must hold numbers from 0 to less than 1, such as 0.3,0.5")
    return values
