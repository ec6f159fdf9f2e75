"""Folders of pictures in the real `swift` commands: SFT, GRPO and inference get the same inputs as for the film."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import pytest

from tests.running import COMMON, TRAIN, json_lines, logged, run, swift

pytestmark = [pytest.mark.swift, pytest.mark.long]


@pytest.fixture(scope="module")
def folders(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of rows whose videos are folders of pictures: the frames of the first training clips."""
    root = tmp_path_factory.mktemp("folders")
    clips = workspace / "data" / "stvg_synthetic"
    lines = [json.loads(line) for line in (clips / "train.jsonl").read_text().splitlines()[:8]]
    for line in lines:
        folder = root / "frames" / Path(line["video"]).stem
        folder.mkdir(parents=True)
        with av.open(str(clips / line["video"])) as film:
            for number, frame in enumerate(film.decode(video=0)):
                frame.to_image().save(folder / f"{number:06d}.png")
        line["video"] = f"frames/{folder.name}"
    path = root / "folders.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def inputs_of(record: Path) -> dict[str, tuple[str, str]]:
    """The model's tokens and pixels by sentence."""
    return {line["sentence"]: (json.dumps(line["prompt"]), line["pixels"]) for line in json_lines(record)}


def test_trainings_and_answers(
    folders: Path, workspace: Path, env: dict[str, str], cold_start: Path, tmp_path: Path
) -> None:
    env = env | {"STVG_DATA_ROOT": str(folders.parent)}
    train = TRAIN | {"model": str(cold_start), "dataset": f"stvg_jsonl:{folders}", "max_steps": "2"}
    train |= {"save_strategy": "no", "per_device_train_batch_size": "4"}
    swift("sft", train | {"output_dir": str(tmp_path / "sft")}, tmp_path, env, record=tmp_path / "sft.jsonl")
    grpo = {"rlhf_type": "grpo", "reward_funcs": "stvg_format stvg_spatial", "num_generations": "4"}
    grpo |= {"max_completion_length": "60", "output_dir": str(tmp_path / "grpo")}
    swift("rlhf", train | grpo, tmp_path, env, record=tmp_path / "grpo.jsonl")
    for name in ("sft", "grpo"):
        assert len(logged(tmp_path / name)) == 2

    result = tmp_path / "result.jsonl"
    options = COMMON | {"model": str(cold_start), "val_dataset": f"stvg_jsonl:{folders}", "result_path": str(result)}
    options |= {"max_new_tokens": "60", "temperature": "0", "max_batch_size": "8"}
    swift("infer", options, tmp_path, env, record=tmp_path / "infer.jsonl")
    assert len(json_lines(result)) == 8
    page = [sys.executable, "-m", "swift_stvg.cli", "show", str(result), "--out", str(tmp_path / "page")]
    run(page, tmp_path, env)
    assert (tmp_path / "page" / "index.html").exists()

    film = inputs_of(workspace / "sft.jsonl")
    for name in ("sft", "grpo", "infer"):
        seen = inputs_of(tmp_path / f"{name}.jsonl")
        assert seen, name
        assert seen == {sentence: film[sentence] for sentence in seen}, "the film's tokens and pixels"
