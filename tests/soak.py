"""Check that memory does not grow: rounds of encoding as in GRPO, over more clips than the frame memory holds.

    python -m tests.soak [--rounds 2000] [--clips 24] [--memory 8]

A round encodes one prompt as ms-swift does for 8 completions: 8 threads for generation, then 8 times for training.
Prints resident memory (MB) at every tenth of the rounds; ends with status 1 if the last quarter's mean exceeds that of
the quarter before by more than 5 percent.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from swift_stvg.settings import Settings
from swift_stvg.video.frame_loader import FrameLoader
from swift_stvg.video.request import VideoRequest
from tests.videos import write_as, write_video

COMPLETIONS = 8


def resident_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def soak(folder: Path, rounds: int, clips: int, memory_mb: int) -> Iterator[float]:
    """Resident memory after each round."""
    from transformers import Qwen2VLVideoProcessor

    from swift_stvg.adapters.patches import remember

    torch.set_num_threads(1)
    loader = FrameLoader(Settings(frame_memory=memory_mb))
    processor = Qwen2VLVideoProcessor()
    remember(processor, loader)
    numbers = tuple(range(0, 40, 5))
    request = VideoRequest(numbers, (168, 112), 2.0, "pixel", tuple(n / 25 for n in numbers))
    options = {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=3:scenecut=0"}  # which PyAV reads
    paths = [
        write_video(folder / f"{i}.mp4", np.arange(40) / 25, (168, 112))
        if i % 2
        else write_as(folder / f"{i}.mp4", 40, (168, 112), options=options)
        for i in range(clips)
    ]

    def encode(path: Path) -> int:
        frames = loader.load(str(path), request)
        made = processor([frames], do_resize=False, do_sample_frames=False, return_tensors="pt")
        return int(made["pixel_values_videos"].shape[0])

    order = np.random.default_rng(0)
    with ThreadPoolExecutor(COMPLETIONS) as pool:
        for _ in range(rounds):
            path = paths[int(order.integers(clips))]
            patches = {*pool.map(encode, [path] * COMPLETIONS), *(encode(path) for _ in range(COMPLETIONS))}
            if patches != {8 // 2 * (168 // 14) * (112 // 14)} or loader.memory.bytes > memory_mb * 2**20:
                raise AssertionError(f"{patches} patches, {loader.memory.bytes} bytes remembered")
            yield resident_mb()


def growth(memory: list[float]) -> float:
    """The growth of the last quarter's mean over the mean of the quarter before, as a share."""
    quarter = len(memory) // 4
    return float(np.mean(memory[-quarter:]) / np.mean(memory[-2 * quarter : -quarter]) - 1)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--memory", type=int, default=8, help="megabytes of STVG_FRAME_MEMORY")
    args = parser.parse_args()
    gc.collect()
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for memory in soak(Path(folder), args.rounds, args.clips, args.memory):
            found.append(memory)
            if len(found) % max(args.rounds // 10, 1) == 0:
                print(f"{len(found)} rounds: {memory:.0f} MB", flush=True)
    grown = growth(found)
    print(f"last quarter over the one before: {100 * grown:+.1f}%, greatest {max(found):.0f} MB")
    return int(grown > 0.05)


if __name__ == "__main__":
    sys.exit(main())
