"""Charades-STA as rows of stvg_jsonl, about the time alone: `VIDEO_ID START END##SENTENCE` lines, times in seconds.

python charades_sta.py charades_sta_train.txt Charades_v1_480 charades_train.jsonl
"""

import json
import sys
from pathlib import Path

import numpy as np

from swift_stvg.errors import VideoError
from swift_stvg.settings import Settings
from swift_stvg.util.writing import write_text_atomic
from swift_stvg.video.probing import probe_all

annotations, videos, out = map(Path, sys.argv[1:])
lines = [line for line in annotations.read_text(encoding="utf-8").splitlines() if line.strip()]
infos = probe_all({videos / f"{line.split()[0]}.mp4" for line in lines}, annotations.name, Settings.from_env())
rows, missing = [], []
for number, line in enumerate(lines):
    (name, start, end), sentence = line.partition("##")[0].split(), line.partition("##")[2]
    info = infos[videos / f"{name}.mp4"]
    if isinstance(info, VideoError):
        missing.append(str(info))
        continue
    times_s = info.frame_times_s - info.frame_times_s[0]
    first = min(int(np.searchsorted(times_s, float(start))), info.n_frames - 1)
    row = {"stvg_schema": 1, "id": f"{name}/{number}", "video": str(info.path.absolute()), "sentence": sentence}
    row |= {"n_frames": info.n_frames, "fps": info.n_frames / (info.end_s - float(info.frame_times_s[0]))}
    row |= {"size_wh": info.size_wh, "span_frames": [first, max(int(np.searchsorted(times_s, float(end))), first + 1)]}
    rows.append(row)
write_text_atomic(out, "".join(json.dumps(row) + "\n" for row in rows))
print(f"{out}: {len(rows)} rows, {len(missing)} left out{'; ' * bool(missing)}{'; '.join(missing[:1])}")
