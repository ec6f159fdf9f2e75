"""Referring expressions as rows of stvg_jsonl: a picture is a video of one frame, its box a tube of one.

Takes lines like {"image": "a.jpg", "sentence": "the left cup", "bbox": [x, y, width, height]}, boxes as in RefCOCO.

    python referring.py refcoco_train.jsonl train2014 referring_train.jsonl
"""

import json
import sys
from pathlib import Path

from swift_stvg.errors import VideoError
from swift_stvg.settings import Settings
from swift_stvg.util.writing import write_text_atomic
from swift_stvg.video.probing import probe_all

annotations, pictures, out = map(Path, sys.argv[1:])
refs = [json.loads(line) for line in annotations.read_text(encoding="utf-8").splitlines() if line.strip()]
infos = probe_all({pictures / ref["image"] for ref in refs}, annotations.name, Settings.from_env())
rows, missing = [], []
for number, ref in enumerate(refs):
    info = infos[pictures / ref["image"]]
    if isinstance(info, VideoError):
        missing.append(str(info))
        continue
    x, y, width, height = ref["bbox"]
    row = {"stvg_schema": 1, "id": f"{ref['image']}/{number}", "video": str(info.path.absolute()), "n_frames": 1}
    row |= {"sentence": ref["sentence"], "fps": 1.0, "size_wh": info.size_wh, "span_frames": [0, 1]}
    rows.append(row | {"tube": [[0, x, y, x + width, y + height]]})
write_text_atomic(out, "".join(json.dumps(row) + "\n" for row in rows))
print(f"{out}: {len(rows)} rows, {len(missing)} left out{'; ' * bool(missing)}{'; '.join(missing[:1])}")
