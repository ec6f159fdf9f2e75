"""Gives vLLM's CPU engine the gated delta rule of Qwen3.5 in plain torch, so that float32 models run too.

A plugin for ms-swift, and for vLLM by its entry point. vLLM's own kernel accepts bfloat16 only. All other code is
vLLM's. This function follows the definition: for each token, with k and q of length 1, decay exp(g), and state S (keys
x values),

    S <- exp(g) S;   S <- S + k (beta (v - S^T k))^T;   out = S^T q / sqrt(size of a key)
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from vllm.forward_context import get_forward_context
from vllm.model_executor.layers.mamba.mamba_utils import is_conv_state_dim_first
from vllm.model_executor.layers.mamba.ops.cpu import gdn_attention
from vllm.utils.torch_utils import LayerNameType, _resolve_layer_name

EPSILON = 1e-6


def unit(x: torch.Tensor) -> torch.Tensor:
    """Vectors of length 1 along the last axis."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPSILON)


def one_sequence(layer, slot, known, mixed_qkv, b, a) -> torch.Tensor:
    """Outputs (L, heads, value size) of the tokens of one sequence; the states of its slot move on."""
    conv_states, states = layer.kv_cache
    conv_state = conv_states[slot] if is_conv_state_dim_first() else conv_states[slot].T  # (channels, width - 1)
    weight = layer.conv1d.weight.view(layer.conv1d.weight.size(0), 1, -1)  # (channels, 1, width)
    before = conv_state if known else torch.zeros_like(conv_state)
    x = torch.cat([before, mixed_qkv.T], 1)
    conv_state.copy_(x[:, -conv_state.size(1) :])
    x = F.silu(F.conv1d(x[None], weight, layer.conv1d.bias, groups=len(weight))[0]).T
    query, key, value = (part[0].float() for part in layer.rearrange_mixed_qkv(x))  # (L, heads, size)
    repeats = value.size(1) // key.size(1)
    query, key = (unit(part).repeat_interleave(repeats, 1) for part in (query, key))
    query = query * key.size(-1) ** -0.5
    decay = torch.exp(-layer.A_log.float().exp() * F.softplus(a.float() + layer.dt_bias))  # (L, heads)
    beta = b.float().sigmoid()
    state = states[slot].float() if known else torch.zeros_like(states[slot], dtype=torch.float32)
    outputs = []
    for i in range(len(value)):
        state = state * decay[i, :, None, None]  # (heads, value size, key size)
        seen = torch.einsum("hvk,hk->hv", state, key[i])
        state = state + torch.einsum("hv,hk->hvk", beta[i, :, None] * (value[i] - seen), key[i])
        outputs.append(torch.einsum("hvk,hk->hv", state, query[i]))
    states[slot].copy_(state)
    return torch.stack(outputs)


def core(
    mixed_qkv: torch.Tensor, b: torch.Tensor, a: torch.Tensor, core_attn_out: torch.Tensor, layer_name: LayerNameType
) -> None:
    context = get_forward_context()
    if context.attn_metadata is None:  # a profiling run
        return
    layer = context.no_compile_layers[_resolve_layer_name(layer_name)]
    metadata = context.attn_metadata[layer.prefix]
    if metadata.num_actual_tokens == 0:
        return
    count = metadata.num_decodes + metadata.num_prefills
    begins = metadata.non_spec_query_start_loc[: count + 1].tolist()
    for n, (begin, end) in enumerate(pairwise(begins)):
        known = n < metadata.num_decodes or bool(metadata.has_initial_state[n])
        slot, part = int(metadata.non_spec_state_indices_tensor[n]), slice(begin, end)
        core_attn_out[part] = one_sequence(layer, slot, known, mixed_qkv[part], b[part], a[part]).to(core_attn_out)


gdn_attention.cpu_gdn_attention_core = core


def register() -> None:
    """The function that vLLM calls. The import has already replaced the kernel."""
