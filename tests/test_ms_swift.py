"""What this package uses of ms-swift: what happens where it is missing, and whether what is mended still needs it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import swift_stvg
from tests.helpers import answer, boxes, contract
from tests.test_package import fresh

NEEDED = {
    "swift.dataset": "DatasetMeta MessagesPreprocessor SubsetDataset register_dataset",
    "swift.dataset.loader": "DatasetLoader",
    "swift.rewards": "ORM orms",
    "swift.template": "TEMPLATE_MAPPING register_template",
    "swift.utils": "get_logger",
}
"""Names without which there is no training with this package."""
OF_COMMANDS = {"swift": "get_processor get_template"}
"""Names that only a command of this package uses."""
MISSING = [
    ("swift.metrics", "eval_metrics_map", "--eval_metric stvg"),
    ("swift.metrics.base", "EvalMetrics", "--eval_metric stvg"),
    ("swift.metrics.base", None, "--eval_metric stvg"),
    ("swift.utils", "Serializer", "--eval_metric stvg"),
    ("swift.callbacks", "TrainerCallback", "--callbacks stvg_preview"),
    ("swift.callbacks", "callbacks_map", "--callbacks stvg_preview"),
    ("swift.callbacks", None, "--callbacks stvg_preview"),
    ("swift.hub.hub", "HFHub", "pushing"),
    ("swift.hub.hub", "MSHub", "pushing"),
    ("swift.hub.hub", None, "pushing"),
    ("swift.hub.hub.MSHub", "create_model_repo", "pushing"),
    ("swift.hub.hub.HFHub", "create_model_repo", "pushing"),
    ("swift.rl_core.advantage", "compute_advantages", "a look at what rewards of None do"),
    ("swift.rl_core.advantage", None, "a look at what rewards of None do"),
    ("swift.template.vision_utils", "load_file", None),
    ("swift.template.vision_utils", None, None),
    ("swift.template.TEMPLATE_MAPPING", "qwen2_vl", "--template stvg_qwen2_vl"),
    ("swift.template.TEMPLATE_MAPPING", "qwen2_5_vl", "--template stvg_qwen2_5_vl"),
    ("swift.template.TEMPLATE_MAPPING", "qwen3_vl", "--template stvg_qwen3_vl"),
    ("swift.template.TEMPLATE_MAPPING", "qwen3_5", "--template stvg_qwen3_5"),
]
"""Module or class, a name in it or None for the whole module, and what is warned of; nothing where it is used late."""
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
        "rewards": reward([{text!r}], [{contract!r}]),
        "templates": sorted(known for known in TEMPLATE_MAPPING if known.startswith("stvg_")),
    }))
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What happened with each of `MISSING` taken away, each in a process of its own."""
    code = WITHOUT.replace("{missing!r}", repr(MISSING)).replace("{contract!r}", repr(contract().to_json()))
    code = code.replace("{text!r}", repr(answer("2 - 5", boxes(2, 5), boxes(2, 5))))
    printed = fresh(code, tmp_path_factory.mktemp("without"))
    return [json.loads(line.partition(" ")[2]) for line in printed.splitlines() if line.startswith("WITHOUT ")]


@pytest.mark.parametrize(("place", "holder", "name", "what"), [(i, *each) for i, each in enumerate(MISSING)])
def test_training_works_without(
    without: list[dict[str, Any]], place: int, holder: str, name: str | None, what: str | None
) -> None:
    """Datasets, rewards and the other templates are there; what is not is named, once."""
    found = without[place]
    assert found["missing"] == [holder, name]
    assert found["datasets"]
    assert found["rewards"] == [2.0]
    templates = {"stvg_qwen2_vl", "stvg_qwen2_5_vl", "stvg_qwen3_vl", "stvg_qwen3_5"}
    assert set(found["templates"]) == templates - ({f"stvg_{name}"} if holder.endswith("MAPPING") else set())
    if what is None:
        assert found["said"] == []
    else:
        (said,) = found["said"]
        assert said.startswith(f"{what}")
        assert (name or holder) in said


def test_every_name_of_ms_swift_that_is_not_needed_is_taken_away() -> None:
    """Whoever imports one more decides whether training needs it."""
    used = set()
    for path in (Path(swift_stvg.__file__).parent / "adapters").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "swift":
                used |= {(node.module, alias.name) for alias in node.names}
    listed = {(module, name) for names in (NEEDED, OF_COMMANDS) for module in names for name in names[module].split()}
    assert used == listed | {(module, name) for module, name, _ in MISSING if (module, name) in used}
    assert listed <= used
