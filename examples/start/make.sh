#!/usr/bin/env bash
# Train the start model that comes with swift_stvg. Its folder is the package's folder of the model, or FOLDER:
#   bash examples/start/make.sh [FOLDER]
# It uses one core. Run it again to continue where it stopped. Another kind of processor gives other, equally good weights.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=start_output
model=${1:-$here/../../swift_stvg/start/model}

python "$here/../learning_benchmark/run.py" pretrained --plan "$here/plan.yaml" --jobs 1 --output "$out"

rm -rf "$model"
swift-stvg card "$out"/1/pretrained/checkpoint-* --out "$model" --scores "$out/1/pretrained/test.jsonl" \
    --hub_model_id swift_stvg-start --license apache-2.0
chmod 644 "$model/model.safetensors"   # others are to read it where it is installed
if [ $# = 0 ]; then (cd "$model" && ln -sf ../../sharing/beside_weights/answer*.py .); fi   # the package has them once
cat >> "$model/README.md" <<'EOF'

## What it is for

A start for examples and tests: 0.9 million parameters of Qwen2.5-VL's architecture, trained on synthetic clips alone
(`examples/start` of swift_stvg). It knows clips of 56 x 56 pixels with one coloured shape, and sentences such as "the red
circle is visible." It knows nothing about real videos. Its boxes are too large on purpose, like the boxes of its
training. The scores above are those of other clips of the same kind, with exact boxes. swift_stvg made its weights and
its training clips; they hold no data of others.
EOF
