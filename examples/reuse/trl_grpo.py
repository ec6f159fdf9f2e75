"""The rewards in TRL's GRPOTrainer, without ms-swift: sampled frames go in as pictures.

python trl_grpo.py MODEL stvg_jsonl FILE.jsonl OUTPUT [STEPS [TOKENS]]
"""

import json
import sys

import torch
from datasets import Dataset, Image, List
from PIL import Image as Picture
from transformers import AutoConfig
from trl import GRPOConfig, GRPOTrainer

from swift_stvg.rewards import CALLABLES, WEIGHTS
from swift_stvg.rows import VIDEO_KEY, VideoRequest
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows
from swift_stvg.video.frame_loader import decode


def example(row):
    """Convert a row of swift_stvg to a row of TRL."""
    frames = decode(row["videos"][0], VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY]))
    prompt = [{**m, "content": m["content"].replace("<video>", "")} for m in row["messages"][:-1]]
    pictures = [Picture.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]
    return {"prompt": prompt, "images": pictures, "stvg": row["stvg"]}


if __name__ == "__main__":
    model, dataset, split, output = sys.argv[1:5]
    rows, _ = load_rows(dataset, split, Settings.from_env())
    data = Dataset.from_list([example(row) for row in rows]).cast_column("images", List(Image()))
    known = AutoConfig.from_pretrained(model)
    pixels = [known.image_token_id, known.video_token_id]  # a completion with one of them cannot be encoded again
    config = GRPOConfig(
        output_dir=output,
        reward_weights=list(WEIGHTS.values()),
        num_generations=4,
        generation_kwargs={"suppress_tokens": pixels},
        per_device_train_batch_size=4,
        max_completion_length=int(sys.argv[6]) if len(sys.argv) > 6 else 2048,
        max_steps=int(sys.argv[5]) if len(sys.argv) > 5 else -1,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        bf16=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = GRPOTrainer(model, [CALLABLES[name] for name in WEIGHTS], config, data)
    trainer.train()
    print(json.dumps(trainer.state.log_history))
