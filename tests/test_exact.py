"""Every frame is the one that was asked for: random files against decoding all of them, and what was wrong once."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from swift_stvg.decoding import survey
from swift_stvg.errors import VideoError
from swift_stvg.video import probe, read_frames

FEW, MANY = 30, 400
"""Random files, of some twenty seconds in all, and with `--all`."""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[Path, dict]:
    """Random files, with what they are."""
    folder = tmp_path_factory.mktemp("films")
    count = MANY if request.config.getoption("--all") else FEW
    words = [sys.executable, "-m", "tests.films", str(folder), str(count)]
    subprocess.run(words, check=True, cwd=Path(__file__).parent.parent, capture_output=True)
    notes = sorted(folder.glob("*.json"), key=lambda path: int(path.stem))
    plans = {note: json.loads(note.read_text()) for note in notes}
    return {note.with_name(f"{note.stem}.{plan['suffix']}"): plan for note, plan in plans.items()}


def decoded(path: Path) -> list[tuple[int | None, np.ndarray]]:
    """Time stamp and picture of each frame, by decoding from the first one on, beyond packets that cannot be."""
    found = []
    with suppress(av.error.FFmpegError), av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in [*container.demux(stream), None]:
            if packet is None or packet.size:
                with suppress(av.error.FFmpegError):
                    frames = stream.codec_context.decode(packet)  # libavcodec's VP8 may write into them again
                    found += [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in frames]
    return found


def compare(path: Path, rng: np.random.Generator, decoder: str = "pyav") -> dict[str, int]:
    """How many frames were compared, and how many are other ones than decoding all gives for their times."""
    counts = {"frames": 0, "wrong": 0}
    frames = decoded(path)
    if not frames:
        with pytest.raises(VideoError):
            survey(path)
        return counts
    file, count = survey(path), probe(path).n_frames
    if file.place is None:
        by_number = dict(enumerate(picture for _, picture in frames))
    else:
        ticks = file.packets[file.place, 2].tolist()
        by_tick = dict(frames)
        by_number = {number: by_tick[tick] for number, tick in enumerate(ticks) if tick in by_tick}
    there = np.array(sorted(by_number), dtype=np.int64)
    assert len(there) == count or len(there) < len(file.packets), path
    wanted = [there, there[-1:], there[:: max(1, len(there) // 9)], there[[0, -1]] if len(there) > 1 else there]
    wanted += [np.sort(rng.permutation(there)[: rng.integers(1, 9)]) for _ in range(6)]
    for numbers in wanted:
        pictures = read_frames(path, numbers, decoder)
        counts["frames"] += len(numbers)
        tolerance = 0 if decoder == "pyav" else 6
        for number, picture in zip(numbers.tolist(), pictures, strict=True):
            counts["wrong"] += np.abs(picture.astype(int) - by_number[number]).mean() > tolerance
    return counts


def test_random_files_against_decoding_all(films: dict[Path, dict]) -> None:
    rng = np.random.default_rng(0)
    wrong = {str(films[path]): found for path in films if (found := compare(path, rng))["wrong"]}
    assert not wrong
