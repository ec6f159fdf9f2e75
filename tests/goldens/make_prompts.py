"""Write tests/data/prompts.json: a video's prompt from the processor that was released with the model.

    python3 -m venv ENV && ENV/bin/pip install torch torchvision 'transformers==4.57.6' 'numpy<2.4'
    ENV/bin/python tests/goldens/make_prompts.py qwen3_vl TOKENIZER

qwen3_vl: 4.57.6. qwen3_5: 5.2.0. TOKENIZER is the tokenizer.json of a model of `swift-stvg tiny`: only its special
tokens matter, because prompts are kept as text. The script keeps the prompts of other architectures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

OUT = Path(__file__).parents[1] / "data" / "prompts.json"
TAG = "<|vision_start|><|video_pad|><|vision_end|>"
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
SIDE = 64
"""Pixels on a side of a frame: 2 x 2 tokens of 2 x 2 patches of 16 pixels."""
LAYOUTS: dict[str, tuple[str, list[list[float]]]] = {
    "query after the video": (f"user\n{TAG}what?", [[0.0, 0.5, 1.0, 1.5]]),
    "query before the video": (f"user\nwhat?{TAG}\n", [[0.0, 0.5, 1.0, 1.5]]),
    "two videos": (f"{TAG}\nand\n{TAG}", [[0.0, 0.5, 1.0, 1.5], [0.0, 0.8, 1.6, 2.4, 3.2, 4.0]]),
    "a picture and a video": (f"{PICTURE}\nand\n{TAG}?", [[0.0, 0.8]]),
    "an odd number of frames": (f"{TAG}.", [[0.0, 1.0, 2.0]]),
    "fractional times": (f"{TAG}.", [[0.0, 0.33, 0.71, 1.18]]),
    "one pair": (f"{TAG}.", [[0.0, 0.5]]),
}
"""Prompts, and the times in seconds of each video's frames. A newline before a video ends a token, as in our rows."""


def processor_of(architecture: str, tokenizer_json: str) -> Any:
    tokenizer = transformers.Qwen2TokenizerFast(tokenizer_file=tokenizer_json)
    sizes = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    pictures = getattr(transformers, "Qwen2VLImageProcessorFast", None) or transformers.Qwen2VLImageProcessor
    kind = {"qwen3_vl": "Qwen3VLProcessor", "qwen3_5": "Qwen3VLProcessor"}[architecture]
    return getattr(transformers, kind)(
        image_processor=pictures(**sizes),
        video_processor=transformers.Qwen3VLVideoProcessor(**sizes),
        tokenizer=tokenizer,
    )


def golden(architecture: str, tokenizer_json: str) -> dict[str, Any]:
    processor, made = processor_of(architecture, tokenizer_json), []
    for title, (prompt, videos_s) in LAYOUTS.items():
        pictures = [torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)] * prompt.count(PICTURE)
        given = processor(
            text=[prompt],
            images=pictures or None,
            videos=[torch.zeros(len(times), 3, SIDE, SIDE, dtype=torch.uint8) for times in videos_s],
            video_metadata=[
                {"fps": 100.0, "frames_indices": [round(t * 100) for t in times], "total_num_frames": 1000}
                for times in videos_s
            ],
            do_resize=False,
            do_sample_frames=False,
        )
        text = processor.tokenizer.decode(given["input_ids"][0])
        made.append({"title": title, "prompt": prompt, "videos_s": videos_s, "expanded": text})
    return {"transformers": transformers.__version__, "layouts": made}


def main() -> None:
    architecture, tokenizer_json = sys.argv[1:]
    kept = json.loads(OUT.read_text()) if OUT.exists() else {}
    kept[architecture] = golden(architecture, tokenizer_json)
    OUT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
