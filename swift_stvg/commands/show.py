"""`swift-stvg show`: make a web page of predictions or of a dataset."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.commands.clips import add_workers, check_workers
from swift_stvg.commands.shared import names_of
from swift_stvg.errors import DataError, VideoError
from swift_stvg.report.page import cards as samples_on
from swift_stvg.report.page.cards import Card, column
from swift_stvg.report.page.charts import Chart, of_dataset, of_results, of_training, of_two
from swift_stvg.report.page.html import INDEX, page
from swift_stvg.report.page.media import FOLDER, PAGE_FORMATS, Job, remove_others, render_all
from swift_stvg.report.page.training import read_curves
from swift_stvg.report.text.score import preamble, score_table
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.ground_truth import GroundTruth, read_dataset
from swift_stvg.scoring.matching import ALL_PROTOCOLS, Scored
from swift_stvg.scoring.problems import MISSING
from swift_stvg.scoring.score import score
from swift_stvg.settings import Settings
from swift_stvg.util.output_folder import first_line_object, make_folder, require_own_folder
from swift_stvg.util.writing import remove_partial_files, write_text_atomic
from swift_stvg.video.probing import probe_all

MARK, WHAT = "show.json", "a page of swift-stvg show"
"""The file that marks a folder as a page of this command, and its content."""
ON_TILES = ("m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5")
DRAW = 0.005
"""Scores that differ by less than this are a draw; a page shows two digits."""
OF_EACH = 12
CHOSEN_GROUPS = 4
"""A page of a dataset draws four times as many clips as a page of answers draws in each group."""
EXTRAS = {"gif": ".gif", "sheet": ".png"}


def add_options(show: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = show.add_argument
    add(
        "results",
        type=Path,
        nargs="*",
        metavar="result",
        help=".jsonl of `swift infer`; two of them are compared, as systems A and B; without one, the annotations of "
        "--dataset are shown",
    )
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the page: a new folder, or the folder of an earlier page",
    )
    add("--dataset", metavar="NAME:SUBSET", help="ground truth from annotation files below STVG_DATA_ROOT")
    add(
        "--protocol",
        type=names_of(ALL_PROTOCOLS),
        default=[],
        metavar="A,B",
        help="protocols; the gallery shows the first one's scores",
    )
    add("--logging", type=Path, metavar="FILE", help="logging.jsonl of ms-swift, to show training curves")
    add(
        "--overlays",
        type=_count,
        default=OF_EACH,
        metavar="N|all",
        help="number of clips to draw in each group: the best, the worst, the most improved and the most damaged "
        "answers, and answers that count 0; of two systems: A wins, B wins, both good, both bad "
        f"(default: {OF_EACH}); for a dataset {CHOSEN_GROUPS} times this number",
    )
    add("--also", nargs="+", choices=sorted(EXTRAS), default=[], help="draw GIFs or contact sheets too")
    add_workers(show, "processes")
    show.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the page."""
    if not args.results and not args.dataset:
        raise DataError("give a result file of `swift infer`, or --dataset NAME:SUBSET, or both")
    check_workers(args.workers)
    if len(args.results) > 2:
        raise DataError(f"at most two result files can be compared on a page, got {len(args.results)}")
    if not args.results and args.protocol:
        raise DataError("--protocol scores answers: give a result file too")
    settings = Settings.from_env()
    curves = read_curves(args.logging) if args.logging else None
    require_own_folder(args.out, WHAT, lambda: first_line_object(args.out / MARK).get("what") == WHAT)
    if not args.results:
        cards, chosen, data, charts = _of_dataset(args.dataset, args.overlays, settings)
    elif len(args.results) == 2:
        cards, chosen, data, charts = _of_two(args, settings)
    else:
        cards, chosen, data, charts = _of_answers(args, settings)
    charts += of_training(curves) if curves else []
    data["training_notes"] = curves.notes if curves else []
    media = _make_page_folder(args.out)
    extras = [EXTRAS[name] for name in args.also]
    names, problems = _draw(cards, chosen, media, [*PAGE_FORMATS, *extras], args.workers)
    data |= {
        "cards": [card.data for card in cards],
        "also": extras,
        "footer": f"Made by swift-stvg show {__version__}.",
    }
    write_text_atomic(args.out / INDEX, page(data, charts))
    remove_others(media, names)
    remove_partial_files(args.out)
    print(f"{args.out / INDEX}: {len(cards)} samples, {len(chosen) - sum(problems.values())} of them drawn")
    for problem, count in problems.most_common():
        print(f"  not drawn: {count} x {problem}", file=sys.stderr)
    return 0


Made = tuple[list[Card], list[int], dict[str, Any], list[Chart]]


def _of_answers(args: argparse.Namespace, settings: Settings) -> Made:
    report, truth, (scored,) = _scored(args, settings)
    first = report["tables"][0]
    cards = samples_on.cards_of_answers(scored, truth, first["protocol"])
    chosen = samples_on.chosen_of_answers(cards, len(cards) if args.overlays is None else args.overlays)
    think = column(cards, "think")
    charts = of_results(
        column(cards, "tIoU"),
        column(cards, "vIoU"),
        None if np.isnan(think).all() else think,
        samples_on.improvement_by_area(first),
    )
    metrics = first["rows"][0]["metrics"]
    tiles = [[*_percent(metrics[name]), name] for name in metrics if name in ON_TILES]
    gain = [row["metrics"]["m_vIoU"] for row in first["rows"] if row["part"] == "pred - think" and "group" not in row]
    tiles += [[*_percent(gain[0], "+"), "m_vIoU: final minus think boxes"]] if gain else []
    counts = scored.counts
    tiles += [[f"{counts['scored']} / {counts['samples']}", "", "answers that count; the others score 0"]]
    data = {"kind": "answers", "title": scored.name, "tiles": tiles, "failures": _failures(scored)}
    return cards, chosen, data | _about(report), list(charts)


def _of_two(args: argparse.Namespace, settings: Settings) -> Made:
    """The page of two systems. The first file is A, the second is B."""
    report, truth, systems = _scored(args, settings)
    table = report["tables"][0]
    cards = samples_on.cards_of_two(
        *(samples_on.cards_of_answers(scored, truth, table["protocol"]) for scored in systems)
    )
    chosen = samples_on.chosen_of_two(cards, len(cards) if args.overlays is None else args.overlays)
    final = [row for row in table["rows"] if row["part"] == "pred" and "group" not in row]
    first, second, minus = (row["metrics"] for row in final)
    tiles = [
        [*_percent(minus[name], "+"), f"{name}: B - A (A {_percent(first[name])[0]}, B {_percent(second[name])[0]})"]
        for name in minus
        if name in ON_TILES
    ]
    lead = np.subtract(*samples_on.both(cards))
    wins = [int((lead > DRAW).sum()), int((lead < -DRAW).sum())]
    tiles.append([f"{wins[0]} : {wins[1]}", "", f"samples that A and B win; {len(cards) - sum(wins)} are a draw"])
    for letter, scored in zip("AB", systems, strict=True):
        counts = scored.counts
        missing = scored.reasons.get(MISSING, {"count": 0})["count"]
        label = f"answers of {letter} that count" + (f"; {missing} samples are not in its file" if missing else "")
        tiles.append([f"{counts['scored']} / {counts['samples']}", "", label])
    names = [scored.name for scored in systems]
    _, header, cells = score_table(table)
    sides = [cells[table["rows"].index(row)] for row in final]
    about = _about(report)
    about["tables"].insert(
        0,
        {
            "title": f"Side by side: {table['protocol']}; the intervals of the difference are paired",
            "header": ["percent [95% interval]", f"A: {names[0]}", f"B: {names[1]}", "B - A"],
            "rows": [[header[i], *(side[i] for side in sides)] for i in range(2, len(header))],
        },
    )
    data = {
        "kind": "two",
        "title": f"A: {names[0]}, B: {names[1]}",
        "systems": names,
        "tiles": tiles,
        "failures": [
            failure | {"reason": f"{letter}: {failure['reason']}"}
            for letter, scored in zip("AB", systems, strict=True)
            for failure in _failures(scored)
        ],
    }
    charts = of_two(samples_on.both(cards), "vIoU" if truth.with_boxes.any() else "tIoU")
    return cards, chosen, data | about, list(charts)


def _scored(args: argparse.Namespace, settings: Settings) -> tuple[dict[str, Any], GroundTruth, list[Scored]]:
    """The report on the result files, the ground truth, and the scored answers of each file."""
    for path in args.results:
        if path.suffix != ".jsonl":
            raise DataError(f"{path} must be a .jsonl file of `swift infer`")
    files = [AnswerFile.read(path) for path in args.results]
    if len({file.name for file in files}) < len(files):
        for file in files:
            file.name = file.path
    truth = read_dataset(args.dataset, settings)[1] if args.dataset else GroundTruth.of_rows(files)
    report, scored = score(files, truth, protocols=args.protocol, by=["query", "area", "length"])
    return report, truth, scored


def _about(report: dict[str, Any]) -> dict[str, Any]:
    """The data of a page of answers that describe its figures."""
    truth, protocol = report["ground_truth"], report["tables"][0]["protocol"]
    return {
        "subtitle": f"{truth['samples']} samples of {truth['videos']} videos, {', '.join(truth['splits'])}. Percent "
        f"with 95% intervals. These figures, the charts and the gallery use the protocol {protocol}.",
        "tables": [dict(zip(("title", "header", "rows"), score_table(t), strict=True)) for t in report["tables"]],
        "preamble": [line.strip() for line in preamble(report)],
    }


def _failures(scored: Scored) -> list[dict[str, Any]]:
    return [
        {"reason": reason, "count": f["count"], "zero": f["counts_zero"], "example": f["example"]}
        for reason, f in scored.reasons.items()
    ]


def _of_dataset(name: str, count: int | None, settings: Settings) -> Made:
    samples, truth = read_dataset(name, settings)
    cards = samples_on.cards_of_dataset(samples)
    count = len(cards) if count is None else min(CHOSEN_GROUPS * count, len(cards))
    chosen = np.unique(np.linspace(0, len(cards) - 1, count).round().astype(int)).tolist() if count else []
    videos = probe_all({samples[i].video for i in chosen}, name, settings)
    for i in chosen:
        samples_on.prepare(cards[i], samples[i], videos[samples[i].video], settings)
    lengths, clips, areas = (column(cards, field) for field in ("length", "duration", "area"))
    begins = np.array([card.data["truth"][0] for card in cards]) / np.maximum(clips, 1e-9)
    charts = of_dataset(lengths, clips, begins, areas, Counter(truth.category).most_common())
    videos_shown = len(set(truth.videos))
    tiles = [
        [f"{len(cards):,}", "", "sentences with a tube"],
        [f"{videos_shown:,}", "", "videos"],
        [f"{np.median(lengths):.1f} s", "", "median event"],
        [f"{np.median(clips):.1f} s", "", "median clip"],
        [f"{100 * np.median(areas):.1f} %", "", "of the frame: the median box"],
        *[[f"{n:,}", "", f"{query} sentences"] for query, n in Counter(truth.query).most_common()],
    ]
    rows = [[query, *_of_kind(truth.query, query, lengths, areas)] for query in dict.fromkeys(truth.query)]
    if len(set(truth.category)) > 1:
        kinds = Counter(truth.category).most_common(40)
        rows += [[f"  {kind}", *_of_kind(truth.category, kind, lengths, areas)] for kind, _ in kinds]
    header = ["annotated", "sentences", "median event, s", "median box, % of the frame"]
    data = {
        "kind": "dataset",
        "title": name,
        "subtitle": f"{len(cards)} annotations of {videos_shown} videos. The truth is drawn onto the frames that a "
        "model sees with these settings.",
        "tiles": tiles,
        "tables": [{"title": f"{name}: what is annotated", "header": header, "rows": rows}],
        "preamble": [f"{setting} {value}" for setting, value in settings.to_texts().items()],
        "failures": [
            {"reason": reason, "count": n, "zero": False, "example": example}
            for reason, (n, example) in [*truth.excluded.items(), *truth.notes.items()]
        ],
    }
    return cards, chosen, data, list(charts)


def _of_kind(labels: Sequence[str], wanted: str, lengths: Any, areas: Any) -> list[str]:
    members = np.array([label == wanted for label in labels])
    return [str(members.sum()), f"{np.median(lengths[members]):.1f}", f"{100 * np.median(areas[members]):.1f}"]


def _draw(
    cards: Sequence[Card], chosen: Sequence[int], media: Path, formats: Sequence[str], workers: int
) -> tuple[set[str], Counter[str]]:
    """Draw the chosen cards, and note the result on each. Returns the names of the drawings, and the problems."""
    jobs: dict[int, Job] = {i: job for i in chosen if (job := cards[i].job) is not None}
    found = dict(zip(jobs, render_all(list(jobs.values()), media, formats, workers), strict=True))
    problems: Counter[str] = Counter()
    for i, card in enumerate(cards):
        result = found.get(i)
        if isinstance(result, str):
            card.data["media"] = f"{FOLDER}/{result}"
            continue
        card.data["why"] = str(result or card.problem or "not drawn: give --overlays all, or a larger number")
        if i in chosen:
            problems[result.reason if isinstance(result, VideoError) else card.data["why"].partition(":")[0]] += 1
    return {name for name in found.values() if isinstance(name, str)}, problems


def _make_page_folder(out: Path) -> Path:
    """Make and mark the folder of the page. Returns the folder of its drawings."""
    media = out / FOLDER
    make_folder(out)
    write_text_atomic(out / MARK, json.dumps({"swift_stvg": __version__, "what": WHAT}) + "\n")
    make_folder(media)
    return media


def _percent(values: Sequence[float | None], sign: str = "") -> tuple[str, str]:
    """A percentage and its interval; a single video has no interval."""
    mean, low, high = ("" if value is None else f"{100 * value + 0.0:{sign}.1f}" for value in values)
    return mean, f"[{low}, {high}]" if low else ""


def _count(text: str) -> int | None:
    """A number of clips; None for all."""
    if text == "all":
        return None
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of clips, or all")
    return int(text)
