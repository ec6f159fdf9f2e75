"""Write tests/data/ptd.json.gz: the scores of PTD's own evaluation for golden annotations and predictions.

    git clone https://github.com/mbzuai-oryx/ParallelTubeDecoding && git -C ParallelTubeDecoding checkout c6a63a7
    python tests/goldens/make_ptd.py ParallelTubeDecoding

Its code runs unchanged, except for the videos: their frame count and rate come from the annotation. HC-STVG's
annotations and predictions come from tests/data/golden_hcstvg; VidSTG's are made here. Predictions are written in PTD's
tokens: a box for each frame of its grid that is in the span and has a box.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

DATA = Path(__file__).parents[1] / "data"
OUT = DATA / "ptd.json.gz"
METRICS = ("m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(module: ModuleType, *words: object) -> list[dict[str, Any]]:
    """The rows that a script of PTD writes."""
    with TemporaryDirectory() as name:
        out = Path(name, "rows.jsonl")
        sys.argv = ["script", *map(str, words), "--output", str(out)]
        module.main()
        return [json.loads(line) for line in out.read_text().splitlines()]


def golden(name: str) -> Any:
    return json.loads(gzip.decompress((DATA / f"golden_hcstvg/{name}.json.gz").read_bytes()))


def written(tube: dict[str, Any] | None, grid: list[int], size: tuple[int, int], interpolate: bool) -> str:
    """A prediction in PTD's tokens."""
    if tube is None:
        return ""
    known = sorted(map(int, tube["boxes"]))
    columns = np.array([tube["boxes"][str(frame)] for frame in known])
    first, last = tube["span_frames"]
    inside = [(i, frame) for i, frame in enumerate(grid, 1) if first <= frame <= last]
    if not inside:
        return ""
    text = f"<|time_start|><t{inside[0][0]}><t{inside[-1][0]}><|time_end|>"
    for i, frame in inside:
        if known and (interpolate or frame in known):
            box = [float(np.interp(frame, known, column)) for column in columns.T]
            scaled = [round(min(max(v / s * 1000, 0), 1000)) for v, s in zip(box, size * 2, strict=True)]
            text += f"<t{i}><|box_start|>" + "".join(f"<{value}>" for value in scaled) + "<|box_end|>"
    return text


def scores(utils: ModuleType, docs: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    each = {name: utils._ious(doc, texts[name]) for name, doc in docs.items()}
    records = [{"group": "v1", "tIoU": tiou, "vIoU": viou} for tiou, viou in each.values()]
    mean = {metric: utils._aggregate(records, group="v1", metric=metric) for metric in METRICS}
    return {"each": each, "mean": mean}


def hcstvg(root: Path, utils: ModuleType) -> dict[str, Any]:
    script = load(root / "data/prepare_hcstvg_eval.py")
    annotations = golden("annotations_hcstvg_v1")
    script.read_video = lambda path: (annotations[path.name]["img_num"], annotations[path.name]["img_num"] / 20)
    found = {}
    with TemporaryDirectory() as name:
        path = Path(name, "test.json")
        path.write_text(json.dumps(annotations))
        rows = run(script, "--version", "v1", "--annotations", path, "--video-root", name, "--video-prefix", "v")
    docs = {Path(row["video_path"]).name: row for row in rows}
    for kind, file in (("dense", "predictions_dense"), ("sparse", "predictions_sparse")):
        tubes = golden(file)
        texts = {
            name: written(
                tubes.get(name),
                script.sample_frames(doc["frame_count"], doc["fps"]),
                (annotations[name]["width"], annotations[name]["height"]),
                kind == "sparse",
            )
            for name, doc in docs.items()
        }
        found[kind] = scores(utils, docs, texts)
    return found


def vidstg_files() -> tuple[dict[str, Any], dict[str, Any]]:
    """Annotations in the form of TubeDETR's preprocessing, and tubes: clips in mid-video, gaps, long and short ones."""
    draw = random.Random(7)
    videos, trajectories, tubes = [], {}, {}
    for i in range(40):
        fps, frames = draw.choice([10.0, 24.0, 29.97, 30.0]), draw.randrange(12, 3000)
        start = draw.randrange(0, frames // 2)
        end = draw.randrange(start + 2, frames)
        first = draw.randrange(start, end)
        stop = draw.randrange(first + 1, end + 1)
        track = {
            str(f): {"bbox": [10 + f % 50, -3 + f % 9, 60 + f % 50, 70 + f % 40]}
            for f in range(first, stop)
            if i % 4 or f % 5
        }
        trajectories[f"v{i}"] = {"3": track}
        videos.append(
            {
                "original_video_id": f"v{i}",
                "video_id": i,
                "video_path": f"v{i}.mp4",
                "caption": "it waves",
                "qtype": "declarative",
            }
            | {"frame_count": frames, "fps": fps, "width": 100, "height": 80, "target_id": 3}
            | {"start_frame": start, "end_frame": end, "tube_start_frame": first, "tube_end_frame": stop}
        )
        low, high = sorted((max(start, first + draw.randrange(-20, 20)), min(end, stop + draw.randrange(-20, 40))))
        if i % 9 != 4:
            step = draw.choice([1, 7, 40])
            at = [draw.uniform(-2, 9) for _ in range(4)]  # odd numbers, which have no ties when they are rounded
            boxes = {
                str(f): [at[0] + f % 50, at[1] + f % 9, at[2] + 50 + f % 50, at[3] + 60 + f % 40]
                for f in range(low, high + 1, step)
            }
            tubes[f"v{i}"] = {"span_frames": [low, high], "boxes": boxes}
    return {"videos": videos, "trajectories": trajectories}, tubes


def vidstg(root: Path, utils: ModuleType) -> dict[str, Any]:
    script = load(root / "data/prepare_vidstg_eval.py")
    annotations, tubes = vidstg_files()
    with TemporaryDirectory() as name:
        path = Path(name, "test.json")
        path.write_text(json.dumps(annotations))
        docs = {row["id"].partition("_")[0]: row for row in run(script, "--annotations", path)}
    texts = {
        video["original_video_id"]: written(
            tubes.get(video["original_video_id"]),
            script.sampled_frames(video["start_frame"], video["end_frame"], video["fps"]),
            (100, 80),
            True,
        )
        for video in annotations["videos"]
    }
    return {"annotations": annotations, "tubes": tubes} | scores(utils, docs, texts)


def main() -> None:
    root = Path(sys.argv[1])
    utils = load(root / "evaluation/lmms_eval/lmms_eval/tasks/hcstvg/utils.py")
    data = {"hcstvg": hcstvg(root, utils), "vidstg": vidstg(root, utils)}
    OUT.write_bytes(gzip.compress(json.dumps(data).encode(), mtime=0))
    print(f"{OUT}: {OUT.stat().st_size} bytes", data["hcstvg"]["dense"]["mean"], data["vidstg"]["mean"])


if __name__ == "__main__":
    main()
