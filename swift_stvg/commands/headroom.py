"""`swift-stvg headroom`: what GRPO could gain from a model, by sampling answers through swift's own engine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.errors import DataError
from swift_stvg.headroom import MARGIN, Sampled, measure
from swift_stvg.jsonfile import write_whole
from swift_stvg.rows import Contract
from swift_stvg.tables import FORMATS, render_headroom

CHUNK = 256
"""Rows that are answered between two steps of the progress bar."""


def add_options(headroom: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add = headroom.add_argument
    add("--model", help="a model or checkpoint, as for `swift infer`")
    add("--dataset", metavar="NAME:SUBSET", help="rows to answer, as for `swift infer`; training rows tell most")
    add("--rows", type=int, default=200, help="most rows, drawn at random (default: 200)")
    add("--samples", type=int, default=8, help="sampled answers to each row (default: 8)")
    add("--temperature", type=float, default=1.0, help="of the samples; take that of the training (default: 1)")
    add("--seed", type=int, default=0, help="of the choice of rows and of sampling (default: 0)")
    add("--answers", type=Path, metavar="FILE", help="keep the answers there; without --model, read them from there")
    add("--reward_funcs", nargs="+", metavar="NAME", help="default: the paper's five")
    add("--reward_weights", nargs="+", type=float, metavar="W", help="one for each of --reward_funcs")
    add("--margin", type=float, default=MARGIN, help=f"by how much a sample must beat the greedy answer ({MARGIN})")
    add("--format", choices=FORMATS, default="table", help="default: table")
    add("--out", type=Path, metavar="FILE", help="write the report there instead of printing it")
    headroom.epilog = (
        "Other options go to ms-swift, as for `swift infer`: --adapters, --max_new_tokens, --infer_backend."
    )
    headroom.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Sample or read answers, and print or write the report."""
    weights = _weights(args.reward_funcs, args.reward_weights)
    if args.model:
        if not args.dataset:
            raise DataError("--model needs --dataset, the rows to answer")
        if args.samples < 2 or args.rows < 1 or args.temperature <= 0:
            raise DataError("--samples must be at least 2, --rows at least 1, --temperature above 0")
        found = _sample(args)
        if args.answers:
            write_whole(args.answers, "".join(json.dumps(line) + "\n" for line in found))
    elif args.answers:
        if args.further:
            raise DataError(f"without --model nothing is sampled, so these mean nothing: {' '.join(args.further)}")
        found = _read(args.answers)
    else:
        raise DataError("give --model and --dataset, or --answers with a file that an earlier run kept")
    sampled = Sampled(
        [Contract.from_json(line["stvg"]) for line in found],
        [line["video"] for line in found],
        [line["greedy"] for line in found],
        [line["samples"] for line in found],
    )
    report = {"swift_stvg": __version__} | measure(sampled, weights, args.margin)
    report["from"] = (
        f"{args.model} on {args.dataset}, temperature {args.temperature:g}" if args.model else args.answers.name
    )
    text = render_headroom(report, args.format)
    if args.out:
        write_whole(args.out, text)
    else:
        print(text, end="")
    return 0


def _weights(names: Sequence[str] | None, weights: Sequence[float] | None) -> dict[str, float] | None:
    if names is None and weights is None:
        return None
    if names is None or (weights is not None and len(names) != len(weights)):
        raise DataError("--reward_weights needs one number for each of --reward_funcs")
    return dict(zip(names, weights or [1.0] * len(names), strict=True))


def _sample(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One greedy and several sampled answers to each row."""
    from swift.infer_engine import InferRequest
    from swift.pipelines.infer.infer import SwiftInfer
    from tqdm import tqdm

    import swift_stvg.adapters  # noqa: F401 - registers what the options name

    # --result_path is never written to, but without it ms-swift makes a folder
    ours = {"model": args.model, "val_dataset": args.dataset, "seed": args.seed, "result_path": "unused"}
    pipeline = SwiftInfer(
        [*(word for name, value in ours.items() for word in (f"--{name}", str(value))), *args.further]
    )
    rows = pipeline._prepare_val_dataset()
    if "stvg" not in rows.column_names:
        raise DataError(f"{args.dataset} has no `stvg` column: headroom needs rows of a dataset of swift_stvg")
    chosen = np.sort(np.random.default_rng(args.seed).permutation(len(rows))[: args.rows])
    config = pipeline.args.get_request_config()
    greedy = replace(config, temperature=0.0)
    sampling = replace(config, temperature=args.temperature, seed=args.seed)
    found = []
    with tqdm(total=len(chosen), desc="rows answered", unit="row") as bar:
        for start in range(0, len(chosen), CHUNK):
            part = [rows[int(i)] for i in chosen[start : start + CHUNK]]
            for row in part:
                InferRequest.remove_response(row["messages"])  # the exact answer
            # rows are repeated, since transformers 5.16 fails with several answers to one video of Qwen2.5-VL
            repeated = [row for row in part for _ in range(args.samples)]
            responses = pipeline.infer(part, greedy, use_tqdm=False) + pipeline.infer(
                repeated, sampling, use_tqdm=False
            )
            texts = [response.choices[0].message.content for response in responses]
            for i, row in enumerate(part):
                samples = texts[len(part) + i * args.samples :][: args.samples]
                found.append({"stvg": row["stvg"], "video": row["videos"][0], "greedy": texts[i], "samples": samples})
            bar.update(len(part))
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    found = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                texts = [row["stvg"], row["video"], row["greedy"], *row["samples"]]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"line {number} of {path} is none that `headroom` wrote: {error!r}") from None
            if not all(isinstance(text, str) for text in texts):
                raise DataError(f"line {number} of {path} is none that `headroom` wrote: not all of it is text")
            found.append(row)
    return found
