"""A plugin that lets GRPO with vLLM run without a GPU. It replaces parts of vLLM's CPU engine and of ms-swift 4.6.0:

- vLLM packs the weights of linear layers for the CPU and deletes the loaded weights, so that new weights cannot be
  loaded ("'Parameter' object has no attribute 'weight_loader'"). The plugin keeps them, and torch multiplies with them.
- ms-swift sends weights to `swift rollout` with NCCL, which needs GPUs. The plugin sends them through the store of
  torch.distributed that connects both processes.
- `swift rollout` counts GPUs, and starts its worker anew, where this plugin would come too late.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

import torch
from swift.arguments import deploy_args
from swift.pipelines.infer import rollout
from swift.rlhf_trainers import vllm_client
from vllm.distributed.device_communicators.pynccl import PyNcclCommunicator
from vllm.model_executor.layers import utils


def keep_weights(layer: torch.nn.Module, remove_weight: bool) -> None:
    """Replaces `dispatch_cpu_unquantized_gemm` for linear layers."""
    layer.cpu_linear = torch.nn.functional.linear


def through_the_store(self: Any, tensor: torch.Tensor, src: int, stream: Any = None) -> None:
    """Replaces `PyNcclCommunicator.broadcast`."""
    tensor.copy_(self.group.broadcast_obj(tensor.detach().clone() if self.rank == src else None, src))


class NoDevice:
    """Replaces torch.cuda where weights are sent."""

    @staticmethod
    def device(_: Any) -> Any:
        return torch.device("cpu")  # which is a context, too


def no_waiting(*_: Any) -> None:
    """Do nothing, because there is no device to wait for."""


utils.dispatch_cpu_unquantized_gemm = keep_weights
# ms-swift's trainer makes one before it imports plugins: it stands, without NCCL
PyNcclCommunicator.device = torch.device("cpu")
PyNcclCommunicator.broadcast = through_the_store
for module in (rollout, vllm_client):
    module.synchronize = no_waiting
vllm_client.get_torch_device = lambda: NoDevice
deploy_args.get_device_count = lambda: 1
if multiprocessing.get_start_method(allow_none=True) is None:
    multiprocessing.set_start_method("fork")
