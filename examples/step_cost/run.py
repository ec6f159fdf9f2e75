"""Time and memory of the parts of a GRPO step, with the stock template and ours: random Qwen2.5-VL, LoRA, a film.

    python examples/step_cost/run.py --shapes 3b 7b --attention sdpa flash_attention_2      # one GPU of 80 GB
    python examples/step_cost/run.py --shapes tiny --completion 64                          # no GPU

Each step answers one prompt about a new film of 20 s (720p, sampled at 2 per second, longer side 336) eight times. Each
answer has as many tokens as --completion says, because random weights do not end an answer. Seconds are medians over
the steps after the first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

from swift_stvg.bench.clips import FILM, encode
from swift_stvg.bench.step import rows_of
from swift_stvg.commands.bench import machine
from swift_stvg.synthetic.tiny import TinyConfig, build
from swift_stvg.util.writing import write_text_atomic

SHAPES: dict[str, dict[str, Any]] = {
    "3b": {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "7b": {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
}
"""Sizes of the language models, from Qwen2.5-VL's published config.json."""
ROPE = {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}
VISION = {"depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420}
TEMPLATES = {"ours": "stvg_qwen2_5_vl", "stock": "qwen2_5_vl"}
COLUMNS = ("videos", "generation", "log-probabilities", "rewards", "training", "other")


def configuration(shape: str, tiny: Any) -> Any:
    """The configuration of Qwen2.5-VL in that shape, with the special tokens of a tiny model."""
    sizes = SHAPES[shape]
    text = {name: getattr(tiny.text_config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    vision = {"out_hidden_size": sizes["hidden_size"], "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2}
    tokens = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return type(tiny)(
        text_config={**text, **sizes, "max_position_embeddings": 32768, "rope_parameters": ROPE},
        vision_config=VISION | vision,
        tie_word_embeddings=sizes["tie_word_embeddings"],
        **{name: getattr(tiny, name) for name in tokens},
    )


def make_model(folder: Path, shape: str) -> None:
    """A random Qwen2.5-VL of that shape, in bfloat16, with the small tokenizer of `swift-stvg tiny`."""
    shutil.rmtree(folder, ignore_errors=True)
    build(folder, TinyConfig())
    if shape == "tiny":
        return
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2_5_VLForConditionalGeneration(configuration(shape, AutoConfig.from_pretrained(folder)))
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)


def make_rows(folder: Path, clips: int, seconds: int) -> dict[str, Path]:
    """Rows for each template, one for each clip. The clips are one film under several names."""
    film = encode(FILM, folder, seconds)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TEMPLATES}
    for k in range(clips):
        clip = folder / f"clip_{seconds}s_{k}.mp4"
        if not clip.exists():
            os.link(film, clip)
        for name, row in rows_of(clip).items():
            rows[name].append(row)
    files = {name: folder / f"{name}.jsonl" for name in TEMPLATES}
    for name, file in files.items():
        file.write_text("".join(json.dumps(row) + "\n" for row in rows[name]))
    return files


def measure(
    model: Path, rows: Path, template: str, attention: str, folder: Path, args: argparse.Namespace
) -> dict[str, Any]:
    """Train for some steps. Returns the median seconds of each part, and the largest memory in GiB.

    Raises:
        RuntimeError: the run failed; the message names its log.
    """
    lines, log = folder / "steps.jsonl", folder / "log.txt"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [
        *[
            "swift",
            "rlhf",
            "--rlhf_type",
            "grpo",
            "--model",
            str(model),
            "--model_type",
            "qwen2_5_vl",
            "--template",
            template,
        ],
        *["--external_plugins", "swift_stvg", str(Path(__file__).with_name("clock.py")), "--dataset", str(rows)],
        *["--reward_funcs", "stvg_format", "stvg_consistency", "stvg_temporal", "stvg_spatial", "stvg_think"],
        *["--num_generations", str(args.generations), "--per_device_train_batch_size", str(args.generations)],
        *["--max_steps", str(args.steps + 2), "--max_completion_length", str(args.completion), "--beta", "0.04"],
        *["--tuner_type", "lora", "--torch_dtype", args.dtype, "--attn_impl", attention],
        *["--gradient_checkpointing", "true", "--logging_steps", "1", "--save_strategy", "no", "--report_to", "none"],
        *["--output_dir", str(folder), "--add_version", "false", "--check_model", "false"],
        *([] if torch.cuda.is_available() else ["--use_cpu", "true"]),
        *shlex.split(args.more),
    ]
    with log.open("w") as out:
        status = subprocess.run(
            command, env=os.environ | {"STEP_COST_FILE": str(lines)}, stdout=out, stderr=out
        ).returncode
    if status:
        raise RuntimeError(f"swift ended with status {status}; see {log}")
    steps = [json.loads(line) for line in lines.read_text().splitlines()][
        2:
    ]  # what was before training, and the first step
    seconds = {name: statistics.median(step["seconds"].get(name, 0.0) for step in steps) for name in COLUMNS}
    return {
        "seconds": seconds,
        "step_s": statistics.median(sum(s["seconds"].values()) for s in steps),
        "peak_gb": steps[-1]["peak_gb"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=["tiny", *SHAPES], default=["tiny"], help="default: tiny")
    parser.add_argument(
        "--attention", nargs="+", default=["sdpa"], metavar="NAME", help="as --attn_impl (default: sdpa)"
    )
    parser.add_argument(
        "--templates", nargs="+", choices=list(TEMPLATES), default=list(TEMPLATES), help="default: both"
    )
    parser.add_argument("--generations", type=int, default=8, help="answers to a prompt (default: 8)")
    parser.add_argument("--seconds", type=int, default=20, help="length of the film (default: 20)")
    parser.add_argument("--completion", type=int, default=500, help="tokens of an answer (default: 500)")
    parser.add_argument("--steps", type=int, default=3, help="measured steps (default: 3)")
    parser.add_argument("--dtype", default="bfloat16", help="default: bfloat16")
    parser.add_argument("--output", type=Path, default=Path("step_cost_output"), help="default: step_cost_output")
    parser.add_argument(
        "--more", default="", metavar="OPTIONS", help="of swift rlhf, such as '--use_vllm true --vllm_mode colocate'"
    )
    args = parser.parse_args()
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    rows = make_rows(output, args.steps + 2, args.seconds)
    report: dict[str, Any] = {**machine(), "settings": {k: str(v) for k, v in vars(args).items()}, "runs": []}
    print("| shape | attention | template | step, s | " + " | ".join(COLUMNS) + " | peak, GiB |")
    print("|---" * (5 + len(COLUMNS)) + "|")
    for shape in args.shapes:
        model = output / shape
        make_model(model, shape)
        for attention, template in itertools.product(args.attention, args.templates):
            folder = output / f"{shape}_{attention}_{template}"
            try:
                found = measure(model, rows[template], TEMPLATES[template], attention, folder, args)
            except RuntimeError as error:
                print(f"run.py: {shape}, {attention}, {template}: {error}", file=sys.stderr)
                return 1
            report["runs"].append({"shape": shape, "attention": attention, "template": template, **found})
            write_text_atomic(output / "report.json", json.dumps(report, indent=1) + "\n")
            parts = " | ".join(f"{found['seconds'][name]:.2f}" for name in COLUMNS)
            print(
                f"| {shape} | {attention} | {template} | {found['step_s']:.2f} | {parts} | {found['peak_gb']:.1f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
