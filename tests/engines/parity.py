"""parity.py FOLDER [ROWS]: do vLLM and transformers answer alike, for every architecture, at three rates?

Makes tiny random models, whose attention chooses, and synthetic clips in FOLDER: their greedy text differs when
anything differs. Qwen3.5 is compared in bfloat16, all that vLLM's CPU engine takes: there rounding hides small
differences, and only the prompts are compared exactly. Run it in the environment that make.sh builds; it ends with 1 if
any row differs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ARCHITECTURES = {
    "qwen2_5_vl": {},
    "qwen2_vl": {"STVG_COORDS": "norm1000"},
    "qwen3_vl": {"STVG_COORDS": "norm1000", "STVG_SIDE_MULTIPLE": "32"},
    "qwen3_5": {"STVG_COORDS": "norm1000", "STVG_SIDE_MULTIPLE": "32"},
}
RATES = (2.0, 1.25, 4.0)
ENGINE = ["--infer_backend", "vllm", "--vllm_max_model_len", "2048", "--vllm_enforce_eager", "true"]


def rows_of(folder: Path, count: int, fps: float, settings: dict[str, str]) -> list[dict[str, Any]]:
    """Rows of the synthetic clips without answers, as `swift infer` hands them to an engine."""
    from swift_stvg.settings import Settings
    from swift_stvg.sources import LoadReport, load_samples, make_rows

    chosen = Settings.from_env({"STVG_DATA_ROOT": str(folder), "STVG_FPS": str(fps), "STVG_MAX_SIDE": "64"} | settings)
    report = LoadReport("synthetic")
    rows = make_rows(load_samples("stvg_synthetic", "test", chosen, report), chosen, report)[:count]
    return [row | {"messages": row["messages"][:-1]} for row in rows]


def main() -> int:
    folder, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100
    wanted = sys.argv[3:] or list(ARCHITECTURES)
    from swift_stvg.adapters.parity import compare
    from swift_stvg.cli import main as command
    from tests.asked import sensitive

    if not (folder / "stvg_synthetic").exists():
        command(["synth", str(folder / "stvg_synthetic"), "--split", f"test={count}", "--duration-s", "7"])
    failed = 0
    for architecture in wanted:
        model = folder / architecture
        if not model.exists():
            command(["tiny", str(model), "--architecture", architecture, "--spatial-merge", "2"])
            sensitive(model)
        per_rate = -(-count // len(RATES))
        settings = {"STVG_SIDE_MULTIPLE": "28"} | ARCHITECTURES[architecture]
        rows = {fps: rows_of(folder, per_rate, fps, settings) for fps in RATES}
        dtype = "bfloat16" if architecture == "qwen3_5" else "float32"  # all that vLLM takes on a CPU
        options = ["--model_type", architecture, "--template", f"stvg_{architecture}", "--torch_dtype", dtype]
        answered = compare(str(model), [row for part in rows.values() for row in part], [*options, *ENGINE], 40)
        for fps, part in rows.items():
            found, answered = answered[: len(part)], answered[len(part) :]
            report = {
                "architecture": architecture,
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
