"""Work spread over processes."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Processes that are spawned, and end with this one even where it is killed."""
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_follow)


def _follow() -> None:
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
