"""The bounded memory: each value is made once, a limit in bytes, copies, forks."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from swift_stvg.video.memory import Memory


def arrays(limit: int) -> Memory[np.ndarray]:
    return Memory(limit, size=lambda a: a.nbytes, copy=lambda a: a.copy())


def test_each_thing_is_made_once_by_many_threads() -> None:
    memory, made = arrays(10_000), []

    def make(key: int) -> np.ndarray:
        made.append(key)
        time.sleep(0.02)
        return np.full(10, key)

    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda i: memory.get(i % 3, lambda: make(i % 3)), range(96)))
    assert sorted(made) == [0, 1, 2]
    assert all((a == i % 3).all() for i, a in enumerate(got))


def test_the_least_recently_used_goes_first_and_the_limit_is_in_bytes() -> None:
    memory = arrays(240)
    for key in "abc":
        memory.get(key, lambda: np.zeros(10))  # 80 bytes each
    memory.get("a", lambda: pytest.fail("it is still there"))
    memory.get("d", lambda: np.zeros(10))
    assert (len(memory), memory.bytes) == (3, 240)
    memory.get("a", lambda: pytest.fail("it was used after b"))
    made = []
    memory.get("b", lambda: made.append(1) or np.zeros(10))
    assert made == [1]


def test_another_limit_is_followed_at_once() -> None:
    memory = arrays(240)
    for key in "abc":
        memory.get(key, lambda: np.zeros(10))  # 80 bytes each
    memory.resize(100)
    assert (len(memory), memory.bytes) == (1, 80)
    memory.get("c", lambda: pytest.fail("it was used last"))
    memory.resize(0)
    assert (len(memory), memory.bytes) == (0, 0)


@pytest.mark.parametrize("limit", [0, 79])
def test_what_is_larger_than_the_limit_is_not_kept(limit: int) -> None:
    memory = arrays(limit)
    assert memory.get("a", lambda: np.ones(10)).sum() == 10
    assert (len(memory), memory.bytes) == (0, 0)


def test_a_caller_cannot_change_what_is_kept() -> None:
    memory = arrays(1000)
    made = np.zeros(3)
    memory.get("a", lambda: made)[:] = 7
    memory.get("a", lambda: made)[:] = 8
    assert (memory.get("a", lambda: made) == 0).all()


def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    memory, started = arrays(1000), threading.Barrier(2)

    def fail() -> np.ndarray:
        started.wait()
        time.sleep(0.05)
        raise OSError("no such video")

    def ask(first: bool) -> np.ndarray:
        if not first:
            started.wait()
        return memory.get("a", fail)

    with ThreadPoolExecutor(2) as pool:
        for waiting in [pool.submit(ask, True), pool.submit(ask, False)]:
            with pytest.raises(OSError, match="no such video"):
                waiting.result()
    assert memory.get("a", lambda: np.ones(2)).sum() == 2


def test_what_cannot_be_measured_is_an_error_for_all_who_wait() -> None:
    memory, started = Memory(1000, size=lambda a: a.nbytes, copy=lambda a: a), threading.Barrier(2)

    def make() -> object:
        started.wait()
        time.sleep(0.05)
        return object()  # it has no size

    def ask(first: bool) -> object:
        if not first:
            started.wait()
        return memory.get("a", make)

    with ThreadPoolExecutor(2) as pool:
        for waiting in [pool.submit(ask, True), pool.submit(ask, False)]:
            with pytest.raises(AttributeError):
                waiting.result(timeout=10)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_makes_something_does_not_wait_for_it() -> None:
    memory, release = arrays(1000), threading.Event()
    other = threading.Thread(target=lambda: memory.get("a", lambda: release.wait(10) and np.zeros(1)))
    other.start()
    while "a" not in memory._pending:
        time.sleep(0.001)
    memory._lock.acquire()
    try:
        context = multiprocessing.get_context("fork")
        child = context.Process(target=lambda: memory.get("a", lambda: np.ones(1)))
        child.start()
        child.join(10)
        assert child.exitcode == 0
    finally:
        memory._lock.release()
        release.set()
        other.join()
