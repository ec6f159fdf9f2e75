"""Whole processes of `swift-stvg score`, without the start of Python, compared with loops over frames."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from swift_stvg.bench.measure import Result, Scale, processes
from swift_stvg.errors import StvgError
from swift_stvg.records import Sample, VideoInfo
from swift_stvg.rows.making import make_row_truth
from swift_stvg.settings import Settings

HCSTVG_VIDEOS, HCSTVG_BOXES = 1160, 181_607
"""Size of HC-STVG v1's test split."""
VIDSTG_SENTENCES, VIDSTG_VIDEOS = 10_303, 732
"""Size of VidSTG's test split."""


def measure(folder: Path, scale: Scale) -> Iterator[Result]:
    """Data of the size of the test splits of HC-STVG v1 and VidSTG."""
    annotations, predictions = _make_hcstvg(folder)
    answers = _make_answers(folder)
    score = [sys.executable, "-c", "import sys; from swift_stvg.cli import main; sys.exit(main())", "score"]
    score += ["--format", "json"]
    loops = [sys.executable, str(Path(__file__).with_name("loops.py"))]
    report = folder / "report.json"
    commands = {
        "start": [sys.executable, "-c", "pass"],
        "plain": [*loops, "plain", str(annotations), str(predictions)],
        "arrays": [*loops, "arrays", str(annotations), str(predictions)],
        "ours": [
            *score,
            str(predictions),
            *f"--dataset hcstvg_v1:test --protocol hcstvg_official --out {report}".split(),
        ],
        "answers": [*score, str(answers)],
    }
    seconds, megabytes, printed = processes(commands, scale.rounds, {"STVG_DATA_ROOT": str(folder)})
    ours = json.loads(report.read_text())["tables"][0]["rows"][0]["metrics"]
    for kind in ("plain", "arrays"):
        for metric, mean in json.loads(printed[kind]).items():
            if abs(ours[metric][0] - mean) > 1e-9:
                raise StvgError(f"{metric} is {ours[metric][0]} here and {mean} in the {kind} loop")
    net = {name: seconds[name] - seconds["start"] for name in commands}
    what = f"score {HCSTVG_VIDEOS:,} videos with {HCSTVG_BOXES:,} boxes, hcstvg_official"
    for kind, title in (("plain", "Python numbers"), ("arrays", "one-row arrays")):
        yield Result(what, net["ours"], "s", f"per-frame loop over {title}", net[kind], megabytes["ours"])
    what = f"score {VIDSTG_SENTENCES:,} answers on the sampled grid"
    yield Result(what, net["answers"], "s", peak_mb=megabytes["answers"])


def _make_hcstvg(folder: Path) -> tuple[Path, Path]:
    """Write annotations in HC-STVG's format and dense predictions, as many as in v1's test split."""
    rng = np.random.default_rng(0)
    counts = np.diff(np.linspace(0, HCSTVG_BOXES, HCSTVG_VIDEOS + 1).astype(int))
    truth, predicted = {}, {}
    for i, n in enumerate(counts.tolist()):
        first = int(rng.integers(0, 500 - n))
        x, y, w, h = (int(v) for v in rng.integers((0, 0, 40, 80), (400, 200, 200, 280)))
        steps = np.cumsum(rng.integers(-3, 4, (n, 2)), axis=0)
        boxes = [[x + dx, y + dy, w, h] for dx, dy in steps.tolist()]
        name = f"{i}_clip.mp4"
        truth[name] = {
            "bbox": boxes,
            "st_time": first / 25,
            "ed_time": (first + n) / 25,
            "img_num": 500,
            "caption": "The man in the dark coat walks to the door and turns around.",
            "width": 640,
            "height": 480,
            "st_frame": first + 1,
        }
        begin = max(0, first + int(rng.integers(-30, 30)))
        end = min(499, begin + n - 1)
        noise = rng.normal(0, 8, (end - begin + 1, 4)).round(2).tolist()
        tube = {str(begin + j): [x + e[0], y + e[1], x + w + e[2], y + h + e[3]] for j, e in enumerate(noise)}
        predicted[name] = {"span_frames": [begin, end], "boxes": tube}
    (folder / "hc-stvg").mkdir()
    annotations, predictions = folder / "hc-stvg/test.json", folder / "predictions.json"
    annotations.write_text(json.dumps(truth))
    predictions.write_text(json.dumps(predicted))
    return annotations, predictions


def _make_answers(folder: Path) -> Path:
    """Write a result of `swift infer` as large as VidSTG's test split: events of 1 to 20 s in clips of 30 s."""
    rng = np.random.default_rng(1)
    settings = Settings()
    path = folder / "answers.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(VIDSTG_SENTENCES):
            first = int(rng.integers(0, 300))
            frames = np.arange(first, first + int(rng.integers(30, 600)))
            corner = rng.uniform(0, 200, 2)
            boxes = np.tile([*corner, *(corner + 90)], (len(frames), 1)) + np.linspace(0, 50, len(frames))[:, None]
            sample = Sample(
                id=f"{i:05d}",
                dataset="vidstg",
                split="test",
                sentence="the adult in white is above the bicycle",
                video=Path(f"{i % VIDSTG_VIDEOS}.mp4"),
                annotated_frames=900,
                annotated_fps=30.0,
                size_wh=(640, 360),
                span_frames=(first, int(frames[-1]) + 1),
                tube_frames=frames,
                tube_xyxy=boxes,
            )
            row_truth = make_row_truth(sample, VideoInfo.nominal(sample), settings)
            response = row_truth.format.render(row_truth.answer)
            line = {"response": response, "videos": [str(sample.video)], "stvg": row_truth.to_json()}
            file.write(json.dumps(line) + "\n")
    return path
