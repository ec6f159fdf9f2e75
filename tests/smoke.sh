#!/usr/bin/env bash
# What an installed package must do, without a clone: clips, a tiny model, one step of SFT and of GRPO, answers, a score, a
# page. Everything is written to the current folder.
set -euo pipefail
export STVG_DATA_ROOT=$PWD STVG_CACHE_DIR=off STVG_MAX_SIDE=56 CUDA_VISIBLE_DEVICES=
swift-stvg synth stvg_synthetic --split train=8 test=4 --size-wh 64 48 --duration-s 3
swift-stvg tiny tiny
common=(--template stvg_qwen2_5_vl --external_plugins swift_stvg
    --model tiny --torch_dtype float32)
train=(--dataset stvg_synthetic:train --max_steps 1 --save_steps 1 --report_to none --use_cpu true --check_model false
    --add_version false)
swift sft "${common[@]}" "${train[@]}" --tuner_type full --output_dir sft --per_device_train_batch_size 2
swift rlhf --rlhf_type grpo "${common[@]}" "${train[@]}" --tuner_type full --output_dir grpo \
    --reward_funcs stvg_format stvg_consistency stvg_temporal stvg_spatial stvg_think --num_generations 2 \
    --per_device_train_batch_size 2 --max_completion_length 8
swift infer "${common[@]}" --model sft/checkpoint-1 \
    --val_dataset stvg_synthetic:test --remove_unused_columns false --max_new_tokens 8 --temperature 0 \
    --result_path answers.jsonl
swift-stvg score answers.jsonl
swift-stvg check stvg_synthetic:train --template stvg_qwen2_5_vl
swift-stvg show answers.jsonl --out page
echo "== it works"
