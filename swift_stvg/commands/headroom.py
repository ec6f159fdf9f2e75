"""`swift-stvg headroom`: what GRPO could gain from a model, by sampling answers through swift's own engine."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.commands import add_delivery, add_weights, check_writable, deliver, read_weights
from swift_stvg.engines import start_pipeline
from swift_stvg.errors import DataError
from swift_stvg.headroom import MARGIN, Sampled, measure
from swift_stvg.jsonfile import write_whole
from swift_stvg.rows import Contract
from swift_stvg.start import model_or_start
from swift_stvg.tables import render_headroom

CHUNK = 16
"""Rows that are answered between two steps of the progress bar."""


def add_options(headroom: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add = headroom.add_argument
    add("--model", help="a model or checkpoint, as for `swift infer` (default, without --answers: as for `ground`)")
    add("--dataset", metavar="NAME:SUBSET", help="rows to answer, as for `swift infer`; training rows tell most")
    add("--rows", type=int, default=200, help="most rows, drawn at random (default: 200)")
    add("--samples", type=int, default=8, help="sampled answers to each row (default: 8)")
    add("--temperature", type=float, default=1.0, help="of the samples; take that of the training (default: 1)")
    add("--seed", type=int, default=0, help="of the choice of rows and of sampling (default: 0)")
    add("--answers", type=Path, metavar="FILE", help="keep the answers there; without --model, read them from there")
    add_weights(headroom)
    add("--margin", type=float, default=MARGIN, help=f"by how much a sample must beat the greedy answer ({MARGIN})")
    add_delivery(headroom)
    headroom.epilog = (
        "Other options go to ms-swift, as for `swift infer`: --adapters, --max_new_tokens, --infer_backend."
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
            raise DataError("--model needs --dataset, the rows to answer")
        if args.samples < 2 or args.rows < 1 or args.temperature <= 0:
            raise DataError("--samples must be at least 2, --rows at least 1, --temperature above 0")
        sampled = _sample(args)
        if args.answers:
            write_whole(args.answers, sampled.to_lines())
    elif args.answers:
        if args.further:
            raise DataError(f"without --model nothing is sampled, so these mean nothing: {' '.join(args.further)}")
        sampled = Sampled.read(args.answers)
    else:
        raise DataError("give --dataset, the rows to answer, or --answers with a file that an earlier run kept")
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

    # --result_path is never written to, but without it ms-swift makes a folder
    ours = {"model": args.model, "val_dataset": args.dataset, "seed": args.seed, "result_path": "unused"}
    words = [word for name, value in ours.items() for word in (f"--{name}", str(value))]
    pipeline = start_pipeline([*words, *args.further], "headroom")
    rows = pipeline._prepare_val_dataset()
    if "stvg" not in rows.column_names:
        raise DataError(f"{args.dataset} has no `stvg` column: headroom needs rows of a dataset of swift_stvg")
    chosen = np.sort(np.random.default_rng(args.seed).permutation(len(rows))[: args.rows])
    config = pipeline.args.get_request_config()
    greedy = replace(config, temperature=0.0)
    # as GRPO samples: what a model's generation_config.json says (Qwen's: the best token only) does not count there
    free = {"top_k": -1, "top_p": 1.0, "repetition_penalty": 1.0}
    given = {name: value for name in free if (value := getattr(pipeline.args, name)) is not None}
    sampling = replace(config, temperature=args.temperature, seed=args.seed, **(free | given))
    answer = partial(pipeline.infer, use_tqdm=False, **pipeline.infer_kwargs)  # these hold the adapters for vLLM
    answered: list[dict[str, Any]] = []
    greedy_texts: list[str] = []
    sampled_texts: list[list[str]] = []
    with tqdm(total=len(chosen), desc="rows answered", unit="row") as bar:
        for start in range(0, len(chosen), CHUNK):
            part = [rows[int(i)] for i in chosen[start : start + CHUNK]]
            for row in part:
                InferRequest.remove_response(row["messages"])  # the exact answer
            # rows are repeated, since transformers 5.16 fails with several answers to one video of Qwen2.5-VL
            repeated = [row for row in part for _ in range(args.samples)]
            responses = answer(part, greedy) + answer(repeated, sampling)
            texts = [response.choices[0].message.content for response in responses]
            answered += part
            greedy_texts += texts[: len(part)]
            sampled_texts += [texts[i : i + args.samples] for i in range(len(part), len(texts), args.samples)]
            bar.update(len(part))
    contracts = [Contract.from_json(row["stvg"]) for row in answered]
    return Sampled(contracts, [row["videos"][0] for row in answered], greedy_texts, sampled_texts)
