"""LF-STVG as rows of stvg_jsonl: HC-STVG v2's validation clips as parts of videos of minutes.

python lf_stvg.py lf-stvg-1min lf_stvg_1min.jsonl

The folder holds `annos/test.json`, an object by name of video with `caption`, `width`, `height`, `img_num`, `st_frame`
(from 1) and `bbox` (x, y, w, h of consecutive frames), and `video/`. The frame rate is read from each video.
Source: the dataset card of Gstar666/LF-STVG-Test; arXiv 2602.23294.
"""

import json
import sys
from pathlib import Path

from swift_stvg.errors import VideoError
from swift_stvg.settings import Settings
from swift_stvg.util.writing import write_text_atomic
from swift_stvg.video.probing import probe_all

folder, out = map(Path, sys.argv[1:])
entries = json.loads((folder / "annos/test.json").read_text(encoding="utf-8"))
infos = probe_all({folder / "video" / name for name in entries}, folder.name, Settings.from_env())
rows, missing, other = [], [], []
for name, entry in entries.items():
    info = infos[folder / "video" / name]
    if isinstance(info, VideoError):
        missing.append(str(info))
        continue
    if info.n_frames != entry["img_num"]:
        other.append(f"{name}: {info.n_frames} decoded, {entry['img_num']} annotated")
    first = entry["st_frame"] - 1
    row = {"stvg_schema": 1, "id": name, "video": str(info.path.absolute()), "sentence": entry["caption"]}
    row |= {"n_frames": info.n_frames, "fps": info.n_frames / (info.end_s - float(info.frame_times_s[0]))}
    row |= {"size_wh": [entry["width"], entry["height"]], "span_frames": [first, first + len(entry["bbox"])]}
    row |= {"tube": [[first + i, x, y, x + w, y + h] for i, (x, y, w, h) in enumerate(entry["bbox"])]}
    rows.append(row | {"category": "person"})
write_text_atomic(out, "".join(json.dumps(row) + "\n" for row in rows))
print(f"{out}: {len(rows)} rows, {len(missing)} left out{'; ' * bool(missing)}{'; '.join(missing[:1])}")
if other:
    print(f"  {len(other)} videos with another number of frames than annotated, e.g. {other[0]}", file=sys.stderr)
