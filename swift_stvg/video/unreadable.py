"""Videos that ms-swift could not read in training or inference: each is reported once, with a count at the end.

ms-swift can continue without the rows of such videos, and then reports them little or not at all.
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
    """The unreadable videos of one process and of the DataLoader workers that it forks."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        made, name = mkstemp()
        os.close(made)
        self._notes = os.open(name, os.O_RDWR | os.O_APPEND)  # each process appends whole lines
        os.unlink(name)  # the system deletes it after the last process ends
        self._named: set[str] = set()
        atexit.register(self.report)

    def note(self, path: str, error: VideoError) -> None:
        """Count a failed attempt to read a video; log the first attempt for each video."""
        if path not in self._named:
            self._named.add(path)
            logger.warning("%s", error)
        os.write(self._notes, json.dumps([path, str(error)]).encode() + b"\n")

    def found(self) -> list[tuple[str, str]]:
        """(path, reason) of each attempt of all processes."""
        data = os.pread(self._notes, os.fstat(self._notes).st_size, 0)
        return [(path, reason) for path, reason in map(json.loads, data.splitlines())]

    def report(self) -> None:
        """Log the counts at the end of the process."""
        found = self.found() if os.getpid() == self._owner else []
        if found:
            logger.warning(
                "swift_stvg: %d videos could not be read, in %d attempts; their rows were not used. First error: %s",
                len({path for path, _ in found}),
                len(found),
                found[0][1],
            )
