"""A second external plugin: notes what our template hands to the model in the file named by RECORD_TO.

Beside it, in a file with the ending .decoded, the videos that were decoded for that.
"""

import hashlib
import json
import os

import swift_stvg.frames
from swift_stvg.adapters.templates import StvgTemplate

_decode = swift_stvg.frames.decode


def _recording_decode(path, request):
    with open(os.environ["RECORD_TO"] + ".decoded", "a") as file:
        file.write(f"{path}\n")
    return _decode(path, request)


def _digest(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def _recording_encode(self, inputs):
    encoded = super(StvgTemplate, self)._encode(inputs)
    pixels = encoded.get("pixel_values_videos", encoded.get("pixel_values"))
    if pixels is None:  # GRPO encodes prompts once more without media, to log their text
        return encoded
    labels = encoded.get("labels")
    ids = encoded["input_ids"]
    answer = next((i for i, label in enumerate(labels) if label != -100), len(ids)) if labels else len(ids)
    prompt = ids[:answer]
    end = len(prompt) - prompt[::-1].index(self.tokenizer.convert_tokens_to_ids("<|im_start|>"))
    record = {
        "mode": self.mode,
        "prompt": prompt[:end],
        "pixels": _digest(pixels),
        "grid": encoded["video_grid_thw"].tolist() if "video_grid_thw" in encoded else None,
        "seconds": [float(s) for s in encoded.get("second_per_grid_ts", [])],
        "sentence": inputs.messages[0]["content"],
    }
    with open(os.environ["RECORD_TO"], "a") as file:
        file.write(json.dumps(record) + "\n")
    return encoded


StvgTemplate._encode = _recording_encode
swift_stvg.frames.decode = _recording_decode
