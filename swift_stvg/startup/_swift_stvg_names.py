"""Makes `--external_plugins swift_stvg` mean the installed package, also for ms-swift 4.5.3 on, which takes files only.

swift_stvg_startup.pth, which an installation puts beside this, is run at each start of Python. Its line puts a finder
before Python's own (once, although site reads it twice in a virtual environment), which answers to one name only:
ms-swift's module that imports plugins. This is imported then. The finder stands in the line itself, since a module of
its own would cost more than a millisecond where it is not compiled.
"""

from __future__ import annotations

import functools
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

NAME = "swift_stvg"


def find(name: str, path: Any, target: Any) -> ModuleSpec | None:
    """Find ms-swift's module that holds `import_external_file`, which changes once it is loaded."""
    spec = PathFinder.find_spec(name, path, target)
    if spec is not None and spec.loader is not None:
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            take_name(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec


def take_name(utils: ModuleType) -> None:
    """Make ms-swift's import of a plugin understand the name of this one; anything else is imported as ever."""
    load = getattr(utils, "import_external_file", None)
    if load is None:  # another package of that name, or a version that does it elsewhere
        return

    @functools.wraps(load)
    def import_external_file(file_path: str) -> Any:
        if file_path != NAME:
            return load(file_path)
        import swift_stvg

        swift_stvg.register()
        again = getattr(utils, "_external_files", None)  # what workers that start anew import, from 4.5.3 on
        if again is not None and NAME not in again:
            again.append(NAME)
        return swift_stvg

    utils.import_external_file = import_external_file  # type: ignore[attr-defined]
