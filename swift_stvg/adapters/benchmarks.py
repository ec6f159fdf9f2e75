"""The datasets as benchmarks of EvalScope, which `swift eval` runs: `--eval_dataset hcstvg_v1`, `stvg_synthetic`.

EvalScope asks `swift deploy` with OpenAI's chat completions. Its own messages can hold a video, but no numbers of
frames. So a request has the messages of the row, as `swift infer` has them, and beside them, in EvalScope's
`extra_body`, the video and the row's `chat_template_kwargs`: what `swift-stvg ground --send video` sends too.

The figures are those of `scoring.score`. The answers are written to a file that `swift-stvg score` reads.
"""

from __future__ import annotations

import json
from functools import wraps
from pathlib import Path
from typing import Any

from evalscope.api.benchmark import BenchmarkMeta, DefaultDataAdapter
from evalscope.api.dataset import Dataset, DatasetDict, DictDataLoader, Sample
from evalscope.api.evaluator import TaskState
from evalscope.api.messages import ChatMessage, ChatMessageSystem, ChatMessageUser
from evalscope.api.metric import AggScore, SampleScore, Score
from evalscope.api.model import GenerateConfig, Model, ModelOutput
from evalscope.api.registry import BENCHMARK_REGISTRY, register_benchmark
from evalscope.constants import EvalBackend
from swift.arguments import EvalArguments
from swift.pipelines.eval.eval import SwiftEval
from swift.template import TEMPLATE_MAPPING
from swift.utils import get_logger

from swift_stvg.adapters.checkpoints import take_settings_of
from swift_stvg.adapters.templates import TEMPLATES, StvgTemplate
from swift_stvg.adapters.versions import of_ms_swift
from swift_stvg.errors import DataError, TemplateMismatch
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import tiou, viou
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.ground_truth import GroundTruth, read_dataset
from swift_stvg.scoring.score import score
from swift_stvg.serving.endpoint import with_video
from swift_stvg.settings import Settings
from swift_stvg.sources.loading import load_rows
from swift_stvg.sources.registry import SOURCES
from swift_stvg.util.writing import write_text_atomic

SUBSETS = {"hcstvg_v1": "test", "hcstvg_v2": "val", "vidstg": "test", "stvg_jsonl": "default", "stvg_synthetic": "test"}
"""The subset of each dataset that is evaluated if `subset_list` does not say otherwise."""
MESSAGES: dict[str, type[ChatMessage]] = {"system": ChatMessageSystem, "user": ChatMessageUser}


class StvgBenchmark(DefaultDataAdapter):  # type: ignore[misc]
    """A dataset as a benchmark.

    Raises:
        DataError: EvalScope is asked for several answers to a row, or for a dataset from another place.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._rows: dict[str, list[dict[str, Any]]] = {}
        if self.repeats > 1:
            raise DataError("a row has one answer: leave `repeats` out. `ground --samples` asks for several")

    def load(self) -> tuple[DatasetDict, None]:
        """The rows of each subset, as `swift infer` loads them, up to EvalScope's limit."""
        return DatasetDict({subset: self._load_subset(subset) for subset in self.subset_list}), None

    def _split(self, subset: str) -> str:
        """The split that a subset stands for: of `stvg_jsonl`, the file that `local_path` names."""
        if SOURCES[self.name].splits:
            if self.dataset_id != self.name:
                raise DataError(f"{self.name} is read below STVG_DATA_ROOT: leave `local_path` out")
            return subset
        if self.dataset_id == self.name or self.subset_list != [SUBSETS[self.name]]:
            how = json.dumps({self.name: {"local_path": "FILE.jsonl"}})
            raise DataError(f"{self.name} needs the path of its file: --eval_dataset_args '{how}'")
        return str(self.dataset_id)

    def _load_subset(self, subset: str) -> Dataset:
        rows, report = load_rows(self.name, self._split(subset), Settings.from_env())
        (get_logger().warning if report.dropped else get_logger().info)(report.summary())
        self._rows[subset] = rows
        places = [{"subset": subset, "row": number} for number in range(len(rows))]
        how = {"limit": self.limit, "shuffle": self.shuffle, "seed": self.seed}
        return DictDataLoader(places, sample_fields=self.record_to_sample, **how).load()

    def record_to_sample(self, record: dict[str, Any]) -> Sample:
        """The question and the exact answer of a row; EvalScope writes the metadata, its place, with each answer."""
        *question, answer = self._row(record)["messages"]
        messages = [MESSAGES[message["role"]](content=message["content"]) for message in question]
        return Sample(input=messages, target=answer["content"], metadata=record)

    def _row(self, place: dict[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = self._rows[place["subset"]][place["row"]]
        return row

    def _on_inference(self, model: Model, sample: Sample) -> ModelOutput:
        """The answer of the server to a row; a video that cannot be read ends the run, as in `swift infer`."""
        body = (model.config.extra_body or {}) | with_video(self._row(sample.metadata))
        return model.generate(input=sample.input, config=GenerateConfig(extra_body=body))

    def match_score(
        self, original_prediction: str, filtered_prediction: str, reference: str, task_state: TaskState
    ) -> Score:
        """tIoU and vIoU of one answer on the sampled grid, and its tokens."""
        text = said_by(task_state.output)
        batch = Batch([text], [RowTruth.from_json(self._row(task_state.metadata)["stvg"])])
        value = {"tIoU": float(tiou(batch)[0])}
        if batch.row_truths[0].format.boxes:
            value["vIoU"] = float(viou(batch)[0])
        usage = task_state.output.usage
        tokens = {} if usage is None else {"tokens": usage.output_tokens}
        return Score(value=value, prediction=text, metadata=tokens)

    def aggregate_scores(self, sample_scores: list[SampleScore]) -> list[AggScore]:
        """The figures of `swift-stvg score` on all answers to one subset. A row without an answer counts 0.

        The ground truth is that of `--dataset`; with a limit, it is the rows that were asked about.
        """
        subset = sample_scores[0].sample_metadata["subset"]
        given = {found.sample_metadata["row"]: found.score for found in sample_scores}
        asked = [sample.metadata for sample in self.test_dataset[subset]]
        lines = [_line(self._row(place), given.get(place["row"])) for place in asked]
        path = Path(self._task_config.work_dir, "answers", f"{self.name}_{subset}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        get_logger().info(f"answers for swift-stvg score: {path}")
        answers = AnswerFile.read(path)
        if self.limit is None:
            truth = read_dataset(f"{self.name}:{self._split(subset)}", Settings.from_env())[1]
        else:
            truth = GroundTruth.of_rows([answers])
        report, _ = score([answers], truth)
        for warning in report["systems"][0]["warnings"]:
            get_logger().warning(warning)
        return [
            AggScore(score=figure[0], metric_name=f"{table['protocol']} {name}", num=table["rows"][0]["samples"])
            for table in report["tables"]
            for name, figure in table["rows"][0]["metrics"].items()
            if figure[0] is not None
        ]


def said_by(output: ModelOutput) -> str:
    """The text that the model wrote. EvalScope takes `<think>...</think>` out; here it is the beginning again."""
    content = output.message.content
    if isinstance(content, str):
        return content
    parts = [part.text if part.type == "text" else f"<think>{part.reasoning}</think>" for part in content]
    return "".join(parts)


def _line(row: dict[str, Any], found: Score | None) -> dict[str, Any]:
    """A line of answers as `swift-stvg ground` writes it. The text is empty if there was no answer."""
    question = [message for message in row["messages"] if message["role"] != "assistant"]
    line = {"response": "" if found is None else found.prediction, **row, "messages": question}
    return line | ({} if found is None else found.metadata)


def _check_template(args: Any) -> None:
    """Refuse a template that would not show the frames that the rows name.

    Raises:
        TemplateMismatch: the template is not of swift_stvg.
    """
    meta = TEMPLATE_MAPPING.get(args.template)
    if meta is None or not issubclass(meta.template_cls, StvgTemplate):
        raise TemplateMismatch(
            f"the template {args.template} shows other frames than the rows name. Pass --template "
            f"{' or '.join(TEMPLATES)}"
        )


def register() -> None:
    """Register a benchmark for each dataset, and let rows be made with the model's settings; may be called again.

    Raises:
        VersionError: ms-swift lacks one of the two methods that are extended.
    """
    get_task = of_ms_swift(SwiftEval, "get_native_task_cfg")
    list_names = of_ms_swift(EvalArguments, "list_eval_dataset")
    if hasattr(get_task, "__wrapped__"):
        return

    @wraps(get_task)
    def get_task_with_settings(self: Any, dataset: list[str], url: str) -> Any:
        if set(dataset) & set(SOURCES):
            take_settings_of(self.args)
            if not self.args.eval_url:
                _check_template(self.args)
        return get_task(self, dataset, url)

    @wraps(list_names)
    def list_names_without_others(eval_backend: str | None = None) -> dict[str, list[str]]:
        try:
            return dict(list_names(eval_backend))
        except ModuleNotFoundError as error:  # ms-swift lists OpenCompass's datasets whatever is evaluated
            if eval_backend != EvalBackend.NATIVE or error.name != "opencompass":
                raise
            return {EvalBackend.NATIVE: sorted(BENCHMARK_REGISTRY.keys())}

    SwiftEval.get_native_task_cfg = get_task_with_settings
    EvalArguments.list_eval_dataset = staticmethod(list_names_without_others)
    for name, subset in SUBSETS.items():
        if name not in BENCHMARK_REGISTRY:
            register_benchmark(
                BenchmarkMeta(
                    name=name,
                    dataset_id=name,
                    pretty_name=name,
                    description=f"Spatio-temporal video grounding: {name} of swift_stvg.",
                    tags=["Grounding", "MultiModal"],
                    subset_list=[subset],
                    default_subset=subset,
                    eval_split=subset,
                    metric_list=["IoU"],
                )
            )(StvgBenchmark)
