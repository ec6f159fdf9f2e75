"""Seeds, rows, rewards and scores are the same for any hash seed, worker, start method and number of workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swift_stvg.synthetic.clips import SynthConfig, generate

WORK = """
import hashlib, json, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np


def digest(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def everything(root):
    from swift_stvg.scoring.answer_file import AnswerFile
    from swift_stvg.rewards.batch import Batch
    from swift_stvg.rewards.functions import REWARDS
    from swift_stvg.rows.row_truth import RowTruth
    from swift_stvg.scoring.ground_truth import GroundTruth
    from swift_stvg.scoring.score import score
    from swift_stvg.settings import Settings
    from swift_stvg.sources import load_rows
    from swift_stvg.sources import load_samples
    from swift_stvg.sources import LoadReport

    settings = Settings(data_root=root, cache_dir=None, think_jitter=0.2)
    rows, report = load_rows("stvg_synthetic", "train", settings)
    row_truths = [RowTruth.from_json(row["stvg"]) for row in rows]
    rng = np.random.default_rng(0)
    texts = [row["messages"][-1]["content"].replace("1", str(rng.integers(10))) for row in rows]
    batch = Batch(texts, row_truths)
    path = Path(sys.argv[2])
    if not path.exists():
        path.write_text("".join(json.dumps({"response": t, "stvg": r["stvg"]}) + "\\n" for t, r in zip(texts, rows)))
    samples = load_samples("stvg_synthetic", "train", settings, LoadReport("again"))
    truth = GroundTruth.of_samples("stvg_synthetic:train", samples, LoadReport("again"))
    made, scored = score([AnswerFile.read(path)], truth, by=("query", "area", "length", "category"))
    return {
        "rows": digest(rows),
        "report": digest(report.summary()),
        "rewards": digest({name: compute(batch).tolist() for name, compute in REWARDS.items()}),
        "scores": digest(made),
        "failures": digest(scored[0].failures()),
    }


if __name__ == "__main__":
    root, method = sys.argv[1], sys.argv[3]
    if method == "here":
        print(json.dumps(everything(root)))
    else:
        with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
            print(json.dumps(pool.submit(everything, root).result()))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("determinism")
    generate(folder / "stvg_synthetic", {"train": 8}, SynthConfig(duration_s=4.0), workers=1)
    return folder


@pytest.mark.slow
def test_rows_rewards_and_scores_are_the_same_everywhere(root: Path, tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(WORK)
    found = []
    for hash_seed, method in (("0", "here"), ("1", "here"), ("2", "spawn"), ("random", "fork")):
        words = [sys.executable, str(script), str(root), str(tmp_path / "r.jsonl"), method]
        done = subprocess.run(words, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(json.loads(done.stdout))
    assert set(found[0]) == {"rows", "report", "rewards", "scores", "failures"}
    assert found[1:] == found[:1] * 3
