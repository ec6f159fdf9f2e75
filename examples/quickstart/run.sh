#!/usr/bin/env bash
# From a fresh clone to a table, on a CPU: environment, synthetic clips, tiny model, and the four swift commands of the
# YAML files beside this script. Run it again to continue where it stopped; --fresh starts over.
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

step() { # step NAME COMMAND...: once
    local name=$1
    shift
    if [ -f "$out/$name.done" ]; then
        echo "== $name: done before"
        return
    fi
    echo "== $name: $*"
    "$@"
    touch "$out/$name.done"
    echo "== $name: $((SECONDS / 60)) min $((SECONDS % 60)) s since the start"
}

train() { # train COMMAND YAML CHECKPOINT: up to that checkpoint, from the last one that was written whole, if any.
          # Transformers 5 resumes the optimizer but skips Qwen2.5-VL's weights, whose names in a checkpoint are older
          # ones; --model loads them
    local last
    mkdir -p "${3%/*}"
    last=$(find "${3%/*}" -path '*/checkpoint-*/trainer_state.json' -printf '%h\n' | sort -V | tail -n 1)
    if [ "$last" != "$3" ]; then
        swift "$1" "$2" ${last:+--model "$last" --resume_from_checkpoint "$last"}
    fi
}

infer() { # infer YAML RESULT: afresh, since swift appends to a result file
    rm -f "$2"
    swift infer "$1"
}

mkdir -p "$out"
# 2 frames per second, all that the model looks at: the fewer there are to decode, the faster the training
step clips swift-stvg synth "$out/stvg_synthetic" --split coldstart=6000@0.7 train=1500 test=200 --difficulty easy --fps 2
step model swift-stvg tiny "$out/tiny" --spatial-merge 4 --max-coordinate 56 --max-index 15
step sft train sft examples/quickstart/1_sft.yaml "$out/sft/checkpoint-1500"
step before infer examples/quickstart/2_infer_before.yaml "$out/before.jsonl"
step grpo train rlhf examples/quickstart/3_grpo.yaml "$out/grpo/checkpoint-110"
step after infer examples/quickstart/4_infer_after.yaml "$out/after.jsonl"

echo "== held-out clips, before and after GRPO"
swift-stvg score "$out/before.jsonl" "$out/after.jsonl"
