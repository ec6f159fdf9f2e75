"""Import, registration, and work in spawned and forked processes, each in a separate process."""

from __future__ import annotations

import ast
import json
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from swift_stvg.cli import main
from swift_stvg.errors import VersionError
from swift_stvg.settings import BACKBONES
from tests.fresh import beside_swift, fresh
from tests.helpers import answer, boxes, row_truth


def test_import_loads_no_package_of_others(tmp_path: Path) -> None:
    """The import must be fast, because ms-swift imports the package in every process."""
    code = "import sys; before = set(sys.modules); import swift_stvg; print(*sorted(set(sys.modules) - before))"
    others = {name.partition(".")[0] for name in fresh(code, tmp_path).split()} - {"swift_stvg"}
    assert others <= sys.stdlib_module_names


@pytest.mark.slow
def test_what_is_imported_is_declared() -> None:
    """pyproject.toml names each imported distribution, even if another distribution requires it too."""
    root = Path(__file__).parent.parent
    project = (root / "pyproject.toml").read_text()
    declared = {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r'"([A-Za-z][\w.-]*)\s*[><=]', project)}
    extra = {"swanlab", "torchcodec"}  # of whoever asks for them
    beside = {path.stem for path in (root / "swift_stvg/sharing/beside_weights").glob("answer*.py")}  # of one another
    used = set()
    for path in (root / "swift_stvg").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                used.add((node.module or "").partition(".")[0])
    used -= {*sys.stdlib_module_names, *extra, *beside, "swift_stvg"}
    packages = packages_distributions()
    names = {module: {name.replace("_", "-").lower() for name in packages.get(module, [module])} for module in used}
    assert {module for module, of in names.items() if not of & declared} == set()


@pytest.mark.slow
def test_the_core_needs_no_torch(tmp_path: Path) -> None:
    modules = "answers records rewards rows scoring.predictions scoring.score settings sources.loading serving.asking"
    code = f"""
import sys
from importlib import import_module
sys.modules["torch"] = sys.modules["swift"] = sys.modules["PIL"] = None
for module in {modules.split()}:
    import_module("swift_stvg." + module)
"""
    fresh(code, tmp_path)


REGISTERED = """
import swift
import swift_stvg
swift_stvg.register()
swift_stvg.register()
from swift.dataset import DATASET_MAPPING
from swift.rewards import orms
from swift.template import TEMPLATE_MAPPING
from swift_stvg.sources import SOURCES
import json
print("REGISTERED", json.dumps({
    "datasets": sorted(name for name in DATASET_MAPPING if name in SOURCES),
    "templates": sorted(name for name in TEMPLATE_MAPPING if "stvg" in name),
    "rewards": sorted(name for name in orms if "stvg" in name),
    "classes": [orms[name].__name__ for name in ("stvg_format", "stvg_spatial_l1", "stvg_viou@0.3")],
}))
"""


@pytest.mark.swift
def test_everything_is_registered_and_twice_does_no_harm(tmp_path: Path) -> None:
    (line,) = [line for line in beside_swift(REGISTERED, tmp_path).splitlines() if line.startswith("REGISTERED")]
    registered = json.loads(line.removeprefix("REGISTERED"))
    assert registered["datasets"] == ["hcstvg_v1", "hcstvg_v2", "stvg_jsonl", "stvg_synthetic", "vidstg"]
    templates = ["stvg_qwen2_5_vl", "stvg_qwen2_vl", "stvg_qwen3_5", "stvg_qwen3_8", "stvg_qwen3_vl"]
    assert sorted(BACKBONES) == templates
    assert registered["templates"] == templates
    names = "consistency format object object_viou spatial spatial_giou spatial_l1 temporal think tiou viou"
    assert registered["rewards"] == [f"stvg_{name}" for name in (*names.split(), "viou@0.3", "viou@0.5")]
    assert registered["classes"] == ["StvgFormat", "StvgSpatialL1", "vIoU@0.3"]


WORKERS = """
import multiprocessing, pickle


def work(payload):
    reward, loader, template = pickle.loads(payload)
    from swift.dataset import DATASET_MAPPING
    from swift.rewards import orms
    from swift.template import TEMPLATE_MAPPING
    known = "vidstg" in DATASET_MAPPING and "stvg_think" in orms and "stvg_qwen2_5_vl" in TEMPLATE_MAPPING
    return known, reward(completions=[TEXT], stvg=[ROW_TRUTH]), loader.__name__, template.__name__


ROW_TRUTH, TEXT = {row_truth!r}, {text!r}

if __name__ == "__main__":
    import swift
    import swift_stvg
    swift_stvg.register()
    from swift.rewards import orms
    from swift_stvg.adapters.datasets import StvgLoader
    from swift_stvg.adapters.templates import StvgQwen2_5VLTemplate
    payload = pickle.dumps((orms["stvg_spatial"](), StvgLoader, StvgQwen2_5VLTemplate))
    with multiprocessing.get_context("{method}").Pool(1) as pool:
        print("RESULT", pool.apply(work, (payload,)))
"""


@pytest.mark.swift
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_workers_know_everything(tmp_path: Path, method: str) -> None:
    row = row_truth()
    code = WORKERS.replace("{row_truth!r}", repr(row.to_json())).replace("{method}", method)
    code = code.replace("{text!r}", repr(answer("2 - 5", boxes(2, 5), boxes(2, 5))))
    printed = beside_swift(code, tmp_path)
    result = next(line for line in printed.splitlines() if line.startswith("RESULT"))
    assert result == "RESULT (True, [2.0], 'StvgLoader', 'StvgQwen2_5VLTemplate')"


MIXED = """
import swift
import swift_stvg
swift_stvg.register()
from swift.rewards import orms
reward = orms["stvg_format"]()
print("MIXED", reward(completions=["x", "y"], stvg=[None, {row_truth!r}]), reward(completions=["x"]))
"""


@pytest.mark.swift
def test_rows_of_other_datasets_are_left_out(tmp_path: Path) -> None:
    printed = beside_swift(MIXED.replace("{row_truth!r}", repr(row_truth().to_json())), tmp_path)
    assert "MIXED [None, 0.0] [None]" in printed


WATCHED = """
import swift
import swift_stvg
swift_stvg.register()
from types import SimpleNamespace
from swift.rewards import orms
from swift_stvg.adapters.observers import add_observer
from swift_stvg.adapters.preview import StvgPreview
told, state = [], SimpleNamespace(is_world_process_zero=True)
preview = StvgPreview(None, SimpleNamespace(model=None))  # asked whether it trains, this model raises
add_observer(state, lambda name, values, batch, rows: told.append((name, values.tolist(), rows)))
add_observer(state, preview._note)
asked = {"completions": ["x"], "stvg": [{row_truth!r}], "videos": [["v"]]}
print("WATCHED", orms["stvg_format"]()(**asked, trainer_state=state), told, preview.failed)
orms["stvg_format"]()(**asked, trainer_state=SimpleNamespace())
orms["stvg_format"]()(**asked)
print("OTHERS", len(told), preview.failed)
"""


@pytest.mark.swift
def test_a_preview_that_raises_takes_nothing_from_the_rewards(tmp_path: Path) -> None:
    printed = beside_swift(WATCHED.replace("{row_truth!r}", repr(row_truth().to_json())), tmp_path)
    assert "WATCHED [0.0] [('StvgFormat', [0.0], [{'completion': 'x', 'videos': ['v']}])] 1" in printed
    assert "OTHERS 1 1" in printed, "what another run's rewards, or nobody's, judge is not told"


FAILED_RUN = """
import swift
import swift_stvg
swift_stvg.register()
from types import SimpleNamespace
from swift.rewards import orms
from swift_stvg.adapters.preview import StvgPreview
trainer = SimpleNamespace(model=SimpleNamespace(training=True))
args = SimpleNamespace(report_to=["tensorboard"], logging_dir="runs")
runs = []
for preview in (StvgPreview(args, trainer), StvgPreview(args, trainer)):
    state = SimpleNamespace(is_world_process_zero=True, global_step=50)
    preview.on_train_begin(args, state, None)
    orms["stvg_format"]()(completions=["x"], stvg=[{row_truth!r}], trainer_state=state)  # and then this run fails
    runs.append((preview, state))
print("WATCHED", [preview._values["stvg_train"]["StvgFormat"] for preview, _ in runs])
orms["stvg_format"]()(completions=["x"], stvg=[{row_truth!r}], trainer_state=SimpleNamespace())  # one without preview
print("WATCHED", [preview._values["stvg_train"]["StvgFormat"] for preview, _ in runs])
"""


@pytest.mark.swift
def test_the_preview_of_a_run_that_failed_does_not_watch_the_next(tmp_path: Path) -> None:
    printed = beside_swift(FAILED_RUN.replace("{row_truth!r}", repr(row_truth().to_json())), tmp_path)
    assert printed.count("WATCHED [[0.0], [0.0]]") == 2


@pytest.mark.swift
def test_a_wrong_setting_stops_the_plugin(tmp_path: Path) -> None:
    code = """
import swift
import swift_stvg
try:
    swift_stvg.register()
except ValueError as error:
    print("STOPPED", error)
"""
    assert "STOPPED unknown setting STVG_FSP. Did you mean STVG_FPS?" in beside_swift(code, tmp_path, STVG_FSP="2")


def test_plugin_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.is_absolute()
    assert "swift_stvg.register()" in path.read_text()
    beside = [other.name for other in path.parent.iterdir() if other.name != "__pycache__"]
    assert beside == ["swift_stvg_plugin.py"], "ms-swift puts its folder on the path, where it hides modules of others"


VERSIONS = """
import swift
import transformers
{module}.__version__ = "{version}"
try:
    import swift_stvg
    swift_stvg.register()
except ImportError as error:
    print("STOPPED", error)
else:
    from swift.rewards import orms
    print("REGISTERED", "stvg_think" in orms)
"""


@pytest.mark.swift
def test_too_old_a_version_stops_the_plugin(tmp_path: Path) -> None:
    printed = beside_swift(VERSIONS.format(module="transformers", version="4.57.6"), tmp_path)
    assert re.search(r"STOPPED transformers 4.57.6 is too old for swift_stvg, which works with 5[\d.]+ to 5", printed)


@pytest.mark.swift
def test_too_new_a_version_is_warned_of_once(tmp_path: Path) -> None:
    printed = beside_swift(VERSIONS.format(module="swift", version="99.0"), tmp_path)
    assert printed.count("ms-swift 99.0 is newer than the versions that swift_stvg was tested with") == 1
    assert "REGISTERED True" in printed


@pytest.mark.swift
@pytest.mark.filterwarnings("default")  # importing ms-swift warns
def test_the_oldest_versions_are_those_of_the_package() -> None:
    from swift_stvg.adapters.versions import TESTED, check

    wanted = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    for package, (oldest, newest) in TESTED.items():
        assert f'"{package}>={oldest},' in wanted
        check({package: oldest})
        check({package: newest})
        with pytest.raises(VersionError, match=f"{package} 0.9 is too old"):
            check({package: "0.9"})
