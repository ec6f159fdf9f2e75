#!/usr/bin/env bash
# Learning from one's own answers in rounds: sample, select, train, again. Stock commands only.
#   bash examples/selection/rounds.sh MODEL DATASET ROUNDS [OPTIONS OF THE TRAINING]
# for example
#   STVG_DATA_ROOT=/data bash examples/selection/rounds.sh Qwen/Qwen2.5-VL-7B-Instruct hcstvg_v1:train 3 --tuner_type lora
# KIND=dpo (the default), sft or kto is what the rows are for. ROWS, SAMPLES and OUTPUT are the numbers of rows and of
# answers to each, and the folder of all rounds. A step that is done is not done again; delete its file to repeat it.
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
            --dataset "$here/rows.jsonl" --split_dataset_ratio 0 --num_train_epochs 1 --merge_lora true \
            --output_dir "$here/train" --add_version false "$@"
        touch "$here/trained"
    fi
    # a LoRA is merged beside its checkpoint; it is the next round's model
    model=$(ls -d "$here"/train/checkpoint-*-merged 2>/dev/null | tail -1 || true)
    [ -n "$model" ] || model=$(ls -d "$here"/train/checkpoint-* | sort -V | tail -1)
done
echo "$model"
