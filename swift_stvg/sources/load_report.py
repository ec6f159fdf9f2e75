"""A report on loading a dataset: the number of kept rows, and dropped rows by reason, each with an example."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from swift_stvg.errors import DataError, RowError, VideoError
from swift_stvg.records import VideoInfo


@dataclass(slots=True)
class LoadReport:
    """Counts of one load.

    Attributes:
        name: name of the dataset and split, for the summary.
        strict: whether the first dropped row is an error.
        kept: number of kept rows.
        dropped: (count, example) of dropped rows by reason.
        notes: (count, example) by reason, of deviations that do not drop a row.
        videos: the videos that were opened, by path.
    """

    name: str
    strict: bool = False
    kept: int = 0
    dropped: dict[str, tuple[int, str]] = field(default_factory=dict)
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)
    videos: dict[Path, VideoInfo] = field(default_factory=dict)

    def drop(self, error: RowError | VideoError) -> None:
        """Count a dropped row.

        Raises:
            DataError: the mode is strict.
        """
        if self.strict:
            raise DataError(f"{self.name}: {error} (strict mode: the first bad row is an error)") from error
        _count(self.dropped, error.reason, error.detail)

    def note(self, reason: str, example: str) -> None:
        """Count a deviation that does not drop the row."""
        _count(self.notes, reason, example)

    @property
    def n_dropped(self) -> int:
        """Number of all dropped rows."""
        return sum(count for count, _ in self.dropped.values())

    def summary(self) -> str:
        """The report as lines of text."""
        lines = [f"{self.name}: {self.kept} rows kept, {self.n_dropped} dropped"]
        for title, counts in (("dropped", self.dropped), ("note", self.notes)):
            for reason, (count, example) in sorted(counts.items(), key=lambda item: -item[1][0]):
                lines.append(f"  {title}: {count} x {reason}, e.g. {example}")
        return "\n".join(lines)


def _count(counts: dict[str, tuple[int, str]], reason: str, example: str) -> None:
    count, first = counts.get(reason, (0, example))
    counts[reason] = (count + 1, first)
