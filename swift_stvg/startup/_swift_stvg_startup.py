"""Makes `--external_plugins swift_stvg` mean the installed package, also for ms-swift 4.5.3 on, which takes only files.

Python runs this at each start, by the line in swift_stvg_startup.pth, which an installation puts beside it. It waits
until ms-swift's import of plugins is imported, and imports nothing itself before that.
"""

import sys

TYPE_CHECKING = False  # typing's own takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

NAME = "swift_stvg"
WRAPPED = "swift.utils.utils"
"""The module of ms-swift whose `import_external_file` imports plugins."""


def take_name(utils: "ModuleType") -> None:
    """Make ms-swift's import of a plugin understand the name of this one; anything else is imported as ever."""
    import functools

    load = getattr(utils, "import_external_file", None)
    if load is None:  # another package of that name, or a version that does it elsewhere
        return

    @functools.wraps(load)
    def import_external_file(file_path: str) -> "Any":
        if file_path != NAME:
            return load(file_path)
        import swift_stvg

        swift_stvg.register()
        again = getattr(utils, "_external_files", None)  # what workers that start anew import, from 4.5.3 on
        if again is not None and NAME not in again:
            again.append(NAME)
        return swift_stvg

    utils.import_external_file = import_external_file  # type: ignore[attr-defined]


class Finder:
    """Goes before Python's finders, and finds only the module of ms-swift that imports plugins."""

    @staticmethod
    def find_spec(
        name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """As for any finder of `sys.meta_path`."""
        if name != WRAPPED:
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: "ModuleType") -> None:
                run(module)
                take_name(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder)
