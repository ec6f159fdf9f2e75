"""The errors that this package raises on purpose.

StvgError
├── SettingsError     a STVG_* setting is unknown or impossible
├── RecordError       a record or an argument breaks a rule: shape, order, range, or equal lengths
├── DataError         a dataset as a whole cannot be read, or `--strict true` met a bad row
│   └── RowError      one annotation cannot become a row
├── VideoError        a video is missing, unreadable, or does not fit its annotation
├── TemplateMismatch  a row was made for the template of another backbone
├── VersionError      the installed ms-swift or transformers is too old
└── EndpointError     a server cannot be reached, refuses the request, or gives no answer
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "EndpointError",
    "RecordError",
    "RowError",
    "SettingsError",
    "StvgError",
    "TemplateMismatch",
    "VersionError",
    "VideoError",
]


class StvgError(Exception):
    """Base class of this package's errors."""


class SettingsError(StvgError, ValueError):
    """A setting is unknown or its value is impossible."""


class RecordError(StvgError, ValueError):
    """A record or an argument breaks a rule. The caller's code is wrong, not the data."""


class DataError(StvgError, ValueError):
    """A dataset cannot be read."""


class _Counted(StvgError):
    """An error that drops one row; the load report counts it.

    Args:
        reason: short fixed phrase, under which the row is counted.
        detail: the value and the place.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[_Counted], tuple[str, str]]:
        return type(self), (self.reason, self.detail)  # lets a worker process send it to its parent


class RowError(_Counted, DataError):
    """One annotation cannot become a row."""


class VideoError(_Counted, OSError):
    """A video is missing, cannot be decoded, or does not fit its annotation."""


class EndpointError(StvgError, OSError):
    """A server gives no answer."""


class TemplateMismatch(StvgError, ValueError):
    """A row does not fit the template that encodes it."""


class VersionError(StvgError, ImportError):
    """A package that this one needs is too old."""
