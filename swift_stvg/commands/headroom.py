"""`swift-stvg headroom`: estimate from sampled answers how much GRPO can improve a model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.commands.shared import add_delivery, add_weights, check_writable, deliver, read_weights
from swift_stvg.errors import DataError
from swift_stvg.report.text.headroom import render_headroom
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.headroom import MARGIN, Sampled, measure
from swift_stvg.start import model_or_start
from swift_stvg.util.writing import write_text_atomic

CHUNK = 16
"""Number of rows that are answered at a time."""


def add_options(headroom: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = headroom.add_argument
    add("--model", help="a model or checkpoint, as for `swift infer` (default, without --answers: the start model)")
    add("--dataset", metavar="NAME:SUBSET", help="rows to answer, as for `swift infer`; use rows of the training")
    add("--rows", type=int, default=200, help="number of rows, chosen at random (default: 200)")
    add("--samples", type=int, default=8, help="number of sampled answers to each row (default: 8)")
    add(
        "--temperature",
        type=float,
        default=1.0,
        help="temperature of the sampling; use the training's temperature (default: 1)",
    )
    add("--seed", type=int, default=0, help="random seed of the rows and of the sampling (default: 0)")
    add(
        "--answers",
        type=Path,
        metavar="FILE",
        help="with --model: write the answers to this file; without --model: read the answers from it",
    )
    add_weights(headroom)
    add(
        "--margin",
        type=float,
        default=MARGIN,
        help=f"least difference of rewards that counts as better or worse (default: {MARGIN})",
    )
    add_delivery(headroom)
    headroom.epilog = (
        "Options that are not listed go to ms-swift, as for `swift infer`: --adapters, --max_new_tokens, "
        "--infer_backend."
    )
    headroom.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Sample or read answers, and print or write the report."""
    weights = read_weights(args)
    check_writable(args.answers, args.out)  # before hours of sampling
    if args.model or (args.dataset and not args.answers):
        args.model = model_or_start(args.model)
    if args.model:
        if not args.dataset:
            raise DataError("--model needs rows to answer: give --dataset too")
        if args.samples < 2 or args.rows < 1 or args.temperature <= 0:
            raise DataError("--samples must be at least 2, --rows at least 1, --temperature above 0")
        sampled = _sample(args)
        if args.answers:
            write_text_atomic(args.answers, sampled.to_lines())
    elif args.answers:
        if args.further:
            raise DataError(
                f"--answers without --model reads answers and samples none: leave out {' '.join(args.further)}"
            )
        sampled = Sampled.read(args.answers)
    else:
        raise DataError("give --dataset, the rows to answer, or --answers with a file that an earlier run wrote")
    report = {"swift_stvg": __version__} | measure(sampled, weights, args.margin)
    report["from"] = (
        f"{args.model} on {args.dataset}, temperature {args.temperature:g}" if args.model else args.answers.name
    )
    deliver(render_headroom(report, args.format), args.out)
    return 0


def _sample(args: argparse.Namespace) -> Sampled:
    """One greedy and several sampled answers to each row."""
    from swift.infer_engine import InferRequest
    from tqdm import tqdm

    from swift_stvg.adapters.engine import start_pipeline, swift_arguments

    # ms-swift does not write to this --result_path, but without one it makes a folder
    ours = {"model": args.model, "val_dataset": args.dataset, "seed": args.seed, "result_path": "unused"}
    words = [word for name, value in ours.items() for word in (f"--{name}", str(value))]
    pipeline = start_pipeline(swift_arguments(args.model, [*words, *args.further]))
    rows = pipeline._prepare_val_dataset()
    if "stvg" not in rows.column_names:
        raise DataError(f"{args.dataset} has no `stvg` column: give a dataset of swift_stvg")
    chosen = np.sort(np.random.default_rng(args.seed).permutation(len(rows))[: args.rows])
    config = pipeline.args.get_request_config()
    greedy = replace(config, temperature=0.0)
    # as in GRPO, which ignores a model's generation_config.json (with Qwen's file, only the best token is sampled)
    free = {"top_k": -1, "top_p": 1.0, "repetition_penalty": 1.0}
    given = {name: value for name in free if (value := getattr(pipeline.args, name)) is not None}
    sampling = replace(config, temperature=args.temperature, seed=args.seed, **(free | given))
    answer = partial(pipeline.infer, use_tqdm=False, **pipeline.infer_kwargs)  # infer_kwargs hold the adapters for vLLM
    answered: list[dict[str, Any]] = []
    greedy_texts: list[str] = []
    sampled_texts: list[list[str]] = []
    with tqdm(total=len(chosen), desc="rows answered", unit="row") as bar:
        for start in range(0, len(chosen), CHUNK):
            part = [rows[int(i)] for i in chosen[start : start + CHUNK]]
            for row in part:
                InferRequest.remove_response(row["messages"])  # the exact answer
            # rows are repeated, because transformers 5.16 fails with several answers to one video of Qwen2.5-VL
            repeated = [row for row in part for _ in range(args.samples)]
            responses = answer(part, greedy) + answer(repeated, sampling)
            texts = [response.choices[0].message.content for response in responses]
            answered += part
            greedy_texts += texts[: len(part)]
            sampled_texts += [texts[i : i + args.samples] for i in range(len(part), len(texts), args.samples)]
            bar.update(len(part))
    row_truths = [RowTruth.from_json(row["stvg"]) for row in answered]
    return Sampled(row_truths, [row["videos"][0] for row in answered], greedy_texts, sampled_texts)
