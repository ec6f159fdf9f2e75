"""Write tests/data/positions.json.gz: positions from the functions of older versions of transformers.

For each architecture, use the version that was released with the model, in an environment of its own:

    python3 -m venv ENV && ENV/bin/pip install torch 'transformers==4.49.0' 'numpy<2.4'
    ENV/bin/python tests/goldens/make_positions.py qwen2_vl qwen2_5_vl

qwen2_vl and qwen2_5_vl: 4.49.0 (4.57.6, 5.0.0 and 5.2.0 already cut the seconds of a pair to a whole number).
qwen3_vl: 4.57.6. qwen3_5: 5.2.0. The script keeps the positions of other architectures.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers

OUT = Path(__file__).parents[1] / "data" / "positions.json.gz"
CLASSES = {
    "qwen2_vl": ["Qwen2VLModel", "Qwen2VLForConditionalGeneration"],
    "qwen2_5_vl": ["Qwen2_5_VLModel", "Qwen2_5_VLForConditionalGeneration"],
    "qwen3_vl": ["Qwen3VLModel"],
    "qwen3_5": ["Qwen3_5Model"],
}
"""The class that knows positions, by architecture; its place changed with 4.52."""
TEXT_ID, PAD_ID = 7, 0
TOKEN_IDS = {
    "image_token_id": 151655,
    "video_token_id": 151656,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
}
"""Those of the released checkpoints, where a version's configuration has none of its own."""


def layouts() -> dict[str, list[list[Any]]]:
    """Rows of batches by name: numbers are runs of text, ("v", pairs, rows, columns, seconds) and ("p", rows, columns).

    Rows and columns are tokens.
    """
    generator = random.Random(0)
    made: dict[str, list[list[Any]]] = {
        "query after the video": [[31, ("v", 8, 1, 1, 1.0), 40]],
        "query before the video": [[60, ("v", 8, 1, 1, 1.0), 6]],
        "longer than wide": [[10, ("v", 20, 7, 12, 1.0), 25]],
        "wider than long": [[10, ("v", 3, 7, 12, 1.0), 25]],
        "one pair": [[5, ("v", 1, 2, 3, 2.0), 5]],
        "two videos": [[5, ("v", 6, 2, 2, 1.0), 4, ("v", 3, 3, 2, 0.5), 20]],
        "two pictures": [[5, ("p", 4, 2), 3, ("p", 2, 6), 9]],
        "picture, video, picture": [[3, ("p", 5, 5), 4, ("v", 7, 2, 2, 1.6), 4, ("p", 2, 2), 11]],
        "text alone": [[17]],
        "4 frames a second": [[9, ("v", 16, 2, 3, 0.5), 30]],
        "1.25 frames a second": [[9, ("v", 16, 2, 3, 1.6), 30]],
        "3 frames a second": [[9, ("v", 16, 2, 3, 2 / 3), 30]],
        "a long clip": [[9, ("v", 64, 1, 2, 2.8), 30]],
        "a very long clip": [[9, ("v", 64, 1, 2, 9.375), 30]],
        "left padding": [[4, ("v", 5, 2, 2, 1.0), 6], [9, ("v", 9, 2, 3, 0.7), 30], [12]],
    }
    for k in range(8):
        row: list[Any] = [generator.randint(1, 9)]
        for _ in range(generator.randint(1, 4)):
            side = (generator.randint(1, 4), generator.randint(1, 4))
            seconds = generator.choice([0.25, 0.5, 0.75, 1.0, 1.3, 2.0, 4.7])
            video = ("v", generator.randint(1, 9), *side, seconds)
            row += [generator.choice([("p", *side), video]), generator.randint(1, 9)]
        made[f"random {k}"] = [row]
    return made


def tensors(rows: list[list[Any]], config: Any, apart: bool) -> dict[str, Any]:
    """What the models are given for a batch, left-padded; with `apart`, each pair of frames has its own markers."""
    merge = config.vision_config.spatial_merge_size
    sequences, pictures, videos, seconds = [], [], [], []
    start, end = config.vision_start_token_id, config.vision_end_token_id
    for row in rows:
        ids: list[int] = []
        for part in row:
            if isinstance(part, int):
                ids += [TEXT_ID] * part
                continue
            kind, pairs, height, width, *more = part if part[0] == "v" else ("p", 1, *part[1:])
            token = config.video_token_id if kind == "v" else config.image_token_id
            blocks = [pairs] if not apart else [1] * pairs
            for block in blocks:
                ids += ([TEXT_ID] * 3 if apart and kind == "v" else []) + [start]
                ids += [token] * block * height * width + [end]
            (videos if kind == "v" else pictures).append([pairs, height * merge, width * merge])
            seconds += more
        sequences.append(ids)
    longest = max(map(len, sequences))
    return {
        "input_ids": [[PAD_ID] * (longest - len(ids)) + ids for ids in sequences],
        "attention_mask": [[0] * (longest - len(ids)) + [1] * len(ids) for ids in sequences],
        "image_grid_thw": pictures or None,
        "video_grid_thw": videos or None,
        "second_per_grid_ts": seconds or None,
    }


def golden(architecture: str) -> dict[str, Any]:
    """Every layout with the positions (3, N, L) that the installed transformers gives it."""
    modeling = import_module(f"transformers.models.{architecture}.modeling_{architecture}")
    name = next(name for name in CLASSES[architecture] if hasattr(getattr(modeling, name, None), "get_rope_index"))
    kind = getattr(modeling, name)
    config = kind.config_class()
    ids = {name: getattr(config, name, default) for name, default in TOKEN_IDS.items()}
    for token, number in ids.items():  # 4.49.0 knows them from checkpoints only
        setattr(config, token, number)
    model = kind.__new__(kind)  # positions need no weights
    torch.nn.Module.__init__(model)
    model.config = config
    made = []
    for title, rows in layouts().items():
        given = tensors(rows, config, apart=architecture.startswith("qwen3"))
        whole = {key: value if key == "second_per_grid_ts" or value is None else torch.tensor(value)
                 for key, value in given.items()}  # fmt: skip
        if architecture != "qwen2_5_vl":
            del whole["second_per_grid_ts"]
        positions, deltas = kind.get_rope_index(model, **whole)
        made.append({"title": title, **given, "positions": positions.tolist(), "deltas": deltas.tolist()})
    return {"transformers": transformers.__version__, "token_ids": ids, "layouts": made}


def main() -> None:
    kept = json.loads(gzip.decompress(OUT.read_bytes())) if OUT.exists() else {}
    kept |= {architecture: golden(architecture) for architecture in sys.argv[1:]}
    text = json.dumps(dict(sorted(kept.items())), separators=(",", ":"))
    OUT.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
