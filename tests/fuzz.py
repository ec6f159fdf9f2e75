"""Coverage-guided fuzzing of the functions that `test_fuzz.py` tries at random; needs `pip install atheris`.

    python -m tests.fuzz completions -runs=10000000 [-seed=1] [corpus folder]
    python -m tests.fuzz rows | tubes | hcstvg | jsonl  ...

The other options are libFuzzer's. Without a folder, the corpus begins with `tests/data/fuzz` in a temporary folder. The
fuzzer stops at the first input that breaks a guarantee and writes it to `crash-*`. Every minute it prints the number of
inputs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import atheris

# of completions the reader alone: what it has made arrays of is judged in groups, not input by input
with atheris.instrument_imports(include=["swift_stvg.answers"] if "completions" in sys.argv[:2] else ["swift_stvg"]):
    from tests import fuzzing
    from tests.helpers import row_truth

from tests.annotations import v1, v2

SEEDS = Path(__file__).parent / "data/fuzz/completions.json"
TOGETHER, ONE_IN = 128, 16
"""Number of completions that are rewarded together, each on one of the rows; and the share of completions to reward."""
EVERY_S = 60.0


class Completions:
    """Reads every completion in all formats, and rewards and scores some of them in groups."""

    def __init__(self) -> None:
        self.read = 0
        self.rewarded = 0
        self._waiting: list[str] = []

    def __call__(self, data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for fmt in fuzzing.FORMATS:
            fuzzing.check_read(text, fmt)
        self.read += 1
        if self.read % ONE_IN == 0:
            self._waiting.append(text)
        if len(self._waiting) == TOGETHER:
            fuzzing.check_rewards(self._waiting, [fuzzing.rows()[self.rewarded // TOGETHER % len(fuzzing.rows())]])
            fuzzing.check_scores(self._waiting[:4])
            self.rewarded += TOGETHER
            self._waiting = []

    def __str__(self) -> str:
        return (
            f"{self.read:,} completions read in {len(fuzzing.FORMATS)} formats, {self.rewarded:,} completions rewarded"
        )


class Texts:
    """Checks the other functions that read text."""

    def __init__(self, check: Callable[[str], None]) -> None:
        self._check = check
        self.read = 0

    def __call__(self, data: bytes) -> None:
        self._check(data.decode("utf-8", "surrogateescape"))
        self.read += 1

    def __str__(self) -> str:
        return f"{self.read:,} read"


def _tubes(text: str) -> None:
    fuzzing.check_tubes_file(text.encode("utf-8", "surrogateescape"), Path(tempfile.gettempdir()) / "fuzz_tubes.json")


def _hcstvg(text: str) -> None:
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return
    fuzzing.check_hcstvg(entry)


def _jsonl_line() -> str:
    tube = [[frame, 10, 20, 60, 90] for frame in range(5)]
    line = {"stvg_schema": 1, "id": "a", "video": "a.mp4", "sentence": "it moves", "n_frames": 50, "fps": 25.0}
    return json.dumps(line | {"size_wh": [320, 240], "span_frames": [0, 5], "tube": tube, "query": "declarative"})


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[str]]]] = {
    "completions": (Completions(), lambda: json.loads(SEEDS.read_text())),
    "rows": (Texts(fuzzing.check_row_truth), lambda: [row_truth(gaps=(3,)).to_json(), row_truth().to_json()]),
    "tubes": (Texts(_tubes), lambda: ['{"a": {"span_frames": [5, 30], "boxes": {"5": [0, 0, 50, 50]}}}', "{}"]),
    "hcstvg": (Texts(_hcstvg), lambda: [json.dumps(make(bbox=[[10, 8, 20, 30]] * 3)) for make in (v1, v2)]),
    "jsonl": (Texts(fuzzing.check_jsonl), lambda: [_jsonl_line()]),
}


def main() -> None:
    """Fuzz the target that the first word names."""
    name = sys.argv[1]
    check, seeds = TARGETS[name]
    words = [sys.argv[0], *sys.argv[2:]]
    if all(word.startswith("-") for word in words[1:]):
        folder = Path(tempfile.mkdtemp(prefix=f"fuzz_{name}_"))
        for i, seed in enumerate(seeds()):
            (folder / f"seed_{i:03d}").write_bytes(seed.encode("utf-8", "surrogatepass"))
        words.append(str(folder))
    if name == "completions":
        dictionary = Path(tempfile.mkdtemp(prefix="fuzz_words_")) / "words"
        escaped = ("".join(map("\\x{:02x}".format, word.encode())) for word in fuzzing.WORDS)
        dictionary.write_text("".join(f'"{word}"\n' for word in escaped))
        words.append(f"-dict={dictionary}")
    started = told = time.monotonic()

    def test(data: bytes) -> None:
        nonlocal told
        check(data)
        if time.monotonic() > told + EVERY_S:
            told = time.monotonic()
            print(f"{name}: {check} in {told - started:.0f} s", file=sys.stderr, flush=True)

    atheris.Setup(words, test)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
