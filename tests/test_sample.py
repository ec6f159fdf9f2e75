"""`swift sample` with this package: the template is used, and the rewards read the truth from the row's own answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.cli import main
from swift_stvg.errors import DataError
from swift_stvg.rows.making import make_prompt
from swift_stvg.start import environment, folder
from tests.helpers import row_truth
from tests.running import json_lines, swift

pytestmark = pytest.mark.filterwarnings("default")  # importing torch warns

TARGETS = [  # format, what differs from the usual row, reason
    (AnswerFormat(), {}, "the paper's"),
    (AnswerFormat(think=False), {}, "one list"),
    (AnswerFormat(boxes=False, think=False), {}, "the time alone"),
    (AnswerFormat(unit="second"), {}, "seconds"),
    (AnswerFormat(coords="norm1000"), {"box": (200, 200, 600, 600)}, "thousandths"),
    (AnswerFormat(), {"frames": "either", "floor": -1.0}, "other rules of the spatial reward"),
]


@pytest.mark.parametrize(("fmt", "more", "reason"), TARGETS)
def test_swift_sample_earns_what_a_training_does(
    monkeypatch: pytest.MonkeyPatch, fmt: AnswerFormat, more: dict[str, Any], reason: str
) -> None:
    """`swift sample` gives requests and exact answers, but not the column `stvg`."""
    from swift.infer_engine import InferRequest

    from swift_stvg.adapters.rewards import CLASSES

    truth = row_truth(fmt=fmt, **({"span": (1, 3)} if fmt.unit == "second" else {}), **more)
    for name, text in truth.settings.to_texts().items():
        monkeypatch.setenv(f"STVG_{name.upper()}", text)
    exact = truth.format.render(truth.answer)
    texts = [exact, exact.replace(" - 3 ", " - 4 ").replace(" - 5 ", " - 4 "), exact.replace("[2", "[3"), "?"]
    row = make_prompt(truth, truth.sentence, Path("v.mp4"))
    requests = [
        InferRequest(
            messages=[*row["messages"], {"role": "assistant", "content": text}],
            videos=row["videos"],
            chat_template_kwargs=row["chat_template_kwargs"],
        )
        for text in texts
    ]
    for name, cls in CLASSES.items():
        sampled = cls()(requests, request_config=None, ground_truths=[exact] * len(texts))
        assert sampled == cls()(texts, stvg=[truth.to_json()] * len(texts)), (name, reason)
    monkeypatch.setenv("STVG_THINK", "false" if fmt.think else "true")
    if fmt.boxes:
        with pytest.raises(DataError, match="does not have the format of these settings"):
            CLASSES["stvg_viou"]()(requests, request_config=None, ground_truths=[exact] * len(texts))
    with pytest.raises(DataError, match="needs a dataset of swift_stvg"):
        CLASSES["stvg_viou"]()([InferRequest(messages=row["messages"])], request_config=None, ground_truths=[exact])


@pytest.mark.swift
@pytest.mark.long
def test_swift_sample_asks_with_our_template_and_our_rewards_choose(tmp_path: Path) -> None:
    """In two steps, as ms-swift's documents advise: answers are written to a file, then rewarded."""
    assert main(["synth", str(tmp_path / "data/stvg_synthetic"), "--split", "test=4", "--difficulty", "easy"]) == 0
    env = environment() | {"STVG_DATA_ROOT": str(tmp_path / "data")}
    options = {
        "model": str(folder()),
        "dataset": "stvg_synthetic:test",
        "dataset_shuffle": "false",
        "torch_dtype": "float32",
        "output_dir": str(tmp_path / "sampled"),
        "num_return_sequences": "2",
        "num_sampling_batch_size": "2",
        "max_new_tokens": "160",
    }
    swift("sample", options | {"output_file": "answers.jsonl"}, tmp_path, env)
    answers = json_lines(tmp_path / "sampled/answers.jsonl")
    assert len(answers) == 8
    assert sum("<time> " in line["messages"][-1]["content"] for line in answers) >= 6, "asked as in its training"
    rewarded = {"sampler_engine": "no", "cache_files": str(tmp_path / "sampled/answers.jsonl")}
    rewarded |= {"orm_model": "stvg_viou", "output_file": "pairs.jsonl", "n_best_to_keep": "1"}
    swift("sample", options | rewarded, tmp_path, env)
    pairs = json_lines(tmp_path / "sampled/pairs.jsonl")
    assert len(pairs) == 4
    for pair in pairs:  # ms-swift counts the exact answer among the candidates
        assert pair["rejected_response"] != pair["messages"][-1]["content"]
    rows = tmp_path / "rows.jsonl"
    assert main(["select", str(tmp_path / "sampled/answers.jsonl"), "--for", "sft", "--out", str(rows)]) == 0
    assert len(json_lines(rows)) >= 3
