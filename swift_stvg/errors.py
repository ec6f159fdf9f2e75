"""Everything this package raises on purpose.

StvgError
├── SettingsError     a STVG_* setting is unknown or impossible
├── RecordError       a record or an argument breaks a rule of its kind: shape, order, range, agreement of lengths
├── DataError         a dataset as a whole cannot be read, or `--strict true` met a bad row
│   └── RowError      one annotation cannot become a row
├── VideoError        a video is missing, unreadable or unlike its annotation
├── TemplateMismatch  a row was made for another backbone than the template's
├── VersionError      the installed ms-swift or transformers is too old
└── EndpointError     a server that is asked for answers cannot be reached, refuses, or gives none
"""

from __future__ import annotations


class StvgError(Exception):
    """Base of this package's errors."""


class SettingsError(StvgError, ValueError):
    """A setting is unknown or its value is impossible."""


class RecordError(StvgError, ValueError):
    """A record or an argument breaks a rule of its kind: the caller's mistake, which no other data would mend."""


class DataError(StvgError, ValueError):
    """A dataset cannot be read."""


class _Counted(StvgError):
    """An error that drops one row and is counted.

    Args:
        reason: short fixed phrase, the key under which the row is counted.
        detail: what was seen, and where.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[_Counted], tuple[str, str]]:
        return type(self), (self.reason, self.detail)  # so that it travels out of a worker process


class RowError(_Counted, DataError):
    """One annotation cannot become a row."""


class VideoError(_Counted, OSError):
    """A video is missing or cannot be decoded."""


class EndpointError(StvgError, OSError):
    """A server gives no answers."""


class TemplateMismatch(StvgError, ValueError):
    """A row does not fit the template that is asked to encode it."""


class VersionError(StvgError, ImportError):
    """A package that this one builds on is too old."""
