#!/usr/bin/env bash
# From a fresh clone to a table, on a CPU: environment, synthetic clips, what the start that comes with swift_stvg answers,
# GRPO on 100 clips with exact boxes and, as its control, SFT on the same clips. The plan is plan.yaml, the recipes are
# those of the learning benchmark. Run it again to continue where it stopped; --fresh starts over.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=quickstart_output
if [ "${1:-}" = --fresh ]; then rm -rf "$out"; fi

python=${VENV:-.venv}/bin/python
if ! "$python" -c 'import swift_stvg' 2>/dev/null; then
    echo "== environment in ${VENV:-.venv} (PyTorch and ms-swift are several gigabytes)"
    python3 -m venv "${VENV:-.venv}"
    "$python" -m pip install --progress-bar on -c constraints.txt -e .
fi
PATH=$(cd "$(dirname "$python")" && pwd):$PATH
run=(python examples/learning_benchmark/run.py --plan examples/quickstart/plan.yaml --no_headroom --output "$out")

"${run[@]}" start
swift-stvg show "$out/start/test.jsonl" --out "$out/page_of_the_start"
echo "== the start on held-out clips; a page with its answers: $out/page_of_the_start/index.html"
swift-stvg score "$out/start/test.jsonl"

"${run[@]}"
swift-stvg show "$out/1/grpo/test.jsonl" --logging "$out/1/grpo/logging.jsonl" --out "$out/page"
echo "== held-out clips: what this run says; a page about the model after GRPO: $out/page/index.html"
python examples/quickstart/verdict.py --output "$out"
