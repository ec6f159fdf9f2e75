"""A plugin that lets FSDP2 shard on CPUs, and prints the share of the weights that a process holds.

accelerate applies --fsdp on accelerators only. On CPUs it trains with all weights in each process, without a warning.
"""

from typing import Any

from accelerate import accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

start, prepare = AcceleratorState.__init__, accelerator.fsdp2_prepare_model


def start_sharded(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
    start(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def prepare_and_tell(*args: Any) -> Any:
    model = prepare(*args)
    weights = list(model.parameters())
    held = sum(weight.to_local().numel() if hasattr(weight, "to_local") else weight.numel() for weight in weights)
    print(f"FSDP2 holds {held} of {sum(weight.numel() for weight in weights)} weights in this process", flush=True)
    return model


AcceleratorState.__init__ = start_sharded
accelerator.fsdp2_prepare_model = prepare_and_tell
