"""`swift eval`: EvalScope asks what `swift infer` asks, and its figures are those of `swift-stvg score`."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from swift_stvg.cli import main
from swift_stvg.errors import DataError, TemplateMismatch
from swift_stvg.start import folder
from tests.running import json_lines, swift

pytestmark = [
    pytest.mark.swift,
    pytest.mark.filterwarnings("default"),  # importing torch warns
    pytest.mark.skipif(find_spec("evalscope") is None, reason="evalscope is not installed: the extra `eval`"),
]
CLIPS = 6
NO_VIDEO = {"STVG_CACHE_DIR": "off"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with clips of the kind that the start knows, and a copy of the start beside them.

    The copy is needed because ms-swift writes results of an evaluation into the folder of the model.
    """
    root = tmp_path_factory.mktemp("evalscope")
    words = ["--split", f"test={CLIPS}", "--difficulty", "easy"]
    assert main(["synth", str(root / "data/stvg_synthetic"), *words]) == 0
    shutil.copytree(folder(), root / "start")
    return root


def scored(path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, float]:
    """Every figure of `swift-stvg score`, by protocol and name."""
    capsys.readouterr()
    assert main(["score", str(path), "--format", "json", *words]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    return {
        f"{table['protocol']} {name}": values[0]
        for table in tables
        for name, values in table["rows"][0]["metrics"].items()
    }


@pytest.mark.timeout(1800)
def test_it_asks_and_scores_as_swift_infer_and_score(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint alone says how rows are made: the environment has the data root, and no other setting."""
    env = NO_VIDEO | {"STVG_DATA_ROOT": str(clips / "data")}
    common = {"model": "start", "torch_dtype": "float32", "max_new_tokens": "160", "temperature": "0"}
    rows = {"val_dataset": "stvg_synthetic:test", "result_path": "infer.jsonl"}
    swift("infer", common | rows, clips, env, anew=True)
    asked = {"eval_dataset": "stvg_synthetic", "eval_num_proc": "3", "host": "127.0.0.1"}
    swift("eval", common | asked, clips, env, anew=True)
    (report,) = clips.glob("eval_output/native/*/reports/start/stvg_synthetic.json")
    (answers,) = clips.glob("eval_output/native/*/answers/stvg_synthetic_test.jsonl")

    infer, found = json_lines(clips / "infer.jsonl"), json_lines(answers)
    assert [line["response"] for line in found] == [line["response"] for line in infer], "the same frames and prompts"
    assert all(line["tokens"] > 0 for line in found)
    for name in ("stvg", "videos", "chat_template_kwargs"):
        assert [line[name] for line in found] == [line[name] for line in infer]

    for name, value in env.items():
        monkeypatch.setenv(name, value)
    expected = scored(clips / "infer.jsonl", capsys, "--dataset", "stvg_synthetic:test")
    assert {name.split()[0] for name in expected} == {"native", "tubedetr", "cg_stvg"}
    assert expected["native m_vIoU"] > 0.2, "figures of an exact 0 would compare nothing"
    given = {metric["name"]: metric["score"] for metric in json.loads(report.read_text())["metrics"]}
    assert given == {name: round(value, 4) for name, value in expected.items()}, "EvalScope keeps four decimals"
    assert scored(answers, capsys, "--dataset", "stvg_synthetic:test") == expected


@pytest.fixture
def benchmark(clips: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the benchmark of a dataset with EvalScope's arguments, as `swift eval` does."""
    for name, value in (NO_VIDEO | {"STVG_DATA_ROOT": str(clips / "data")}).items():
        monkeypatch.setenv(name, value)
    from evalscope.api.registry import get_benchmark
    from evalscope.config import TaskConfig

    from swift_stvg.adapters import benchmarks

    benchmarks.register()
    benchmarks.register()  # ms-swift may import a plugin twice

    def make(name: str, dataset_args: dict[str, Any] | None = None, **more: Any) -> Any:
        args = {name: dataset_args or {}}
        return get_benchmark(name, TaskConfig(datasets=[name], dataset_args=args, work_dir=str(clips / "work"), **more))

    return make


def test_a_limit_takes_the_first_rows_and_scores_them_alone(
    benchmark: Any, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row whose request failed counts 0."""
    from evalscope.api.metric import SampleScore, Score

    made = benchmark("stvg_synthetic", limit=3)
    samples = list(made.load_dataset()["test"])
    assert [sample.metadata["row"] for sample in samples] == [0, 1, 2]
    exact = [
        SampleScore(score=Score(prediction=sample.target), sample_id=sample.id, sample_metadata=sample.metadata)
        for sample in samples
    ]
    figures = {agg.metric_name: agg.score for agg in made.aggregate_scores(exact[:2])}
    assert figures["native m_vIoU"] == pytest.approx(2 / 3)
    assert figures == scored(clips / "work/answers/stvg_synthetic_test.jsonl", capsys)


def test_a_file_of_ones_own(benchmark: Any, clips: Path) -> None:
    file = str(clips / "data/stvg_synthetic/test.jsonl")
    assert len(benchmark("stvg_jsonl", {"local_path": file}).load_dataset()["default"]) == CLIPS


def test_thoughts_are_a_part_of_the_answer(benchmark: Any) -> None:
    """EvalScope takes them out of the text."""
    from evalscope.api.messages import ChatMessageAssistant
    from evalscope.api.model import ChatCompletionChoice, ModelOutput

    from swift_stvg.adapters.benchmarks import said_by

    for text in ("<think>It runs.</think><answer>{}</answer>", "<time> 1 - 2 </time>", ""):
        message = ChatMessageAssistant(content=text)
        assert said_by(ModelOutput(choices=[ChatCompletionChoice(message=message)])) == text


def test_what_it_cannot_do_is_an_error(benchmark: Any) -> None:
    with pytest.raises(DataError, match="needs the path of its file"):
        benchmark("stvg_jsonl").load_dataset()
    with pytest.raises(DataError, match="is read below STVG_DATA_ROOT"):
        benchmark("hcstvg_v1", {"local_path": "/elsewhere"}).load_dataset()
    with pytest.raises(DataError, match="has no subset 'dev'"):
        benchmark("hcstvg_v1", {"subset_list": ["dev"]}).load_dataset()
    with pytest.raises(DataError, match="a row has one answer"):
        benchmark("stvg_synthetic", repeats=2)


def test_another_template_is_refused(benchmark: Any) -> None:
    """It would show other frames than the rows name."""
    from types import SimpleNamespace

    from swift.pipelines.eval.eval import SwiftEval

    run = SwiftEval.__new__(SwiftEval)
    run.args = SimpleNamespace(template="qwen2_5_vl", eval_url=None)
    with pytest.raises(TemplateMismatch, match="--template stvg_qwen2_vl or"):
        run.get_native_task_cfg(["stvg_synthetic"], "http://127.0.0.1:1/v1")
