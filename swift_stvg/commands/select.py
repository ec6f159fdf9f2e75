"""`swift-stvg select`: choose sampled answers by their rewards, and write them as training rows."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from swift_stvg import __version__
from swift_stvg.commands.shared import add_weights, check_writable, read_weights
from swift_stvg.errors import DataError
from swift_stvg.report.text.blocks import REPORT_FORMATS
from swift_stvg.report.text.selected import render_selected
from swift_stvg.rewards.selection import PURPOSES, Rules, select
from swift_stvg.scoring.headroom import MARGIN
from swift_stvg.scoring.selected import describe, read_candidates
from swift_stvg.util.writing import write_text_atomic


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add(
        "answers",
        nargs="+",
        type=Path,
        metavar="ANSWERS.jsonl",
        help="files of `swift-stvg headroom --answers`, `swift infer` or `swift sample`; they are grouped by row",
    )
    add(
        "--for",
        dest="purpose",
        required=True,
        choices=PURPOSES,
        help="sft: the best answers; dpo: pairs, also for ORPO, CPO, SimPO; kto: answers with a label",
    )
    add("--out", type=Path, required=True, metavar="ROWS.jsonl", help="write the rows to this file, for `--dataset`")
    add("--per_row", type=int, default=1, metavar="N", help="most answers or pairs to choose for a row (default: 1)")
    add("--min_reward", type=float, metavar="R", help="least reward of a chosen answer (default: any)")
    add(
        "--min_difference",
        type=float,
        metavar="D",
        help=f"least difference of the rewards in a pair (default: {MARGIN})",
    )
    add(
        "--max_length_ratio",
        type=float,
        metavar="L",
        help="a chosen answer has at most L times the characters of its rejected answer; for sft, of the median answer "
        "to its row (default: any length)",
    )
    add("--truth", action="store_true", help="the exact answer may be chosen too, not only the model's own answers")
    add_weights(parser)
    add("--format", choices=REPORT_FORMATS, default="table", help="format of the printed report (default: table)")
    parser.epilog = (
        "A chosen answer is always well-formed. The rows are for the template and the settings of the answers."
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the rows and print the report."""
    weights = read_weights(args)
    check_writable(args.out)
    if args.purpose == "sft" and args.min_difference is not None:
        raise DataError("--min_difference is about pairs: leave it out with --for sft")
    rules = Rules(
        purpose=args.purpose,
        per_row=args.per_row,
        min_reward=args.min_reward,
        min_difference=MARGIN if args.min_difference is None else args.min_difference,
        max_length_ratio=args.max_length_ratio,
        truth=args.truth,
    )
    groups = read_candidates(args.answers)
    found = select(groups, rules, weights)
    skipped = {reason: {"count": count, "example": first} for reason, (count, first) in found.skipped.items()}
    if not found.rows:
        reasons = ", ".join(f"{one['count']} x {reason}" for reason, one in skipped.items())
        raise DataError(f"no answer to {len(groups)} rows was chosen for {args.purpose}: {reasons}")
    write_text_atomic(args.out, "".join(json.dumps(row) + "\n" for row in found.rows))
    report: dict[str, Any] = {
        "swift_stvg": __version__,
        "out": str(args.out),
        "answered": len(groups),
        "answers": sum(len(group.texts) for group in groups),
        "skipped": skipped,
    }
    print(render_selected(report | describe(found.rows, found.selected), args.format), end="")
    return 0
