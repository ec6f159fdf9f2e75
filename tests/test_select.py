"""Rows from sampled answers: the choice and its reasons, the files, wrong use, and trainings on the rows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.cli import main
from swift_stvg.errors import DataError
from swift_stvg.rewards.selection import SELECTED_KEY, Candidates, Rules, Selected, select
from swift_stvg.rows.making import make_prompt
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.headroom import Sampled
from swift_stvg.scoring.selected import describe
from swift_stvg.start import environment, folder
from tests.helpers import answer, boxes, row_truth
from tests.running import TRAIN, json_lines, logged, run, swift

# The truth: frames 2 to 5 of 10, box (.2, .2, .6, .6). Rewards as in test_headroom.py
EXACT = answer("2 - 5", boxes(2, 5), boxes(2, 5))  # earns 5
SHIFTED = answer("2 - 5", boxes(2, 5, "30, 20, 70, 60"), boxes(2, 5, "30, 20, 70, 60"))  # 3.8
LATE = answer("4 - 7", boxes(4, 7), boxes(4, 7))  # 1 + 1 + 1/3 + 2 = 4.33
WHOLE = answer("2 - 5", boxes(2, 5, "0, 0, 100, 100"), boxes(2, 5, "0, 0, 100, 100"))  # .92
LOOSE = f"{EXACT} and more"  # read like the exact one, without the reward for the form: 4, and longer
NOTHING = "?"  # 0


def chosen(texts: list[str], **rules: Any) -> list[tuple[str, str | None]] | str:
    """The pairs (chosen, rejected) from the answers to one row; or the reason why there are none."""
    found = select([Candidates(row_truth(), "v.mp4", texts)], Rules(**({"purpose": "dpo"} | rules)))
    if not found.rows:
        (reason,) = found.skipped
        assert found.skipped[reason] == (1, "row")
        return reason
    return [(row["messages"][-1]["content"], row.get("rejected_response")) for row in found.rows]


CHOICES: list[tuple[list[str], dict[str, Any], Any, str]] = [
    ([SHIFTED, EXACT, WHOLE], {}, [(EXACT, WHOLE)], "the best and the worst"),
    ([NOTHING, SHIFTED], {}, [(SHIFTED, NOTHING)], "what cannot be read may be rejected"),
    ([LOOSE, SHIFTED, WHOLE], {}, [(SHIFTED, WHOLE)], "a chosen answer is well-formed, although another earns more"),
    ([LOOSE, SHIFTED], {}, "difference too small", "no answer is worse than the only well-formed one"),
    ([NOTHING, LOOSE], {}, "none well-formed", "neither has the form"),
    ([SHIFTED, WHOLE], {"min_reward": 4.0}, "below the least reward", "3.8"),
    ([SHIFTED, WHOLE], {"min_reward": 3.8 - 1e-9}, [(SHIFTED, WHOLE)], "3.8 is enough"),
    ([SHIFTED, SHIFTED], {}, "all alike", "one answer twice"),
    ([EXACT], {}, "all alike", "a single answer"),
    ([EXACT, LATE], {"min_difference": 0.7}, "difference too small", "5 and 4.33"),
    ([EXACT, LATE], {"min_difference": 0.6}, [(EXACT, LATE)], "5 and 4.33"),
    ([EXACT, SHIFTED, LATE, WHOLE], {"per_row": 2}, [(EXACT, WHOLE), (LATE, SHIFTED)], "each answer in one pair"),
    ([EXACT, SHIFTED, LATE, WHOLE], {"per_row": 9}, [(EXACT, WHOLE), (LATE, SHIFTED)], "no more than there are"),
    ([EXACT, EXACT, SHIFTED, SHIFTED], {"per_row": 2}, [(EXACT, SHIFTED)], "the same pair is made once"),
    ([EXACT, NOTHING], {"max_length_ratio": 2.0}, "too long", "many times as long as one character"),
    ([EXACT, NOTHING, WHOLE], {"max_length_ratio": 1.5}, [(EXACT, WHOLE)], "the worst that is long enough"),
    ([SHIFTED, WHOLE], {"truth": True}, [(EXACT, WHOLE)], "the exact answer if it is allowed"),
    ([SHIFTED, SHIFTED], {"truth": True}, [(EXACT, SHIFTED)], "beside one answer too"),
    ([SHIFTED, EXACT, WHOLE], {"purpose": "sft"}, [(EXACT, None)], "the best"),
    ([SHIFTED, EXACT, WHOLE], {"purpose": "sft", "per_row": 2}, [(EXACT, None), (SHIFTED, None)], "the two best"),
    ([SHIFTED, SHIFTED], {"purpose": "sft"}, [(SHIFTED, None)], "nothing is compared"),
    ([SHIFTED], {"purpose": "sft", "truth": True}, [(EXACT, None)], "the exact answer if it is allowed"),
    ([LOOSE, NOTHING], {"purpose": "sft"}, "none well-formed", "neither has the form"),
    ([EXACT, NOTHING, "!"], {"purpose": "sft", "max_length_ratio": 3.0}, "too long", "the median has one character"),
    (
        [EXACT, SHIFTED, LATE, WHOLE],
        {"purpose": "kto", "per_row": 2},
        [(EXACT, None), (WHOLE, None), (LATE, None), (SHIFTED, None)],
        "two rows of each pair",
    ),
]


@pytest.mark.parametrize(("texts", "rules", "expected", "reason"), CHOICES)
def test_what_is_chosen(texts: list[str], rules: dict[str, Any], expected: Any, reason: str) -> None:
    assert chosen(texts, **rules) == expected, reason


def test_the_weights_decide() -> None:
    group = Candidates(row_truth(), "v.mp4", [LATE, SHIFTED])
    by_paper = select([group], Rules("dpo")).rows[0]
    by_time = select([group], Rules("dpo"), {"stvg_temporal": 1.0}).rows[0]
    assert (by_paper["messages"][-1]["content"], by_paper["rejected_response"]) == (LATE, SHIFTED)
    assert (by_time["messages"][-1]["content"], by_time["rejected_response"]) == (SHIFTED, LATE)
    with pytest.raises(DataError, match="unknown reward stvg_tine"):
        select([group], Rules("dpo"), {"stvg_tine": 1.0})


def test_a_row_is_that_of_the_dataset_with_another_answer() -> None:
    """Prompt and truth come from the row; only KTO has labels; the rewards show the cause of the difference."""
    group = Candidates(row_truth(), "v.mp4", [EXACT, WHOLE])
    pair, labelled = (select([group], Rules(purpose)) for purpose in ("dpo", "kto"))
    assert [row["label"] for row in labelled.rows] == [True, False]
    for row in (*pair.rows, *labelled.rows):
        assert RowTruth.from_json(row["stvg"]).to_json() == row_truth().to_json()
        assert row["messages"][:-1] == pair.rows[0]["messages"][:-1]
        assert row["videos"] == ["v.mp4"]
    how = Selected.from_json(pair.rows[0][SELECTED_KEY])
    assert how == pair.selected[0]
    assert (how.answers, how.truth, how.reward) == (2, False, 5.0)
    assert how.difference == pytest.approx(4.08)
    assert how.shares == pytest.approx({"form": 0.0, "time": 0.0, "place": 4.08})
    assert how.made_by == "place"
    assert describe(pair.rows, pair.selected)["shares"] == {
        "the exact answer is chosen": 0.0,
        "difference made by form": 0.0,
        "difference made by time": 0.0,
        "difference made by place": 1.0,
    }
    assert describe(labelled.rows, labelled.selected)["shares"]["label true"] == 0.5


MADE_BY = [
    (EXACT, LATE, "time", "boxes of the shared frames are right"),
    (EXACT, SHIFTED, "place", "the spans are right"),
    (EXACT, LOOSE, "form", "only words around it"),
]


@pytest.mark.parametrize(("better", "worse", "aspect", "reason"), MADE_BY)
def test_what_made_the_difference(better: str, worse: str, aspect: str, reason: str) -> None:
    (how,) = select([Candidates(row_truth(), "v.mp4", [better, worse])], Rules("dpo")).selected
    assert how.made_by == aspect, reason
    assert sum(how.shares.values()) == pytest.approx(how.difference)


def test_rows_of_time_alone_are_judged_by_time() -> None:
    fmt = AnswerFormat(boxes=False, think=False)
    group = Candidates(row_truth(fmt=fmt), "v.mp4", ["<time> 2 - 5 </time>", "<time> 2 - 4 </time>"])
    (how,) = select([group], Rules("dpo")).selected
    assert set(how.weights) == {"stvg_format", "stvg_consistency", "stvg_temporal"}
    assert (how.made_by, how.difference) == ("time", pytest.approx(0.25))


PIECES = [EXACT, SHIFTED, LATE, WHOLE, LOOSE, NOTHING, "", "<time> 9 - 1 </time>", "\x00\ud800"]
RULES = st.builds(
    Rules,
    st.sampled_from(["sft", "dpo", "kto"]),
    st.integers(1, 4),
    st.one_of(st.none(), st.floats(-12, 6)),
    st.floats(0, 6),
    st.one_of(st.none(), st.floats(0.1, 4)),
    st.booleans(),
)


@given(st.lists(st.lists(st.one_of(st.sampled_from(PIECES), st.text()), max_size=6), min_size=1, max_size=3), RULES)
def test_whatever_the_answers_rows_keep_the_rules(texts: list[list[str]], rules: Rules) -> None:
    groups = [Candidates(row_truth(row_id=str(i)), "v.mp4", row) for i, row in enumerate(texts)]
    found = select(groups, rules)
    answered = {RowTruth.from_json(row["stvg"]).id for row in found.rows}
    assert len(answered) + sum(count for count, _ in found.skipped.values()) == len(groups), "nothing is lost"
    for row, how in zip(found.rows, found.selected, strict=True):
        own = groups[int(RowTruth.from_json(row["stvg"]).id)].texts
        text = row["messages"][-1]["content"]
        assert (text in own) or (how.truth and rules.truth)
        assert rules.min_reward is None or how.reward >= rules.min_reward
        if how.difference is not None:
            assert how.difference >= rules.min_difference - 1e-9
            assert how.difference > 0
        if "rejected_response" in row:
            assert row["rejected_response"] != text, "ms-swift refuses such a row"
            assert rules.max_length_ratio is None or len(text) <= rules.max_length_ratio * len(row["rejected_response"])
        assert Selected.from_json(json.loads(json.dumps(row))[SELECTED_KEY]) == how
    used = [(row["stvg"], row["messages"][-1]["content"]) for row in found.rows]
    assert len(set(used)) == len(used), "no answer twice"


def sampled(*rows: list[str]) -> str:
    row_truths = [row_truth(row_id=str(i)) for i in range(len(rows))]
    return Sampled(row_truths, [f"{i}.mp4" for i in range(len(rows))], ["greedy"] * len(rows), rows).to_lines()


def result(row_id: str, response: Any, video: str | None = None) -> str:
    """A line of a result file of `swift infer`."""
    videos = [video or f"{row_id}.mp4"]
    return json.dumps({"response": response, "stvg": row_truth(row_id=row_id).to_json(), "videos": videos}) + "\n"


def test_answers_of_swift_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each answer, in the messages."""
    row = make_prompt(row_truth(), "where?", Path("v.mp4")) | {"stvg": row_truth().to_json(), "id": "0af3"}
    texts = [SHIFTED, EXACT]
    lines = [row | {"messages": [*row["messages"], {"role": "assistant", "content": text}]} for text in texts]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["select", str(tmp_path / "a.jsonl"), "--for", "dpo", "--out", str(tmp_path / "rows.jsonl")]) == 0
    (pair,) = json_lines(tmp_path / "rows.jsonl")
    assert (pair["messages"][-1]["content"], pair["rejected_response"]) == (EXACT, SHIFTED)
    assert "1 rows for dpo" in capsys.readouterr().out


def test_files_are_put_together_by_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers of headroom and of two runs of `swift infer`; headroom's greedy answers are not candidates."""
    (tmp_path / "a.jsonl").write_text(sampled([WHOLE, WHOLE], [NOTHING, NOTHING]))
    (tmp_path / "b.jsonl").write_text("\ufeff" + result("0", SHIFTED) + result("1", NOTHING))
    (tmp_path / "c.jsonl").write_text(result("0", EXACT) + "\n" + result("2", EXACT))
    out = tmp_path / "rows.jsonl"
    files = [str(tmp_path / f"{name}.jsonl") for name in "abc"]
    assert main(["select", *files, "--for", "dpo", "--out", str(out), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["answered"], report["answers"], report["rows"]) == (3, 8, 1)
    assert report["skipped"] == {
        "none well-formed": {"count": 1, "example": "1"},
        "all alike": {"count": 1, "example": "2"},
    }
    (row,) = json_lines(out)
    assert (row["messages"][-1]["content"], row["rejected_response"]) == (EXACT, WHOLE)
    assert main(["select", *files, "--for", "dpo", "--out", str(out), "--reward_funcs", "stvg_viou"]) == 0
    said = capsys.readouterr().out
    assert "nothing chosen: 1 x none well-formed, e.g. 1" in said
    assert "difference made by place: 100%" in said
    assert "reward = stvg_viou 1" in said


WRONG = [
    (["{good}", "--for", "sft", "--out", "{out}", "--min_difference", "1"], "--min_difference is about pairs"),
    (["{good}", "--for", "dpo", "--out", "{out}", "--per_row", "0"], "at least 1 choice for each row"),
    (["{good}", "--for", "dpo", "--out", "{out}", "--min_difference", "-1"], "at least 0, got -1.0"),
    (["{good}", "--for", "dpo", "--out", "{out}", "--min_reward", "nan"], "must be a finite number, got nan"),
    (["{good}", "--for", "dpo", "--out", "{out}", "--max_length_ratio", "0"], "a number above 0, got 0.0"),
    (
        ["{good}", "--for", "dpo", "--out", "{out}", "--min_reward", "6"],
        "no answer to 1 rows was chosen for dpo: 1 x below",
    ),
    (["{good}", "--for", "dpo", "--out", "no/such/x.jsonl"], "there is no folder"),
    (["{good}", "--for", "dpo", "--out", "{out}", "--reward_funcs", "stvg_form"], "unknown reward stvg_form"),
    (["missing.jsonl", "--for", "dpo", "--out", "{out}"], "missing.jsonl cannot be read"),
    (["{empty}", "--for", "dpo", "--out", "{out}"], "empty holds no answer"),
    (["{good}", "{empty}", "--for", "dpo", "--out", "{out}"], "empty holds no answer"),
    (["{cut}", "--for", "dpo", "--out", "{out}"], "line 2 of"),
    (["{bytes}", "--for", "dpo", "--out", "{out}"], "cannot be read"),
    (["{foreign}", "--for", "dpo", "--out", "{out}"], "holds no answer of `swift-stvg headroom --answers`"),
    (["{own}", "--for", "dpo", "--out", "{out}"], "a row of a dataset, and not an answer"),
    (["{list}", "--for", "dpo", "--out", "{out}"], "line 1 of"),
    (["{null}", "--for", "dpo", "--out", "{out}"], "expected text, got None"),
    (["{no_video}", "--for", "dpo", "--out", "{out}"], "line 1 of"),
    (["{string}", "--for", "dpo", "--out", "{out}"], "`samples` must be a list"),
    (["{good}", "{settings}", "--for", "dpo", "--out", "{out}"], "was made with STVG_THINK=false"),
    (["{good}", "{truth}", "--for", "dpo", "--out", "{out}"], "row 0 has another truth or video than"),
    (["{good}", "{video}", "--for", "dpo", "--out", "{out}"], "row 0 has another truth or video than"),
]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    good = sampled([SHIFTED, EXACT])
    plain = row_truth(row_id="0", fmt=AnswerFormat(think=False)).to_json()
    moved = row_truth((3, 6), row_id="0").to_json()
    texts: dict[str, str] = {
        "good": good,
        "empty": "\n",
        "cut": good + good[: len(good) // 2],
        "foreign": '{"messages": [], "response": "x"}\n',
        "own": json.dumps(select([Candidates(row_truth(), "v.mp4", [EXACT])], Rules("sft")).rows[0]) + "\n",
        "list": "[]\n",
        "null": result("0", None),
        "no_video": json.dumps(json.loads(result("0", EXACT)) | {"videos": []}),
        "string": json.dumps(json.loads(good) | {"samples": "ab"}) + "\n",
        "settings": json.dumps(json.loads(good) | {"stvg": plain}) + "\n",
        "truth": json.dumps(json.loads(good) | {"stvg": moved}) + "\n",
        "video": result("0", EXACT, "other.mp4"),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    return {name: tmp_path / name for name in (*texts, "bytes", "out")}


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_wrong_use_is_one_clear_error(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["select", *(word.format(**files) for word in words)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not files["out"].exists(), "nothing is written"


@pytest.mark.slow
def test_check_reads_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the settings of the rows, whatever the environment says."""
    monkeypatch.setenv("STVG_FPS", "4")
    (tmp_path / "a.jsonl").write_text(sampled([SHIFTED, EXACT, WHOLE, LATE]))
    out = tmp_path / "rows.jsonl"
    for purpose in ("sft", "dpo", "kto"):
        assert main(["select", str(tmp_path / "a.jsonl"), "--for", purpose, "--per_row", "2", "--out", str(out)]) == 0
        capsys.readouterr()
        assert main(["check", str(out), "--annotations_only", "--template", "stvg_qwen2_5_vl", "--format", "json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["settings"]["fps"] == "2.0"
        found = report["parts"][0]["selected"]
        assert (found["for"], found["rows"], found["prompts"]) == (purpose, {"kto": 4}.get(purpose, 2), 1)
    assert main(["check", str(out), "--annotations_only"]) == 0
    assert "label true: 50%" in capsys.readouterr().out


BAD_ROWS = [
    ({"label": "yes"}, "`label` must be true or false"),
    ({SELECTED_KEY: "{}"}, "was not written by select"),
    ({SELECTED_KEY: json.dumps({"v": 9})}, "has version 9, but this package reads version 1"),
    ({"stvg": "x"}, "does not hold a row truth"),
    ({"messages": []}, "was not written by swift-stvg select"),
    ({"videos": 3}, "line 1 of"),
]


@pytest.mark.parametrize(("change", "message"), BAD_ROWS)
def test_check_refuses_other_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    rows = select([Candidates(row_truth(), "v.mp4", [EXACT, WHOLE])], Rules("kto")).rows
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row | change) + "\n" for row in rows))
    assert main(["check", str(tmp_path / "rows.jsonl"), "--annotations_only"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_check_refuses_files_of_different_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, fmt in (("a", AnswerFormat()), ("b", AnswerFormat(think=False))):
        group = Candidates(row_truth(fmt=fmt), "v.mp4", [row_truth(fmt=fmt).format.render(row_truth(fmt=fmt).answer)])
        rows = select([group], Rules("sft")).rows
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [str(tmp_path / f"{name}.jsonl") for name in "ab"]
    assert main(["check", *words, "--annotations_only"]) == 1
    assert "cannot be trained together: STVG_THINK" in capsys.readouterr().err


@pytest.fixture(scope="session")
def answered(tmp_path_factory: pytest.TempPathFactory, workspace: Path, env: dict[str, str]) -> Path:
    """A file of answers to rows of the synthetic clips: the exact answer, and the same answer with smaller boxes."""
    from swift_stvg.settings import Settings
    from swift_stvg.sources import load_rows

    settings = Settings.from_env(env)
    rows, _ = load_rows("stvg_synthetic", "train", settings)
    truths = [RowTruth.from_json(row["stvg"]) for row in rows]
    exact = [truth.format.render(truth.answer) for truth in truths]
    spoilt = [text.replace("56]", "50]").replace("[0,", "[9,").replace(" - ", " -  ") for text in exact]
    path = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    sampled_rows = [list(pair) for pair in zip(exact, spoilt, strict=True)]
    path.write_text(Sampled(truths, [row["videos"][0] for row in rows], exact, sampled_rows).to_lines())
    return path


FIRST_LOSSES = {"dpo": 0.6931, "kto": 0.5, "orpo": None, "cpo": None, "simpo": None, "rm": None, "sft": None}
"""The loss of a model that is its own reference; None where it depends on the model."""


def train_on_selected(kind: str, answers: Path, tmp_path: Path, workspace: Path, env: dict[str, str]) -> list[float]:
    """The losses of two steps on selected rows."""
    purpose = {"sft": "sft", "kto": "kto"}.get(kind, "dpo")
    rows = tmp_path / "rows.jsonl"
    assert main(["select", str(answers), "--for", purpose, "--out", str(rows)]) == 0
    options = TRAIN | {
        "model": str(workspace / "tiny"),
        "dataset": str(rows),
        "output_dir": str(tmp_path / "out"),
        "max_steps": "2",
        "save_strategy": "no",
        "per_device_train_batch_size": "4",
        "gradient_accumulation_steps": "1",
        "learning_rate": "1e-4",
        "split_dataset_ratio": "0",
    }
    if kind != "sft":
        options["rlhf_type"] = kind
    swift("sft" if kind == "sft" else "rlhf", options, tmp_path, env)
    return [line["loss"] for line in logged(tmp_path / "out")]


@pytest.mark.swift
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "dpo" else pytest.mark.long) for kind in FIRST_LOSSES]
)
def test_swift_trains_on_the_rows(
    kind: str, answered: Path, tmp_path: Path, workspace: Path, env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    losses = train_on_selected(kind, answered, tmp_path, workspace, env)
    capsys.readouterr()
    assert len(losses) == 2
    assert all(loss == loss and abs(loss) < 1e3 for loss in losses), "finite"
    if (first := FIRST_LOSSES[kind]) is not None:
        assert losses[0] == pytest.approx(first, abs=1e-3)


@pytest.mark.swift
@pytest.mark.long
@pytest.mark.parametrize("lmbda", ["0", "1"], ids=["answers of the data", "answers of the student"])
def test_a_teacher_needs_no_rewards(lmbda: str, tmp_path: Path, workspace: Path, env: dict[str, str]) -> None:
    options = TRAIN | {
        "rlhf_type": "gkd",
        "model": str(workspace / "tiny"),
        "teacher_model": str(workspace / "tiny"),
        "dataset": "stvg_synthetic:train",
        "output_dir": str(tmp_path / "out"),
        "max_steps": "2",
        "save_strategy": "no",
        "per_device_train_batch_size": "2",
        "gradient_accumulation_steps": "1",
        "lmbda": lmbda,
        "max_completion_length": "24",
        "split_dataset_ratio": "0",
    }
    swift("rlhf", options, tmp_path, env)
    losses = [line["loss"] for line in logged(tmp_path / "out")]
    assert len(losses) == 2
    assert losses[0] == pytest.approx(0, abs=1e-4), "the teacher is the student"


@pytest.mark.swift
@pytest.mark.long
def test_rounds_go_on_from_the_model_of_the_round_before(tmp_path: Path, workspace: Path, env: dict[str, str]) -> None:
    script = Path(__file__).parent.parent / "examples/selection/rounds.sh"
    words = ["bash", str(script), str(folder()), "stvg_synthetic:train", "2", "--tuner_type", "lora"]
    words += ["--torch_dtype", "float32", "--use_cpu", "true", "--check_model", "false", "--report_to", "none"]
    words += ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "1"]
    counts = {"ROWS": "6", "SAMPLES": "4", "OUTPUT": str(tmp_path / "out"), "SAMPLING": "--torch_dtype float32"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    said = run(words, tmp_path, environment() | env | counts | {"PATH": path})
    last = tmp_path / "out/2/train/checkpoint-3-merged"
    assert said.splitlines()[-1] == str(last)
    assert (last / "config.json").is_file()
    assert f"Headroom of {tmp_path}/out/1/train/" in (tmp_path / "out/2/headroom.txt").read_text()
