"""Make `--external_plugins swift_stvg` mean the installed package. ms-swift 4.5.3 and later accept only files.

An installation puts swift_stvg_startup.pth beside this file. Python runs its line at each start. The line adds an
import finder before Python's own finders. The finder is added only once, although `site` reads the file twice in a
virtual environment. It handles a single module, ms-swift's module that imports plugins, and then imports this file. The
line holds the code of the finder, because importing another module at each start could take more than a millisecond.
"""

from __future__ import annotations

import functools
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

NAME = "swift_stvg"


def find(name: str, path: Any, target: Any) -> ModuleSpec | None:
    """Find ms-swift's module that holds `import_external_file`. When it is loaded, its function is replaced."""
    spec = PathFinder.find_spec(name, path, target)
    if spec is not None and spec.loader is not None:
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            take_name(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec


def take_name(utils: ModuleType) -> None:
    """Make ms-swift's import of plugins accept the name of this plugin. It imports other plugins as before."""
    load = getattr(utils, "import_external_file", None)
    if load is None:  # another package of that name, or a version whose function is elsewhere
        return

    @functools.wraps(load)
    def import_external_file(file_path: str) -> Any:
        if file_path != NAME:
            return load(file_path)
        import swift_stvg

        swift_stvg.register()
        again = getattr(utils, "_external_files", None)  # from 4.5.3 on: the plugins that spawned workers import
        if again is not None and NAME not in again:
            again.append(NAME)
        return swift_stvg

    utils.import_external_file = import_external_file  # type: ignore[attr-defined]
