"""Making ms-swift's rows from VidSTG's annotations, in separate processes, compared with reading the files' bytes.

    python -m swift_stvg.bench.load bytes|new|kept SPLIT

This reads the files below STVG_DATA_ROOT. `new` first deletes the video properties in STVG_CACHE_DIR; `kept` uses them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from swift_stvg.bench.measure import Result, Scale, processes
from swift_stvg.settings import Settings
from swift_stvg.sources.loading import load_rows

SPLITS = {"test": (4610, 732, 10_303), "train": (36_202, 5563, 80_684)}
"""Numbers of annotations, videos and sentences of VidSTG's splits."""
QUICK_SPLITS = {"test": (230, 36, 515)}
VIDEO_KINDS = 12
"""Number of different videos. All other videos are copies with other last bytes."""


def measure(folder: Path, scale: Scale) -> Iterator[Result]:
    """Each split, with an empty and with a full cache of video properties."""
    for split, counts in (QUICK_SPLITS if scale.quick else SPLITS).items():
        root = folder / split
        _make(root, split, *counts)
        env = {"STVG_DATA_ROOT": str(root), "STVG_CACHE_DIR": str(root / "cache")}
        commands = {kind: [sys.executable, "-m", __name__, kind, split] for kind in ("bytes", "new", "kept")}
        seconds, megabytes, _ = processes(commands, 1, env)  # each takes minutes
        what = f"{counts[2]:,} sentences of VidSTG's size about {counts[1]:,} videos to rows"
        for kind, when in (("new", "for the first time"), ("kept", "again")):
            yield Result(f"{what}, {when}", seconds[kind], "s", "reading the files", seconds["bytes"], megabytes[kind])
        shutil.rmtree(root)


def main(kind: str, split: str) -> None:
    """The work of one process."""
    settings = Settings.from_env()
    if kind == "bytes":
        for path in settings.root.rglob("*.*"):
            if path.is_file() and "cache" not in path.relative_to(settings.root).parts:
                path.read_bytes()
        return
    if kind == "new" and settings.cache_dir:
        shutil.rmtree(Path(settings.cache_dir, "probes"), ignore_errors=True)
    rows, report = load_rows("vidstg", split, settings)
    print(len(rows), report.summary())


def _make(root: Path, split: str, annotations: int, videos: int, sentences: int) -> None:
    """Write annotations in VidSTG's format, trajectories in VidOR's with about as many boxes, and small videos."""
    rng = np.random.default_rng(0)
    base = root / "vidstg"
    for name in ("videos", "sent_annos", "bbox_annos"):
        (base / name).mkdir(parents=True)
    kinds = []
    for k in range(VIDEO_KINDS):
        n_frames = 400 + 100 * k
        trajectories = [
            [
                {
                    "tid": tid,
                    "bbox": {"xmin": 20 + 40 * tid, "ymin": 10 + f % 90, "xmax": 200 + 40 * tid, "ymax": 190 + f % 90},
                    "generated": 1,
                    "tracker": "none",
                }
                for tid in range(4)
            ]
            for f in range(n_frames)
        ]
        kinds.append(
            (n_frames, json.dumps({"fps": 30.0, "trajectories": trajectories}), _video(root / f"{k}.mp4", n_frames))
        )
    for v in range(videos):
        _, text, video = kinds[v % VIDEO_KINDS]
        (base / "bbox_annos" / f"{v:010d}.json").write_text(text)
        free = (8 + 8).to_bytes(4, "big") + b"free" + v.to_bytes(8, "big")  # a box that players skip
        (base / "videos" / f"{v:010d}.mp4").write_bytes(video + free)
    counts = np.diff(np.linspace(0, sentences, annotations + 1).astype(int)).tolist()
    entries = []
    for i, n in enumerate(counts):
        v = i % videos
        n_frames = kinds[v % VIDEO_KINDS][0]
        begin = int(rng.integers(0, n_frames // 2))
        said = [{"target_id": j % 4, "description": f"the adult in white is above the bicycle {j}"} for j in range(n)]
        entries.append(
            {
                "vid": f"{v:010d}",
                "frame_count": n_frames,
                "fps": 30.0,
                "width": 640,
                "height": 360,
                "subject/objects": [{"tid": tid, "category": "adult"} for tid in range(4)],
                "used_segment": {"begin_fid": 0, "end_fid": n_frames - 1},
                "temporal_gt": {"begin_fid": begin, "end_fid": begin + int(rng.integers(30, n_frames // 2))},
                "captions": said[::2],
                "questions": said[1::2],
            }
        )
    (base / "sent_annos" / f"{split}_annotations.json").write_text(json.dumps(entries))


def _video(path: Path, n_frames: int) -> bytes:
    import av

    picture = np.zeros((36, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        for k in range(n_frames):
            picture[:, k % 64] = k % 256
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    os.unlink(path)
    return data


if __name__ == "__main__":
    main(*sys.argv[1:])
