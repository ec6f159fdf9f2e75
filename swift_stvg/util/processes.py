"""A process pool whose workers never outlive their parent."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread


def process_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of spawned processes. They end together with this process, even if it is killed."""
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_watch_parent)


def _watch_parent() -> None:
    Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
