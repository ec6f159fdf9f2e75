"""The hook that lets ms-swift accept the plugin by name, installed by pip in separate environments."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from swift_stvg.recipes.host import HOOK, by_name
from tests.conftest import pip

ROOT = Path(__file__).parent.parent
NAMES, LINE = "_swift_stvg_names.py", "swift_stvg_startup.pth"


class Environment:
    """A Python with this package only; packages of the tests' Python can be added."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=300)
        self.python = folder / "bin/python"
        self.site = folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"

    def pip(self, *words: str) -> None:
        pip("--python", str(self.python), *words)

    def start(self, code: str, folder: Path, *words: str, lent: str | None = None) -> str:
        """The output of a new interpreter, with a path before its own packages."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "STVG_"))}
        env |= {} if lent is None else {"PYTHONPATH": lent}
        done = subprocess.run(
            [self.python, *words, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr


@pytest.fixture(scope="module", params=["wheel", pytest.param("editable", marks=pytest.mark.long)])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp(request.param) / "venv")
    made.pip("install", "--quiet", "--no-deps", *(["--editable"] if request.param == "editable" else []), str(ROOT))
    return made


STATE = "import sys; print([sorted(sys.modules), [getattr(finder, '__name__', '?') for finder in sys.meta_path]])"


@pytest.mark.slow
def test_it_is_all_that_a_start_adds(environment: Environment, tmp_path: Path) -> None:
    """The hook imports no module and writes nothing. Without `site` (-S) there is no hook and no package."""
    before = sorted(environment.site.rglob("*"))
    modules, finders = ast.literal_eval(environment.start(STATE, tmp_path))
    assert sorted(environment.site.rglob("*")) == before
    (environment.site / LINE).rename(environment.site / "off")
    without, others = ast.literal_eval(environment.start(STATE, tmp_path))
    (environment.site / "off").rename(environment.site / LINE)
    assert (modules, finders) == (without, [HOOK, *others])
    for words, there in (("-I", True), ("-E", True), ("-s", True), ("-S", False)):
        assert (HOOK in environment.start(STATE, tmp_path, words)) == there


COUNTED = """
import sys

sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != {hook!r}]  # as at a start
line, steps, modules = open({line!r}).read(), [], set(sys.modules)
sys.settrace(lambda frame, event, _: sys.gettrace() if steps.append(event) is None else None)
exec(line)
sys.settrace(None)
print(len(steps), sys.meta_path[0].__name__, len(set(sys.modules) - modules))
"""


@pytest.mark.slow
def test_it_takes_few_steps(environment: Environment, tmp_path: Path) -> None:
    """Lines, calls and returns of Python: a hundred take far less than a millisecond."""
    code = COUNTED.replace("{line!r}", repr(str(environment.site / LINE))).replace("{hook!r}", repr(HOOK))
    steps, first, imported = environment.start(code, tmp_path).split()
    assert (first, imported) == (HOOK, "0")
    assert 0 < int(steps) < 100


BY_NAME = """
import multiprocessing, sys
from pathlib import Path

if __name__ == "__main__":
    from swift.utils import import_external_file
    from swift.rewards import orms

    Path("mine.py").write_text("VALUE = 3")
    assert import_external_file("mine.py").VALUE == 3
    assert sys.path[0] == str(Path.cwd())
    try:
        import_external_file("swift_stvg_more")
    except ImportError as error:
        print(error)
    else:
        raise SystemExit("swift_stvg_more was imported")
    assert "stvg_think" not in orms
    path = list(sys.path)
    assert import_external_file("swift_stvg").__name__ == "swift_stvg"
    assert import_external_file("swift_stvg") is sys.modules["swift_stvg"]
    assert "stvg_think" in orms
    assert sys.path == path
    print("TAKEN")
"""


@pytest.mark.swift
def test_ms_swift_takes_the_name(environment: Environment, tmp_path: Path) -> None:
    """Also together with files, and in a folder that holds a folder of that name."""
    (tmp_path / "swift_stvg").mkdir()
    assert "TAKEN" in environment.start(BY_NAME, tmp_path, lent=sysconfig.get_path("purelib"))


WORKER = """
from known import Known

if __name__ == "__main__":
    import swift.utils.utils as utils
    from torch.utils.data import DataLoader

    utils.import_external_file("swift_stvg")
    if hasattr(utils, "patch_dataloader_external_plugins"):
        utils.patch_dataloader_external_plugins()
        print("KNOWN", list(DataLoader(Known(), batch_size=None, num_workers=1, multiprocessing_context="spawn")))
    else:
        print("NO REPLAY")
"""
KNOWN = """
class Known:
    def __len__(self):
        return 1

    def __getitem__(self, index):
        from swift.rewards import orms
        return "stvg_think" in orms
"""


@pytest.mark.swift
@pytest.mark.long
def test_workers_that_start_anew_take_it_too(environment: Environment, tmp_path: Path) -> None:
    """From 4.5.3 on, ms-swift's spawned workers import the plugins of `--external_plugins` again."""
    (tmp_path / "known.py").write_text(KNOWN)
    lent = os.pathsep.join([str(tmp_path), sysconfig.get_path("purelib")])
    printed = environment.start(WORKER, tmp_path, lent=lent)
    if "NO REPLAY" in printed:
        pytest.skip("this ms-swift lets no worker import plugins again")
    assert "KNOWN [True]" in printed


@pytest.mark.slow
def test_another_package_called_swift_is_left_alone(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "swift/utils").mkdir(parents=True)
    for name in ("__init__.py", "utils/__init__.py"):
        (tmp_path / "swift" / name).touch()
    (tmp_path / "swift/utils/utils.py").write_text("VALUE = 3")
    code = "import inspect, swift.utils.utils as u; print(inspect.getsource(u).strip(), dir(u)[-1])"
    assert environment.start(code, tmp_path) == "VALUE = 3 __spec__\n"


@pytest.mark.swift
@pytest.mark.long
@pytest.mark.parametrize("gone", [[NAMES], ["swift_stvg", "_editable_impl_swift_stvg.pth"]])
def test_a_start_survives_half_an_uninstallation(environment: Environment, tmp_path: Path, gone: list[str]) -> None:
    moved = [environment.site / name for name in gone if (environment.site / name).exists()]
    assert moved
    for path in moved:
        path.rename(path.with_name(f"{path.name}.gone"))
    try:
        assert environment.start("pass", tmp_path) == ""
        code = "from swift.utils import import_external_file; print(import_external_file('mine.py').VALUE)"
        (tmp_path / "mine.py").write_text("VALUE = 3")
        assert environment.start(code, tmp_path, lent=sysconfig.get_path("purelib")).endswith("3\n")
        if gone[0] == "swift_stvg":
            code = "from swift.utils import import_external_file; import_external_file('swift_stvg')"
            with pytest.raises(AssertionError, match="No module named 'swift_stvg'"):
                environment.start(code, tmp_path, lent=sysconfig.get_path("purelib"))
    finally:
        for path in moved:
            path.with_name(f"{path.name}.gone").rename(path)


@pytest.mark.slow
def test_uninstalling_takes_it_away(environment: Environment, tmp_path: Path) -> None:
    environment.pip("uninstall", "--quiet", "--yes", "swift-stvg")
    assert not list(environment.site.glob("*swift_stvg*"))
    assert environment.start("pass", tmp_path) == ""


@pytest.mark.parametrize(
    ("ms_swift", "hooked", "works", "why"),
    [
        (None, True, False, "not installed"),
        ("4.5.2", False, True, "accepts names"),
        ("4.5.2", True, True, "because of the start-up hook"),
        ("4.5.3", False, False, '--external_plugins "$(swift-stvg plugin)"'),
        ("4.6.0", True, True, "because of the start-up hook"),
        ("4.10.0", False, False, "accepts only files"),
    ],
)
def test_what_check_says_of_it(ms_swift: str | None, hooked: bool, works: bool, why: str) -> None:
    found, reason = by_name(ms_swift, hooked)
    assert found == works
    assert why in reason
