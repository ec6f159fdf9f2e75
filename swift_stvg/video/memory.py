"""A bounded memory of things that are costly to make, safe to use from several threads."""

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
    """Keeps what was used last, up to a number of bytes; each thing is made once, however many threads ask for it.

    Args:
        limit: bytes to keep at most; 0 keeps nothing, but threads that ask at the same time still share one making.
        size: bytes of a thing.
        copy: makes what is handed out, so that no caller can change what is kept.
    """

    def __init__(self, limit: int, size: Callable[[T], int], copy: Callable[[T], T]) -> None:
        self.limit = limit
        self._size = size
        self._copy = copy
        self._forget()
        _MEMORIES.add(self)

    def clear(self) -> None:
        """Keep nothing of what was made so far."""
        with self._lock:
            self._kept.clear()
            self._sizes.clear()
            self.bytes = 0

    def resize(self, limit: int) -> None:
        """Keep up to another number of bytes."""
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
        """A copy of the thing under `key`, made if it is not there.

        Raises:
            Exception: what `make` raises, in every thread that waits for it; nothing is kept then.
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
                thing = make()
                size = self._size(thing)
            except BaseException as error:
                with self._lock:
                    del self._pending[key]
                mine.set_exception(error)
                raise
            mine.set_result(thing)
            with self._lock:
                del self._pending[key]
                self._keep(key, thing, size)
        return self._copy(waited_for.result())

    def _keep(self, key: Hashable, thing: T, size: int) -> None:
        if size > self.limit:
            return
        self._kept[key], self._sizes[key] = thing, size
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


# a DataLoader worker is forked while other threads may hold the lock or be making what nobody will finish there
os.register_at_fork(after_in_child=_forget_all)
