"""parity.py FOLDER [ROWS [CASE ...]]: compare vLLM's and transformers' answers for every architecture, at three rates.

It makes synthetic clips and tiny random models with sharp attention in FOLDER, so that their greedy text depends on the
whole input. vLLM's CPU engine accepts Qwen3.5 in bfloat16 only. So Qwen3.5 is compared in float32 with one kernel in
plain torch (gdn.py), and in bfloat16 with vLLM's own kernel; there rounding must explain the differences. Run it in the
environment that make.sh builds; it ends with status 1 if any row differs.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swift_stvg.synthetic.tiny import ARCHITECTURES, TinyConfig, build

HERE = Path(__file__).parent
RATES = (2.0, 1.25, 4.0)
TOKENS = 40
ROUNDING = 1.5
"""Largest ratio of vLLM's errors to transformers' errors that rounding explains."""
ENGINE = ["--infer_backend", "vllm", "--vllm_max_model_len", "2048", "--vllm_enforce_eager", "true"]
LATER = {"STVG_COORDS": "norm1000", "STVG_SIDE_MULTIPLE": "32"}


@dataclass(frozen=True)
class Case:
    """One comparison: an architecture, the settings of its rows, the type of its weights, further plugins, and
    options of the engine.
    """

    architecture: str
    settings: dict[str, str] = field(default_factory=dict)
    dtype: str = "float32"
    plugins: tuple[Path, ...] = ()
    engine: tuple[str, ...] = ()


CASES = {
    "qwen2_5_vl": Case("qwen2_5_vl", {"STVG_SIDE_MULTIPLE": "28"}),
    "qwen2_vl": Case("qwen2_vl", {"STVG_COORDS": "norm1000", "STVG_SIDE_MULTIPLE": "28"}),
    "qwen3_vl": Case("qwen3_vl", LATER),
    "qwen3_vl_moe": Case("qwen3_vl_moe", LATER),
    "qwen3_5": Case("qwen3_5", LATER, plugins=(HERE / "gdn.py",)),
    "qwen3_5_moe": Case("qwen3_5_moe", LATER, plugins=(HERE / "gdn.py",)),
    "qwen3_5 in bfloat16": Case("qwen3_5", LATER, "bfloat16"),
    "internvl": Case(
        "internvl",
        {"STVG_COORDS": "norm1000", "STVG_SIDE_MULTIPLE": "56", "STVG_MAX_SIDE": "56"},
        plugins=(HERE.parents[1] / "examples/add_a_backbone/internvl.py",),
        # else vLLM's trial of a video without metadata, at its start, is sampled and refused
        engine=("--vllm_engine_kwargs", '{"mm_processor_kwargs": {"do_sample_frames": false}}'),
    ),
}


def rows_of(folder: Path, count: int, fps: float, settings: dict[str, str]) -> list[dict[str, Any]]:
    """Rows of the synthetic clips without answers, as `swift infer` gives them to an engine."""
    from swift_stvg.settings import Settings
    from swift_stvg.sources import LoadReport, load_samples, make_rows

    chosen = Settings.from_env({"STVG_DATA_ROOT": str(folder), "STVG_FPS": str(fps), "STVG_MAX_SIDE": "64"} | settings)
    report = LoadReport("synthetic")
    rows = make_rows(load_samples("stvg_synthetic", "test", chosen, report), chosen, report)[:count]
    return [row | {"messages": row["messages"][:-1]} for row in rows]


def make_model(folder: Path, architecture: str) -> None:
    """A sensitive random model, if it is not there."""
    from tests.asked import sensitive
    from tests.internvl import build_internvl

    if folder.exists():
        return
    if architecture == "internvl":
        build_internvl(folder)
    else:
        build(folder, TinyConfig(architecture=architecture, spatial_merge=2, max_coordinate=1000))
    sensitive(folder)
    if architecture == "qwen3_vl_moe":
        as_released(folder / "model.safetensors")


def as_released(file: Path) -> None:
    """Turn the experts' matrices: transformers 5.19 saves them in another layout than the release, which vLLM reads."""
    from safetensors.torch import load_file, save_file

    weights = load_file(file)
    turned = {name: value.mT.contiguous() for name, value in weights.items() if ".experts." in name}
    save_file(weights | turned, file, {"format": "pt"})


def options_of(case: Case) -> list[str]:
    """Of `swift infer`, for either backend."""
    template = ARCHITECTURES.get(case.architecture, f"stvg_{case.architecture}")
    options = ["--model_type", case.architecture, "--template", template]
    plugins = ["--external_plugins", *map(str, case.plugins)] if case.plugins else []
    return [*options, "--torch_dtype", case.dtype, *plugins]


def another_prompt_is_found(model: Path, case: Case, rows: list[dict[str, Any]]) -> bool:
    """Whether a prompt that differs is reported before the engine generates, which would be an error."""
    from swift_stvg.adapters.parity import compare

    plugins = (*case.plugins, HERE / "otherwise.py")
    found = compare(
        str(model), rows, [*options_of(Case(case.architecture, plugins=plugins)), *ENGINE, *case.engine], TOKENS
    )
    print(json.dumps({"a prompt that differs": found[0].difference}), flush=True)
    return all(one.prompt_differs_at is not None and one.prompt_differs_at[0] == 1 for one in found)


def explained_by_rounding(model: Path, case: Case, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Errors of vLLM and transformers, both in this type, against the model in float32, for vLLM's answers.

    If rounding alone explains vLLM's differences, its errors are about as large as transformers' errors. Then its
    choices are less likely than the best choices by at most two errors of a log-probability.
    """
    import torch

    from swift_stvg.adapters import parity
    from swift_stvg.adapters.engine import start_pipeline, swift_arguments

    options = options_of(case)
    answered = parity._ask_engine(str(model), rows, [*options, *ENGINE], TOKENS)
    chosen = torch.tensor([token for one in answered for token in one.tokens])
    logprobs = {}
    for dtype in (case.dtype, "float32"):
        words = parity._words(str(model), [*options, "--torch_dtype", dtype], TOKENS)
        own = start_pipeline(swift_arguments(str(model), words))
        asked = zip(rows, answered, strict=True)
        found = torch.cat([parity._logprobs(own, row, one.tokens) for row, one in asked])  # (N, V)
        logprobs[dtype] = found.index_fill(1, torch.tensor(own.template.unwanted), float("-inf"))
    exact, rounded = logprobs["float32"], logprobs[case.dtype]

    def of_chosen(values: torch.Tensor) -> torch.Tensor:
        return values.gather(1, chosen[:, None])[:, 0]

    def spread(errors: torch.Tensor) -> list[float]:
        return [round(float(errors.abs().quantile(share)), 4) for share in (0.5, 0.9, 1.0)]

    best = exact.argmax(1)
    short = exact.amax(1) - of_chosen(exact)  # how much less likely vLLM's choice is than the best one
    own_choice = rounded.argmax(1)
    own_short = exact.amax(1) - exact.gather(1, own_choice[:, None])[:, 0]
    vllm = torch.tensor([value for one in answered for value in one.logprobs])
    theirs, ours = spread(vllm - of_chosen(exact)), spread(of_chosen(rounded) - of_chosen(exact))
    choices = [int((best != chosen).sum()), int((own_choice != best).sum())]
    return {
        "tokens": len(chosen),
        "not the choice of float32: vLLM, transformers": choices,
        "how much less likely such a choice is, at most: vLLM, transformers": [
            round(float(short.max()), 4),
            round(float(own_short.max()), 4),
        ],
        "error of log-probabilities, median, 90%, largest: vLLM": theirs,
        "the same: transformers": ours,
        "good": theirs[1] <= ROUNDING * ours[1]
        and choices[0] <= ROUNDING * choices[1] + 5
        and float(short.max()) <= 2 * max(theirs[2], ours[2]),
    }


def main() -> int:
    folder, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100
    wanted = sys.argv[3:] or list(CASES)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # plugins change the engine in its own process
    from swift_stvg.adapters.parity import compare
    from swift_stvg.cli import main as command

    if not (folder / "stvg_synthetic").exists():
        command(["synth", str(folder / "stvg_synthetic"), "--split", f"test={count}", "--duration-s", "7"])
    failed = 0
    for name in wanted:
        case = CASES[name]
        model = folder / case.architecture
        make_model(model, case.architecture)
        rows = {fps: rows_of(folder, -(-count // len(RATES)), fps, case.settings) for fps in RATES}
        together = [row for part in rows.values() for row in part]
        if name == wanted[0]:
            failed += not another_prompt_is_found(model, case, together[:2])
        if case.dtype != "float32":
            found = explained_by_rounding(model, case, together)
            print(json.dumps({"case": name} | found), flush=True)
            failed += not found["good"]
            continue
        answered = compare(str(model), together, [*options_of(case), *ENGINE, *case.engine], TOKENS)
        for fps, part in rows.items():
            found, answered = answered[: len(part)], answered[len(part) :]
            report = {
                "case": name,
                "fps": fps,
                "rows": len(found),
                "same text": sum(one.same_text for one in found),
                "tokens": sum(one.tokens for one in found),
                "agreeing tokens": sum(one.agreeing for one in found),
                "decided by rounding": sum(one.close for one in found),
                "largest gap of a log-probability": max(one.logprob_gap for one in found),
                "placeholder tokens": sum(one.placeholders for one in found),
                "differences": [one.difference for one in found if not one.same][:3],
            }
            print(json.dumps(report), flush=True)
            failed += sum(not one.same for one in found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
