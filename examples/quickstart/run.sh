#!/usr/bin/env bash
# From a fresh clone to a table, on a CPU: environment, synthetic clips, a tiny model that learns the task by SFT, GRPO on
# it, and as much more SFT as a control: one seed of one question of the learning benchmark, which has more of both. The
# recipes are sft.yaml, grpo.yaml and infer.yaml there. Run it again to continue where it stopped; --fresh starts over.
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

"$python" examples/learning_benchmark/run.py start more grpo --seeds 1 --no_headroom --output "$out"

for name in start more grpo; do
    cp "$out/1/$name/test.jsonl" "$out/$name.jsonl"
done
echo "== held-out clips: after SFT (start), as much more SFT (more), GRPO (grpo)"
swift-stvg score "$out/start.jsonl" "$out/more.jsonl" "$out/grpo.jsonl"
swift-stvg show "$out/grpo.jsonl" --logging "$out/1/grpo/logging.jsonl" --out "$out/page"
