"""A plugin by which GRPO with vLLM runs without a GPU: what vLLM's CPU engine and ms-swift 4.6.0 lack for it.

- vLLM packs the weights of linear layers for the CPU and throws the loaded ones away, so that no new weights can be
  loaded ("'Parameter' object has no attribute 'weight_loader'"). Here they stay, and torch multiplies with them.
- ms-swift sends weights to `swift rollout` with NCCL, which needs GPUs. Here they go through the store over which the
  two have met.
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
    """In the place of `dispatch_cpu_unquantized_gemm` for linear layers."""
    layer.cpu_linear = torch.nn.functional.linear


def through_the_store(self: Any, tensor: torch.Tensor, src: int, stream: Any = None) -> None:
    """In the place of `PyNcclCommunicator.broadcast`."""
    tensor.copy_(self.group.broadcast_obj(tensor.detach().clone() if self.rank == src else None, src))


class NoDevice:
    """In the place of torch.cuda, where weights are sent."""

    @staticmethod
    def device(_: Any) -> Any:
        return torch.device("cpu")  # which is a context, too


def no_waiting(*_: Any) -> None:
    """There is no device to wait for."""


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
