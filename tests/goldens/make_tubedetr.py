"""Write tests/data/tubedetr.json.gz: small files of VidSTG and VidOR, and TubeDETR's preprocessing of them.

    git clone https://github.com/antoyang/TubeDETR && git -C TubeDETR checkout d70c0ee
    python tests/goldens/make_tubedetr.py TubeDETR

preproc_vidstg.py runs unchanged, except for its configuration, whose keys it reads as attributes.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

OUT = Path(__file__).parents[1] / "data" / "tubedetr.json.gz"
FRAMES = 100
OBJECTS = {0: "child", 1: "adult", 2: "dog"}


class Attributes(dict[str, Any]):
    """An object of JSON whose keys are attributes too."""

    __getattr__ = dict.__getitem__


def vidor(video: str, seen: dict[int, range]) -> dict[str, Any]:
    """VidOR's file of a video of 64 x 48 pixels, with the frames in which objects are seen; boxes move."""

    def box(tid: int, frame: int) -> dict[str, int]:
        return {"xmin": 4 + tid, "ymin": frame % 7, "xmax": 30 + frame % 20, "ymax": 40 - tid}

    return {
        "video_id": video,
        "video_path": f"0001/{video}.mp4",
        "frame_count": FRAMES,
        "fps": 5.0,
        "width": 64,
        "height": 48,
        "subject/objects": [{"tid": tid, "category": OBJECTS[tid]} for tid in seen],
        "trajectories": [
            [
                {"tid": tid, "bbox": box(tid, frame), "generated": 0, "tracker": "none"}
                for tid, frames in seen.items()
                if frame in frames
            ]
            for frame in range(FRAMES)
        ],
    }


def vidstg(video: str, tids: tuple[int, int], event: tuple[int, int]) -> dict[str, Any]:
    """An annotation with a question about the first of two objects and a statement about the second."""
    said = {"description": f"the {OBJECTS[tids[1]]} of {video} waves.", "type": "subject", "target_id": tids[1]}
    asked = {"description": f"who waves in {video}?", "type": "object", "target_id": tids[0]}
    return {
        "vid": video,
        "frame_count": FRAMES,
        "fps": 5.0,
        "width": 64,
        "height": 48,
        "subject/objects": [{"tid": tid, "category": OBJECTS[tid]} for tid in sorted(set(tids))],
        "used_segment": {"begin_fid": 10, "end_fid": 95},
        "temporal_gt": dict(zip(("begin_fid", "end_fid"), event, strict=True)),
        "questions": [asked],
        "captions": [said],
    }


def main() -> None:
    script = Path(sys.argv[1], "preproc/preproc_vidstg.py").read_text().replace("(f)", "(f, object_hook=Attributes)", 1)
    given = {
        "vidor/training/0001/77.json": vidor("77", {0: range(FRAMES), 1: range(15, 80)}),
        "vidor/training/0002/78.json": vidor("78", {0: range(30, FRAMES), 2: range(20, 90)}),
        "vidor/validation/0001/79.json": vidor("79", {1: range(FRAMES)}),
        "annotations/train_annotations.json": [vidstg("77", (0, 1), (20, 60)), vidstg("78", (2, 0), (40, 90))],
        "annotations/val_annotations.json": [vidstg("78", (2, 2), (30, 50))],
        "annotations/test_annotations.json": [vidstg("79", (1, 1), (40, 95))],
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        places = {"img": folder, "ann": folder / "annotations", "vid": folder / "vidor"}
        config = {f"vidstg_{key}_path": str(place) for key, place in places.items()}
        for path, content in [*given.items(), ("config/vidstg.json", config)]:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(json.dumps(content))
        (folder / "preproc").mkdir()
        with contextlib.chdir(folder / "preproc"):
            exec(compile(script, "preproc_vidstg.py", "exec"), {"Attributes": Attributes})
        written = {
            path.name: json.loads(path.read_text())
            for path in sorted((folder / "annotations").iterdir())
            if f"annotations/{path.name}" not in given
        }
    data = json.dumps({"given": given, "written": written}).encode()
    OUT.write_bytes(gzip.compress(data, mtime=0))
    print(f"{OUT}: {', '.join(written)}; {os.path.getsize(OUT)} bytes")


if __name__ == "__main__":
    main()
