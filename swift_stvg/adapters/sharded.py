"""Generation by transformers with weights that FSDP2 shards.

ms-swift generates in torch's inference mode. If FSDP2 gathers weights in this mode, the next training step ends with
"Inplace update to inference tensor outside InferenceMode is not allowed". So such a model generates without gradients,
but outside of this mode.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from swift.infer_engine import TransformersEngine
from torch.distributed.fsdp import FSDPModule

from swift_stvg.adapters.versions import of_ms_swift


def register() -> None:
    """Mend the engine; may be called again.

    Raises:
        VersionError: this ms-swift's engine is made otherwise.
    """
    stock = of_ms_swift(TransformersEngine, "_infer")
    if getattr(stock, "mended", False):
        return
    within_no_mode = of_ms_swift(stock, "__wrapped__")

    @wraps(within_no_mode)
    def infer(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(self.model, FSDPModule):
            return stock(self, *args, **kwargs)
        with torch.no_grad():
            return within_no_mode(self, *args, **kwargs)

    infer.mended = True  # type: ignore[attr-defined]
    TransformersEngine._infer = infer
