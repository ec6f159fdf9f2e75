"""`swift-stvg cache`: keep the sampled and resized frames of a dataset on disk."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from swift_stvg.commands.clips import Clip, add_workers, check_workers, clip_of, each_clip
from swift_stvg.errors import VideoError
from swift_stvg.settings import Settings
from swift_stvg.sources.loading import load_rows
from swift_stvg.util.output_folder import make_folder
from swift_stvg.util.writing import remove_partial_files
from swift_stvg.video.frame_cache import FrameCache


def add_options(cache: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    cache.add_argument(
        "datasets", nargs="+", metavar="NAME:SUBSET", help="dataset; set the STVG_* settings of the training"
    )
    cache.add_argument("out", type=Path, help="folder of the cache; set STVG_FRAME_CACHE to it for the training")
    add_workers(cache)
    cache.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the frames that the cache lacks. The exit status is 1 if a video could not be read."""
    check_workers(args.workers)
    settings = Settings.from_env()
    make_folder(args.out)
    remove_partial_files(args.out)
    clips: dict[Clip, None] = {}
    for dataset in args.datasets:
        name, _, split = dataset.partition(":")
        rows, report = load_rows(name, split, settings)
        print(report.summary(), file=sys.stderr)
        clips |= dict.fromkeys(map(clip_of, rows))
    results, written = write_all(list(clips), FrameCache(args.out), args.workers, settings.decoder)
    counts = Counter(result.partition(":")[0] for result in results)
    print(
        f"{args.out}: {counts['written']} of {len(clips)} clips written, {written / 2**20:.1f} MB; "
        f"{counts['there']} were cached before"
    )
    failed = [result for result in results if result not in ("written", "there")]
    for reason, count in Counter(result.partition(":")[0] for result in failed).items():
        print(f"  not cached: {count} x {next(r for r in failed if r.startswith(reason))}")
    return 1 if failed else 0


def write_all(clips: list[Clip], cache: FrameCache, workers: int, decoder: str = "pyav") -> tuple[list[str], int]:
    """Write all clips. Returns a result for each ("written", "there" or an error), and the number of bytes written."""
    import torch

    from swift_stvg.video.frame_loader import decode

    torch.set_num_threads(1)  # several clips are decoded in parallel

    def write(clip: Clip) -> tuple[str, int]:
        video, request = clip
        try:
            path = cache.path(Path(video), request.frames, request.size_wh)
            if cache.holds(path, len(request.frames), request.size_wh):
                return "there", 0
            return "written", cache.write(
                path, decode(video, replace(request, marks=()), decoder).permute(0, 2, 3, 1).numpy()
            )
        except VideoError as error:
            return str(error), 0

    found = each_clip(clips, write, workers, f"frames in {cache.folder}")
    return [result for result, _ in found], sum(size for _, size in found)
