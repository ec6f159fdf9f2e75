"""A bounded memory of values that are costly to make. Threads may share it.

cachetools.LRUCache also bounds a memory by bytes. But its bound cannot change, and each thread that misses a key makes
the value. It could replace `_trim` alone, so this module does not use it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Memory(Generic[T]):
    """Keeps the last used values, up to a number of bytes. If several threads ask for one key, one makes the value.

    Args:
        limit: upper bound in bytes; 0 keeps nothing.
        size: gives the bytes of a value.
        copy: copies a value for each caller, so that no caller can change a kept value.
    """

    def __init__(self, limit: int, size: Callable[[T], int], copy: Callable[[T], T]) -> None:
        self.limit = limit
        self._size = size
        self._copy = copy
        self._forget()
        _MEMORIES.add(self)

    def clear(self) -> None:
        """Forget all values."""
        with self._lock:
            self._kept.clear()
            self._sizes.clear()
            self.bytes = 0

    def resize(self, limit: int) -> None:
        """Change the upper bound in bytes."""
        with self._lock:
            self.limit = limit
            self._trim()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._pending: dict[Hashable, Future[T]] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """A copy of the value of `key`; `make` is called if the memory does not hold it.

        Raises:
            Exception: an error of `make`, in every thread that waits for it; then nothing is kept.
        """
        mine: Future[T] = Future()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                mine.set_result(self._kept[key])
                waited_for = mine
            else:
                waited_for = self._pending.setdefault(key, mine)
        if waited_for is mine and not mine.done():
            try:
                value = make()
                size = self._size(value)
            except BaseException as error:
                with self._lock:
                    del self._pending[key]
                mine.set_exception(error)
                raise
            mine.set_result(value)
            with self._lock:
                del self._pending[key]
                self._keep(key, value, size)
        return self._copy(waited_for.result())

    def _keep(self, key: Hashable, value: T, size: int) -> None:
        if size > self.limit:
            return
        self._kept[key], self._sizes[key] = value, size
        self.bytes += size
        self._trim()

    def _trim(self) -> None:
        while self.bytes > self.limit:
            oldest, _ = self._kept.popitem(last=False)
            self.bytes -= self._sizes.pop(oldest)


_MEMORIES: weakref.WeakSet[Memory[Any]] = weakref.WeakSet()


def _forget_all() -> None:
    for memory in _MEMORIES:
        memory._forget()


# when a DataLoader worker is forked, other threads of its parent may hold the lock or make a value; the worker does not
# have these threads, so it would wait for ever
os.register_at_fork(after_in_child=_forget_all)
