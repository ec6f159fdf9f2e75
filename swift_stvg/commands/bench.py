"""`swift-stvg bench`: what things cost here, as ratios to a baseline that is measured in the same run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.errors import DataError, StvgError
from swift_stvg.jsonfile import write_whole
from swift_stvg.records import Sample, VideoInfo
from swift_stvg.rows import make_contract
from swift_stvg.settings import Settings

ROUNDS = 5
HCSTVG_VIDEOS, HCSTVG_BOXES = 1160, 181_607
"""Size of HC-STVG v1's test split."""
VIDSTG_SENTENCES, VIDSTG_VIDEOS = 10_303, 732
"""Size of VidSTG's test split."""


def add_options(bench: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    bench.add_argument("what", nargs="*", help=f"of {', '.join(BENCHMARKS)} (default: all)")
    bench.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        help=f"measurements of each, of which the median counts (default: {ROUNDS})",
    )
    bench.add_argument("--out", type=Path, metavar="FILE", help="write the figures there too, as JSON")
    bench.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, and print a table."""
    unknown = [name for name in args.what if name not in BENCHMARKS]
    if unknown or args.rounds < 1:
        raise DataError(f"the benchmarks are: {', '.join(BENCHMARKS)}, with at least one round; got {args.what}")
    report = {
        "swift_stvg": __version__,
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.platform()},
        "python": platform.python_version(),
        "numpy": np.__version__,
        "rounds": args.rounds,
        "results": [],
    }
    print(f"{report['machine']}, Python {report['python']}, numpy {report['numpy']}")
    for name in args.what or BENCHMARKS:
        with tempfile.TemporaryDirectory() as folder:
            for result in BENCHMARKS[name](Path(folder), args.rounds):
                report["results"].append(result)
                print("  ".join(f"{key} {value}" for key, value in result.items()))
    if args.out:
        write_whole(args.out, json.dumps(report, indent=1) + "\n")
    return 0


def bench_score(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Whole `swift-stvg score` processes, less the start of an interpreter, against loops over frames."""
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
    seconds, megabytes, printed = _alternate(commands, rounds, {"STVG_DATA_ROOT": str(folder)})
    ours = json.loads(report.read_text())["tables"][0]["rows"][0]["metrics"]
    for kind in ("plain", "arrays"):
        for metric, mean in json.loads(printed[kind]).items():
            if abs(ours[metric][0] - mean) > 1e-9:
                raise StvgError(f"{metric} is {ours[metric][0]} here and {mean} in the {kind} loop")
    net = {name: seconds[name] - seconds["start"] for name in commands}
    what = f"score {HCSTVG_VIDEOS} videos with {HCSTVG_BOXES} boxes, hcstvg_official"
    return [
        {
            "what": what,
            "baseline": f"per-frame loop over {title}",
            "baseline_s": round(net[kind], 3),
            "ours_s": round(net["ours"], 3),
            "ratio": round(net[kind] / net["ours"], 2),
            "peak_mb": round(megabytes["ours"]),
        }
        for kind, title in (("plain", "Python numbers"), ("arrays", "one-row arrays"))
    ] + [
        {
            "what": f"score {VIDSTG_SENTENCES} answers on the sampled grid",
            "ours_s": round(net["answers"], 3),
            "peak_mb": round(megabytes["answers"]),
        }
    ]


BENCHMARKS: dict[str, Callable[[Path, int], list[dict[str, Any]]]] = {"score": bench_score}


def _alternate(
    commands: Mapping[str, list[str]], rounds: int, env: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Medians of whole-process seconds, most memory in MB, and what was last printed, of commands run in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    megabytes = dict.fromkeys(commands, 0.0)
    printed: dict[str, str] = {}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    for _ in range(rounds + 1):  # the first round fills the disk's cache
        for name, words in commands.items():
            with tempfile.TemporaryFile("w+") as out:
                start = time.perf_counter()
                process = subprocess.Popen(words, env=clean | dict(env), stdout=out, stderr=subprocess.STDOUT)
                _, status, usage = os.wait4(process.pid, 0)
                seconds[name].append(time.perf_counter() - start)
                process.returncode = os.waitstatus_to_exitcode(status)
                out.seek(0)
                printed[name] = out.read()
            if process.returncode:
                raise StvgError(f"{' '.join(words)} ended with status {process.returncode}: {printed[name][-500:]}")
            megabytes[name] = max(megabytes[name], usage.ru_maxrss / 1024)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}, megabytes, printed


def _make_hcstvg(folder: Path) -> tuple[Path, Path]:
    """Annotations in HC-STVG's format and dense predictions, of the size of v1's test split."""
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
    """A result file of `swift infer`, of the size of VidSTG's test split, with events of 1 to 20 s in clips of 30 s."""
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
            contract = make_contract(sample, VideoInfo.nominal(sample), settings)
            response = contract.format.render(contract.answer)
            line = {"response": response, "videos": [str(sample.video)], "stvg": contract.to_json()}
            file.write(json.dumps(line) + "\n")
    return path


def _cpu() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
