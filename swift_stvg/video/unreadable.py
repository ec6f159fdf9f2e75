"""Videos that could not be read while ms-swift trained or answered: each is named once, and all are counted at the end.

ms-swift goes on without their rows where it is told to, and says so in passing at most.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
from tempfile import mkstemp

from swift_stvg.errors import VideoError

logger = logging.getLogger(__name__)


class Unread:
    """What one process and the DataLoader workers that it forks could not read."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        made, name = mkstemp()
        os.close(made)
        self._notes = os.open(name, os.O_RDWR | os.O_APPEND)  # a line is added whole, by whichever process
        os.unlink(name)  # it goes with the last of them
        self._named: set[str] = set()
        atexit.register(self.report)

    def note(self, path: str, error: VideoError) -> None:
        """Count a row whose video cannot be read."""
        if path not in self._named:
            self._named.add(path)
            logger.warning("%s", error)
        os.write(self._notes, json.dumps([path, str(error)]).encode() + b"\n")

    def found(self) -> list[tuple[str, str]]:
        """(path, reason) of every attempt, of all processes."""
        data = os.pread(self._notes, os.fstat(self._notes).st_size, 0)
        return [(path, reason) for path, reason in map(json.loads, data.splitlines())]

    def report(self) -> None:
        """Say how many there were, once all is done."""
        found = self.found() if os.getpid() == self._owner else []
        if found:
            logger.warning(
                "swift_stvg: %d videos could not be read, in %d attempts; no row about them was used. The first: %s",
                len({path for path, _ in found}),
                len(found),
                found[0][1],
            )
