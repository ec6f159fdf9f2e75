"""`swift-stvg check`: check a dataset, a model and the rewards before a training."""

from __future__ import annotations

import argparse

from swift_stvg.commands.checking import Check
from swift_stvg.commands.clips import add_workers, check_workers
from swift_stvg.commands.shared import add_delivery, add_weights, check_writable, deliver, read_weights
from swift_stvg.errors import DataError
from swift_stvg.report.text.check import render_check
from swift_stvg.settings import Settings


def add_options(check: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = check.add_argument
    add(
        "datasets",
        nargs="+",
        metavar="DATASET",
        help="a dataset, as for `swift --dataset`, with the training's settings; or a file of `swift-stvg select`",
    )
    add("--template", metavar="NAME", help="check that the settings fit this template")
    add("--model", help="count tokens with this model's processor")
    add("--model_type", help="as for ms-swift, if it cannot know the type from the model")
    add(
        "--engine",
        choices=("vllm",),
        help="compare this engine's prompts, then its answers, with the model's own; needs --model",
    )
    add("--max_length", type=int, metavar="N", help="--max_length of the training; needs --model")
    add(
        "--max_completion_length",
        type=int,
        metavar="N",
        help="--max_completion_length of GRPO (ms-swift's default: 512)",
    )
    add("--videos", action="store_true", help="decode all sampled frames of all clips")
    add(
        "--annotations_only",
        action="store_true",
        help="open no video; take times and sizes of frames from the annotations",
    )
    add(
        "--max_dropped",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="largest share of rows that may be dropped (default: 0.05)",
    )
    add("--rows", type=int, default=200, help="number of rows to compute rewards of known mistakes on (default: 200)")
    add("--seed", type=int, default=0, help="random seed (default: 0)")
    add_weights(check)
    add_workers(check)
    add_delivery(check)
    check.epilog = (
        "With --engine, options that are not listed go to ms-swift, as for `swift infer`: --vllm_max_model_len, "
        "--torch_dtype. Exit status: 0 if the training can begin; 1 if the check found an error, or itself failed."
    )
    check.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Check everything and deliver the report. The exit status is 1 if there is an error."""
    weights = read_weights(args)
    check_workers(args.workers)
    check_writable(args.out)
    if args.rows < 1:
        raise DataError(f"--rows must be at least 1, got {args.rows}")
    if args.videos and args.annotations_only:
        raise DataError("--videos decodes videos, --annotations_only opens none: give one of them")
    if not 0 <= args.max_dropped <= 1:
        raise DataError(f"--max_dropped must be a share from 0 to 1, got {args.max_dropped}")
    if args.engine and (not args.model or args.annotations_only):
        raise DataError("--engine needs a model and its videos: give --model, and leave --annotations_only out")
    if args.further and not args.engine:
        raise DataError(f"these options are for --engine: give it too, or leave them out: {' '.join(args.further)}")
    if args.max_length is not None and not args.model:
        raise DataError("--max_length also counts the tokens of pixels: give --model too")
    report = Check(args, Settings.from_env()).report(weights)
    deliver(render_check(report, args.format), args.out)
    return 0 if report["go_on"] else 1
