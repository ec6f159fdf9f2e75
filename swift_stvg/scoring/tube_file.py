"""Predicted tubes of any system, from a file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from swift_stvg.records import Sample, Tube
from swift_stvg.scoring.problems import NO_LINE, Key, Problem, box_warnings
from swift_stvg.scoring.tubes import read_tubes
from swift_stvg.util import validation


@dataclass(slots=True)
class TubeFile:
    """The predictions in a file of tubes.

    Attributes:
        name: its name in tables.
        path: the file's path.
        ids: (B,) all ids of the file.
        tubes: the tubes by id.
        faults: reasons of entries that make no tube, by id.
        set_aside: parts of the file that belong to no sample.

    Raises:
        RecordError: an id has neither a tube nor a fault, or is repeated.
    """

    name: str
    path: str
    ids: list[str]
    tubes: dict[str, Tube]
    faults: dict[str, tuple[str, str]]
    set_aside: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        validation.all_instances("tubes", list(self.tubes.values()), Tube)
        if Counter(self.ids) != Counter([*self.tubes, *self.faults]):
            validation.refuse("ids", "be those of tubes and faults, each once", len(self.ids), f", {self.name}")

    @classmethod
    def read(cls, path: Path) -> TubeFile:
        """Read a file; see `tubes.read_tubes`."""
        tubes, faults, repeated = read_tubes(path)
        again = [
            Problem("repeated", f"the key {name!r} stands there again; the last value counts") for name in repeated
        ]
        return cls(path.name, str(path), [*tubes, *faults], tubes, faults, again)

    @property
    def warnings(self) -> list[str]:
        """Signs that the whole file follows another convention than expected."""
        boxes_xyxy = [tube.boxes_xyxy for tube in self.tubes.values()]
        return box_warnings(boxes_xyxy, "pixels of the annotation", shares=False)

    def keys(self, subset: str) -> list[Key]:
        """(B,) of the predictions, which are for samples of `subset`."""
        return [(subset, name) for name in self.ids]

    def fault(self, i: int, partial: bool) -> tuple[str, str] | None:
        """Why prediction `i` counts 0; None if it is scored."""
        return self.faults.get(self.ids[i])

    def mismatch(self, i: int, sample: Sample) -> tuple[str, str] | None:
        """None: a tube does not record the annotation that it was made from."""
        return None

    def tube(self, i: int, sample: Sample, part: str) -> Tube:
        """The tube of prediction `i`."""
        return self.tubes[sample.id]

    def line(self, i: int) -> int:
        """`NO_LINE`: a prediction has no line of its own."""
        return NO_LINE

    def response(self, i: int) -> str | None:
        """None: there is no text of a model."""
        return None
