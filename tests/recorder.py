"""A second external plugin: writes the model's inputs from our template to the file named by RECORD_TO.

A file with the ending .decoded lists the videos that were decoded. A file with the ending .positions holds the
positions of frames and text that the model's rotary embedding received.
"""

import hashlib
import json
import os

import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRotaryEmbedding

import swift_stvg.video.frame_loader
from swift_stvg.adapters.templates import StvgTemplate

_decode = swift_stvg.video.frame_loader.decode


def _recording_decode(path, request, *how):
    with open(os.environ["RECORD_TO"] + ".decoded", "a") as file:
        file.write(f"{path}\n")
    return _decode(path, request, *how)


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
swift_stvg.video.frame_loader.decode = _recording_decode

_rotate = Qwen2_5_VLRotaryEmbedding.forward
_before = []  # the positions of the sequences that tokens are generated for


def _recording_rotate(self, x, position_ids):
    global _before
    length = position_ids.shape[-1]
    if length > 1:
        _before = [row.max() for row in position_ids.unbind(1)]
        places = [_after_the_video(row) for row in position_ids.unbind(1)]
        kind = "update" if torch.is_grad_enabled() else "forward"
    else:  # one token after another, with a cache
        places = [[int(row[0, 0]), int(last) + 1] for row, last in zip(position_ids.unbind(1), _before, strict=True)]
        _before = [last + 1 for last in _before]
        kind = "token"
    with open(os.environ["RECORD_TO"] + ".positions", "a") as file:
        file.write(json.dumps({"kind": kind, "places": places}) + "\n")
    return _rotate(self, x, position_ids)


def _after_the_video(row):
    """From positions (3, L) with one video: the position of the text after the video, and the right position."""
    last = int((row[0] != row[1]).nonzero().max())  # frames alone are at another time than height
    return [int(row[0, last + 1]), int(row[:, : last + 1].max()) + 1]


Qwen2_5_VLRotaryEmbedding.forward = _recording_rotate
