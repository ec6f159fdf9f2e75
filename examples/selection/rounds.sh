#!/usr/bin/env bash
# Rounds of training on a model's own answers: sample, select, train, repeat. It uses stock commands only.
#   bash examples/selection/rounds.sh MODEL DATASET ROUNDS [OPTIONS OF THE TRAINING]
# for example
#   STVG_DATA_ROOT=/data bash examples/selection/rounds.sh Qwen/Qwen2.5-VL-7B-Instruct hcstvg_v1:train 3 --tuner_type lora
# KIND is the training that the rows are for: dpo (the default), sft or kto. ROWS and SAMPLES are the numbers of rows and
# of answers to each row. OUTPUT is the folder of all rounds. A finished step is not repeated; delete its file to repeat it.
# Options for the sampling go into SAMPLING, for example SAMPLING="--infer_backend vllm".
set -euo pipefail
model=$1 dataset=$2 rounds=$3
shift 3
kind=${KIND:-dpo} rows=${ROWS:-1000} samples=${SAMPLES:-8} output=${OUTPUT:-output/rounds}
template=${TEMPLATE:-stvg_qwen2_5_vl}

for round in $(seq "$rounds"); do
    here=$output/$round
    mkdir -p "$here"
    if [ ! -e "$here/answers.jsonl" ]; then   # other rows in each round
        # shellcheck disable=SC2086
        swift-stvg headroom --model "$model" --dataset "$dataset" --rows "$rows" --samples "$samples" --seed "$round" \
            --max_new_tokens 2048 --answers "$here/answers.jsonl" --out "$here/headroom.txt" ${SAMPLING:-}
    fi
    swift-stvg select "$here/answers.jsonl" --for "$kind" --out "$here/rows.jsonl" | tee "$here/select.txt"
    if [ ! -e "$here/trained" ]; then
        rm -rf "$here/train"
        if [ "$kind" = sft ]; then command=(sft); else command=(rlhf --rlhf_type "$kind"); fi
        swift "${command[@]}" --external_plugins swift_stvg --model "$model" --template "$template" \
            --dataset "$here/rows.jsonl" --split_dataset_ratio 0 --num_train_epochs 1 \
            --output_dir "$here/train" --add_version false "$@"
        touch "$here/trained"
    fi
    model=$(find "$here/train" -maxdepth 1 -name 'checkpoint-*' ! -name '*-merged' | sort -V | tail -1)
    if [ -e "$model/adapter_config.json" ]; then   # the next round needs a whole model
        [ -e "$model-merged" ] || swift export --external_plugins swift_stvg --adapters "$model" --merge_lora true
        model=$model-merged
    fi
done
echo "$model"
