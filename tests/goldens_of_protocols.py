"""Golden annotations and predictions of the evaluation protocols."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from swift_stvg.records import Sample
from swift_stvg.sources.hcstvg import read_sample

GOLDEN = Path(__file__).parent / "data/golden_hcstvg"


@cache
def golden(name: str) -> Any:
    return json.loads(gzip.decompress((GOLDEN / f"{name}.json.gz").read_bytes()))


@cache
def samples() -> list[Sample]:
    annotations = golden("annotations_hcstvg_v1")
    return [read_sample(name, a, "hcstvg_v1", "test", Path(name)) for name, a in annotations.items()]
