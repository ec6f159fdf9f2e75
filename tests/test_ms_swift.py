"""Names of ms-swift that this package uses: behaviour without them, and whether corrections are still needed."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import swift_stvg
from swift_stvg.settings import Settings
from tests.fresh import beside_swift, fresh
from tests.helpers import answer, boxes, row_truth
from tests.hubs import TOKEN, Hub
from tests.templated import encode, row

pytestmark = [pytest.mark.swift, pytest.mark.filterwarnings("default")]  # importing torch and ms-swift warns

NEEDED = {
    "swift.dataset": "DatasetMeta MessagesPreprocessor SubsetDataset register_dataset",
    "swift.dataset.loader": "DatasetLoader",
    "swift.rewards": "ORM orms",
    "swift.template": "TEMPLATE_MAPPING register_template",
    "swift.utils": "get_logger",
}
"""Names that every training with this package needs."""
OF_COMMANDS = {
    "swift": "get_processor get_template",
    "swift.arguments": "EvalArguments InferArguments",
    "swift.model": "MODEL_MAPPING get_model_info_meta",
    "swift.pipelines.eval.eval": "SwiftEval",
    "swift.pipelines.infer.infer": "SwiftInfer",
    "swift.utils": "parse_args",
}
"""Names that only a command of this package, or `swift eval`, uses."""
MISSING = [
    ("swift.metrics", "eval_metrics_map", "--eval_metric stvg"),
    ("swift.metrics.base", "EvalMetrics", "--eval_metric stvg"),
    ("swift.metrics.base", None, "--eval_metric stvg"),
    ("swift.utils", "Serializer", "--eval_metric stvg"),
    ("swift.arguments", "BaseArguments", "settings in checkpoints"),
    ("swift.callbacks", "TrainerCallback", "--callbacks stvg_preview"),
    ("swift.callbacks", "callbacks_map", "--callbacks stvg_preview"),
    ("swift.callbacks", None, "--callbacks stvg_preview"),
    ("swift.hub.hub", "HFHub", "pushing"),
    ("swift.hub.hub", "MSHub", "pushing"),
    ("swift.hub.hub", None, "pushing"),
    ("swift.hub.hub.MSHub", "create_model_repo", "pushing"),
    ("swift.hub.hub.HFHub", "create_model_repo", "pushing"),
    ("swift.rl_core.advantage", "compute_advantages", "the check of advantages with rewards of None"),
    ("swift.rl_core.advantage", None, "the check of advantages with rewards of None"),
    ("swift.infer_engine", "TransformersEngine", "GRPO under FSDP2"),
    ("swift.template.vision_utils", "load_file", None),
    ("swift.template.vision_utils", None, None),
    ("swift.template.TEMPLATE_MAPPING", "qwen2_vl", "--template stvg_qwen2_vl"),
    ("swift.template.TEMPLATE_MAPPING", "qwen2_5_vl", "--template stvg_qwen2_5_vl"),
    ("swift.template.TEMPLATE_MAPPING", "qwen3_vl", "--template stvg_qwen3_vl"),
    ("swift.template.TEMPLATE_MAPPING", "qwen3_5", "--template stvg_qwen3_5"),
]
"""Module or class; a name in it, or None for the whole module; the warning without it, or None if it is used later."""
WITHOUT = """
import importlib, json, logging, os, sys
from types import SimpleNamespace

import swift
from swift.dataset import DATASET_MAPPING
from swift.rewards import orms
from swift.template import TEMPLATE_MAPPING
from swift.utils import get_logger


def hide(holder, name):
    if name is None:
        sys.modules[holder] = None
        return
    path, _, last = holder.rpartition(".")
    found = sys.modules.get(holder) or getattr(importlib.import_module(path), last)
    if isinstance(found, dict):
        del found[name]
        return
    getattr(found, name)  # a lazy module puts it among its attributes only now
    for place in getattr(found, "__mro__", [found]):
        if name in vars(place):
            delattr(place, name)
    for known in (getattr(found, "_class_to_module", {}), getattr(found, "_objects", {})):
        known.pop(name, None)
    assert not hasattr(found, name)


class Warned(logging.Handler):
    def emit(self, record):
        if record.levelno == logging.WARNING:
            said.append(record.getMessage())


for holder, _, _ in {missing!r}:
    path = holder
    while path and path not in sys.modules:
        try:
            importlib.import_module(path)
        except ModuleNotFoundError:
            path = path.rpartition(".")[0]
for holder, name, _ in {missing!r}:
    sys.stdout.flush()
    if os.fork():
        os.wait()
        continue
    said = []
    get_logger().addHandler(Warned())
    hide(holder, name)
    import swift_stvg.adapters
    from swift_stvg.sources import SOURCES

    swift_stvg.adapters.register()
    args = SimpleNamespace(advantage_estimator="grpo", scale_rewards="group")
    reward = orms["stvg_spatial"](args=args)
    print("WITHOUT", json.dumps({
        "missing": [holder, name],
        "said": [text for text in said if "is not available" in text],
        "datasets": all(source in DATASET_MAPPING for source in SOURCES),
        "rewards": reward([{text!r}], [{row_truth!r}]),
        "templates": sorted(known for known in TEMPLATE_MAPPING if known.startswith("stvg_")),
    }))
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The output of a process without each name of `MISSING`."""
    code = WITHOUT.replace("{missing!r}", repr(MISSING)).replace("{row_truth!r}", repr(row_truth().to_json()))
    code = code.replace("{text!r}", repr(answer("2 - 5", boxes(2, 5), boxes(2, 5))))
    printed = beside_swift(code, tmp_path_factory.mktemp("without"))
    return [json.loads(line.partition(" ")[2]) for line in printed.splitlines() if line.startswith("WITHOUT ")]


@pytest.mark.parametrize(("place", "holder", "name", "what"), [(i, *each) for i, each in enumerate(MISSING)])
def test_training_works_without(
    without: list[dict[str, Any]], place: int, holder: str, name: str | None, what: str | None
) -> None:
    """Datasets, rewards and the other templates work; the missing part is named once."""
    found = without[place]
    assert found["missing"] == [holder, name]
    assert found["datasets"]
    assert found["rewards"] == [2.0]
    templates = {"stvg_qwen2_vl", "stvg_qwen2_5_vl", "stvg_qwen3_vl", "stvg_qwen3_5", "stvg_qwen3_8"}
    assert set(found["templates"]) == templates - ({f"stvg_{name}"} if holder.endswith("MAPPING") else set())
    if what is None:
        assert found["said"] == []
    else:
        (said,) = found["said"]
        assert said.startswith(f"{what}")
        assert (name or holder) in said


def test_every_name_of_ms_swift_that_is_not_needed_is_taken_away() -> None:
    """A new import needs an entry: it says whether training needs the name."""
    used = set()
    for path in (Path(swift_stvg.__file__).parent / "adapters").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "swift":
                used |= {(node.module, alias.name) for alias in node.names}
    listed = {(module, name) for names in (NEEDED, OF_COMMANDS) for module in names for name in names[module].split()}
    assert used == listed | {(module, name) for module, name, _ in MISSING if (module, name) in used}
    assert listed <= used


@pytest.fixture(params=["installed", pytest.param("4.5.2", marks=pytest.mark.long)])
def version(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of a process with a version of ms-swift."""
    if request.param == "installed":
        return {}
    package = str(Path(swift_stvg.__file__).parent.parent)
    return {"PYTHONPATH": os.pathsep.join([str(request.getfixturevalue("ms_swift_4_5")), package])}


PUSHED = """
from swift.hub.hub import HFHub, MSHub

for mended in (False, True):
    if mended:
        import swift_stvg.adapters
    for hub in (MSHub, HFHub):
        for _ in range(2):
            try:
                hub.create_model_repo(f"me/{hub.__name__}-{mended}", {token!r})
            except Exception as error:
                print("PUSHED", mended, hub.__name__, type(error).__name__)
            else:
                print("PUSHED", mended, hub.__name__)
"""


@pytest.mark.long
def test_pushing_still_needs_mending(tmp_path: Path, version: dict[str, str]) -> None:
    """If not, `adapters/hub.py` can be deleted."""
    with Hub(tmp_path / "hub") as hub:
        printed = fresh(PUSHED.replace("{token!r}", repr(TOKEN)), tmp_path, **version, **hub.env)
    said = [line.removeprefix("PUSHED ") for line in printed.splitlines() if line.startswith("PUSHED ")]
    assert said == [
        *["False MSHub TypeError"] * 2,
        "False HFHub",
        "False HFHub HfHubHTTPError",
        *["True MSHub"] * 2,
        *["True HFHub"] * 2,
    ]


ENGINE = """
import ast, inspect, json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import swift
from swift.infer_engine import infer_engine
from swift_stvg.adapters.templates import StvgQwen2_5VLTemplate

source = ast.parse(Path(infer_engine.__file__).with_name("vllm_engine.py").read_text())
(method,) = [
    node for node in ast.walk(source) if isinstance(node, ast.FunctionDef) and node.name == "_prepare_engine_kwargs"
]
method.returns, method.decorator_list = None, []


def engine_args(enable_lora=None, limit_mm_per_prompt=None, **options):
    return options


names = {"EngineArgs": engine_args, "inspect": inspect, "logger": SimpleNamespace(warning=lambda text: None)}
names["dtype_mapping"] = defaultdict(str)
exec(compile(ast.Module([method], []), "vllm_engine", "exec"), names)


class Engine:
    _get_hf_config_overrides = staticmethod(dict)
    model_info = model_meta = SimpleNamespace(torch_dtype=None, model_type=None)

    def __getattr__(self, name):
        return None


def asked(template, **given):
    engine = Engine()
    engine.template = template
    names["_prepare_engine_kwargs"](engine, None, given)
    return [engine.engine_args.get(name) for name in ("logits_processors", "additional_config", "max_logprobs")]


ours = StvgQwen2_5VLTemplate.__new__(StvgQwen2_5VLTemplate)
ours.image_token_id, ours.video_token_id = 7, 8
theirs = SimpleNamespace(set_mode=print, prepare_engine_kwargs=lambda: {"additional_config": {"a": 1}})
given = {"logits_processors": ["their:Own"], "additional_config": {"b": 2}, "max_logprobs": 3}
print("ENGINE", json.dumps([asked(theirs, **given), asked(ours), asked(ours, **given), asked(ours, **given)]))
try:
    asked(ours, logits_processors="their:Own")
except ValueError as error:
    print("ENGINE", json.dumps(str(error)))
"""


def test_engine_options_are_added_to_those_of_the_user(tmp_path: Path, version: dict[str, str]) -> None:
    """ms-swift's code replaces the user's options by the template's. If that changes, `user_engine_kwargs` can go."""
    printed = beside_swift(ENGINE, tmp_path, **version)
    said = [json.loads(line.partition(" ")[2]) for line in printed.splitlines() if line.startswith("ENGINE ")]
    (stock, alone, *added), refused = said
    assert stock == [["their:Own"], {"a": 1}, 3], "b is lost"
    no_pixels = "swift_stvg.serving.vllm_no_pixels:NoPixels"
    assert alone == [[no_pixels], {"swift_stvg_unwanted": [7, 8]}, None]
    assert added == [[["their:Own", no_pixels], {"b": 2, "swift_stvg_unwanted": [7, 8]}, 3]] * 2
    assert "logits_processors must be a list" in refused


ADVANTAGES = """
import json
from itertools import product

import torch
from swift.rl_core.advantage import compute_advantages, compute_advantages_dynamic

first, second, none = torch.rand(4), torch.rand(4), torch.full((4,), torch.nan)
cases = {
    "data with rewards of their own": [[first, none], [none, second]],
    "a reward that no row has": [[first, none], [second, none]],
    "a prompt without rewards": [[first, second], [none, none]],
    "no rewards": [[none, none], [none, none]],
}
found = []
for (case, groups), estimator, scale in product(
    cases.items(), ("grpo", "rloo", "reinforce_plus_plus"), ("group", "batch", "none", "gdpo")
):
    rewards = torch.cat([torch.stack(group, dim=1) for group in groups])
    how = (estimator, scale)
    one, summed = compute_advantages(rewards, torch.tensor([1.0, 0.5]), 4, *how)
    more, _ = compute_advantages_dynamic(
        rewards, torch.tensor([1.0, 0.5]), list("aaaabbbb"), list("01234567"), *how
    )
    finite = all(bool(values.isfinite().all()) for values in (one, summed, more))
    silent = [bool((values[4 * k : 4 * k + 4].abs() < 1e-6).all()) for values in (one, more) for k in range(2)]
    found.append([case, estimator, scale, finite, silent, one.tolist()])
print("ADVANTAGES", json.dumps(found))
"""


def test_rewards_of_none_poison_no_advantage(tmp_path: Path, version: dict[str, str]) -> None:
    """For every estimator and scale, a prompt without rewards has no advantage, and other prompts have one."""
    printed = beside_swift(ADVANTAGES, tmp_path, **version)
    (line,) = [line for line in printed.splitlines() if line.startswith("ADVANTAGES ")]
    found = json.loads(line.partition(" ")[2])
    assert len(found) == 4 * 3 * 4
    values = {(case, estimator, scale): advantages for case, estimator, scale, *_, advantages in found}
    for case, estimator, scale, finite, silent, _ in found:
        expected = {"a prompt without rewards": [False, True] * 2, "no rewards": [True] * 4}.get(case, [False] * 4)
        assert (finite, silent) == (True, expected), (case, estimator, scale)
        assert values[case, "reinforce_plus_plus", "gdpo"] == values[case, "reinforce_plus_plus", "none"]
        assert values[case, "rloo", "gdpo"] == values[case, "grpo", "gdpo"]


def test_a_run_in_which_none_would_poison_the_step_is_warned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The test computes advantages as an old gdpo of ms-swift: mean and deviation of a reward with None included."""
    import torch
    from swift.rewards import orms
    from swift.rl_core import advantage

    from swift_stvg.adapters import rewards

    def as_once(rewards_per_func: Any, scale_rewards: str, **_: Any) -> tuple[Any, Any]:
        if scale_rewards != "gdpo":
            return torch.nan_to_num(rewards_per_func).sum(dim=1), None
        groups = rewards_per_func.T.reshape(2, -1, 2)
        normalised = (groups - groups.mean(dim=2, keepdim=True)) / (groups.std(dim=2, keepdim=True) + 1e-8)
        return normalised.sum(dim=0).flatten(), None

    def start(scale: str) -> None:
        for name in ("stvg_format", "stvg_spatial"):
            orms[name](args=SimpleNamespace(advantage_estimator="grpo", scale_rewards=scale))

    monkeypatch.setattr(rewards.logger, "propagate", True)
    for host, scale, warned in ((None, "gdpo", 0), (as_once, "group", 0), (as_once, "gdpo", 1)):
        rewards.check_none.cache_clear()
        caplog.clear()
        if host is not None:
            monkeypatch.setattr(advantage, "compute_advantages", host)
        start(scale)
        warnings = {id(record) for record in caplog.records if "For mixed data, choose" in record.getMessage()}
        assert len(warnings) == warned, scale
    rewards.check_none.cache_clear()


def test_tokens_that_the_model_suppresses_stay_suppressed(template: Any) -> None:
    from transformers import GenerationConfig

    unwanted = template.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
    for given, expected in ((None, unwanted), ([3, unwanted[1], 5], [3, unwanted[1], 5, unwanted[0]])):
        config = GenerationConfig(suppress_tokens=given)
        for _ in range(2):
            template.prepare_generate_kwargs({"generation_config": config})
            assert config.suppress_tokens == expected


def test_registering_again_keeps_one_memory_of_frames(
    template: Any, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processors in use keep their memory, with the new limit."""
    from swift_stvg.adapters import templates as ours

    processor, frames = template.processor.video_processor, ours.FRAMES
    encode(template, row(video, max_side=84))
    kept = frames.memory.bytes
    assert kept > 0
    swift_stvg.register()
    assert ours.FRAMES is frames is processor.loader
    assert frames.memory.bytes == kept
    for megabytes in ("0", str(Settings().frame_memory)):
        monkeypatch.setenv("STVG_FRAME_MEMORY", megabytes)
        swift_stvg.register()
        assert ours.FRAMES is frames is processor.loader
        assert frames.memory.limit == int(megabytes) * 2**20
        assert frames.memory.bytes == 0
