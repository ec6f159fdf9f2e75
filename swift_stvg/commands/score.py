"""`swift-stvg score`: score predictions with the protocols of published tables."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from swift_stvg import __version__
from swift_stvg.commands.shared import add_delivery, deliver, names_of
from swift_stvg.errors import DataError
from swift_stvg.geometry import THRESHOLDS
from swift_stvg.report.text.explanation import render_explanation
from swift_stvg.report.text.score import render_score, with_published
from swift_stvg.scoring import vue_stg
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.explain import explain
from swift_stvg.scoring.ground_truth import FACETS, GroundTruth, read_dataset
from swift_stvg.scoring.matching import ALL_PROTOCOLS
from swift_stvg.scoring.predictions import read_predictions
from swift_stvg.scoring.score import score
from swift_stvg.scoring.tube_file import TubeFile
from swift_stvg.scoring.vote import RULES, read_voted
from swift_stvg.settings import COORDS, STYLES, UNITS, Settings
from swift_stvg.util.json_reading import no_garbage_collection
from swift_stvg.util.writing import write_text_atomic

BY = ["query"]


def add_options(score: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = score.add_argument
    add(
        "results",
        type=Path,
        nargs="*",
        help=".jsonl of `swift infer`, .json with tubes, or .csv with tubes for --vue-stg; later files are "
        "compared with the first",
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
        default=BY,
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
    add("--style", choices=STYLES, help="the style of the answers (default: detected in the file)")
    add("--coords", choices=COORDS, help="the coordinates of the answers (default: detected in the file)")
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
        "--vue-stg",
        type=Path,
        metavar="DIR",
        help="score .csv files of tubes with VUE-STG's metrics against its folder, or against a .csv file of tubes",
    )
    add(
        "--write-vue-stg",
        type=Path,
        metavar="FILE",
        help="also write the final boxes of a .jsonl file to this .csv file, in the form of VUE-STG",
    )
    add(
        "--diagnose",
        action="store_true",
        help="also print why answers lose: bias of their times, loss of vIoU by cause, identity switches",
    )
    add(
        "--vote",
        choices=RULES,
        help="score one answer to each row, the vote of its sampled answers in a file of `ground --samples` or "
        "`headroom --answers`: medoid or median",
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
    if args.vue_stg is not None:
        return _run_vue_stg(args)
    if bool(args.results) == bool(args.oracle) or (args.oracle and (args.dataset or args.vote)):
        raise DataError("give result files, with or without --dataset; or give --oracle NAME:SUBSET alone")
    paths = [*args.results, args.out, args.failures, args.write_vue_stg]
    files = [os.path.realpath(path) for path in paths if path is not None]
    if len(set(files)) < len(files):
        raise DataError("a file is given twice: the results and the files to write must be different files")
    if args.explain is not None and (args.failures or args.compare_to or args.write_vue_stg or args.diagnose):
        others = "--failures, --compare-to, --write-vue-stg and --diagnose"
        raise DataError(f"--explain explains one answer: leave {others} out")
    how = {"protocols": args.protocol, "thresholds": args.thresholds}
    how |= {"partial": args.partial, "interpolate": not args.no_interpolation}
    by = args.by + ["query"] * bool(args.compare_to and "query" not in args.by)  # as in published tables
    with no_garbage_collection():  # everything here is used until the end
        systems, truth = _read(args, Settings.from_env())
        if args.explain is not None:
            explained = explain(systems, truth, args.explain, **how)
            deliver(render_explanation({"swift_stvg": __version__, "answers": explained}, args.format), args.out)
            return 0
        report, scored = score(systems, truth, by=by, diagnose=args.diagnose, **how)
    if args.compare_to:
        report = with_published(report)
    if args.write_vue_stg:
        (system,) = systems if len(systems) == 1 else (None,)
        if not isinstance(system, AnswerFile):
            raise DataError("--write-vue-stg takes one .jsonl file of `swift infer`")
        vue_stg.write_tubes(args.write_vue_stg, vue_stg.tubes_of(system))
    if args.failures:
        write_text_atomic(args.failures, "".join(s.failures() for s in scored))
    deliver(render_score(report, args.format), args.out)
    return 0


def _run_vue_stg(args: argparse.Namespace) -> int:
    """Score files of VUE-STG's form with its metrics, and deliver the report."""
    if not args.results or any(path.suffix.lower() != ".csv" for path in args.results):
        raise DataError("--vue-stg scores .csv files of tubes: give at least one, and no others")
    others = ["dataset", "oracle", "protocol", "partial", "no_interpolation", "diagnose", "compare_to", "explain"]
    others += ["failures", "write_vue_stg"]
    given = [f"--{name.replace('_', '-')}" for name in others if getattr(args, name)]
    given += ["--by"] * (args.by != BY) + ["--thresholds"] * (args.thresholds != THRESHOLDS)
    if given:
        raise DataError(f"--vue-stg has metrics and groups of its own: leave {', '.join(given)} out")
    if args.out is not None and os.path.realpath(args.out) in map(os.path.realpath, (args.vue_stg, *args.results)):
        raise DataError(f"--out {args.out} is one of the files to read: give another one")
    benchmark = vue_stg.Benchmark.read(args.vue_stg)
    systems = list(zip(_names(args.results), args.results, strict=True))
    deliver(render_score(vue_stg.report(benchmark, systems), args.format), args.out)
    return 0


def _read(args: argparse.Namespace, settings: Settings) -> tuple[list[AnswerFile | TubeFile], GroundTruth]:
    systems: list[AnswerFile | TubeFile] = [
        read_voted(path, args.vote) if args.vote else read_predictions(path, args.style, args.coords)
        for path in args.results
    ]
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
