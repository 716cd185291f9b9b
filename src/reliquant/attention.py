"""Attention with explicit Linears, in place of modules that pack their projections where no quantizer finds them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class SelfAttention(nn.Module):
    """Compute what nn.MultiheadAttention computes for query = key = value, through Linears `qkv` and `proj`.

    Shares the parameters of the module it replaces, and answers the same call: (output, None).
    """

    def __init__(self, packed: nn.MultiheadAttention, /) -> None:
        super().__init__()
        self.heads, self.batch_first = packed.num_heads, packed.batch_first
        self.qkv = _linear(packed.in_proj_weight, packed.in_proj_bias)
        self.proj = _linear(packed.out_proj.weight, packed.out_proj.bias)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        need_weights: bool = False,
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Attend over (n, l, d), or (l, n, d) without batch_first; raise if asked for weights or cross attention."""
        if need_weights or key is not query or value is not query:
            raise ValueError("this attention was unpacked for query = key = value, without weights")
        x = query if self.batch_first else query.transpose(0, 1)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (n, heads, l, d / heads)
        out = scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        out = self.proj(out.transpose(1, 2).flatten(2))
        return (out if self.batch_first else out.transpose(0, 1)), None


class CrossAttention(nn.Module):
    """Compute what nn.MultiheadAttention computes for any query, key and value, through `q`, `k`, `v` and `proj`."""

    def __init__(self, packed: nn.MultiheadAttention, /) -> None:
        super().__init__()
        self.heads, self.batch_first = packed.num_heads, packed.batch_first
        if packed.in_proj_weight is None:
            weights = [packed.q_proj_weight, packed.k_proj_weight, packed.v_proj_weight]
        else:
            weights = packed.in_proj_weight.detach().chunk(3)
        biases = [None] * 3 if packed.in_proj_bias is None else packed.in_proj_bias.detach().chunk(3)
        self.q, self.k, self.v = (_linear(w, b) for w, b in zip(weights, biases, strict=True))
        self.proj = _linear(packed.out_proj.weight, packed.out_proj.bias)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        need_weights: bool = False,
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Attend from (n, m, d) over (n, l, e), or with the first two axes swapped without batch_first."""
        if need_weights:
            raise ValueError("this attention was unpacked without weights")
        inputs = (query, key, value) if self.batch_first else (x.transpose(0, 1) for x in (query, key, value))
        layers = (self.q, self.k, self.v)
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f, x in zip(layers, inputs, strict=True))
        out = self.proj(scaled_dot_product_attention(q, k, v, attn_mask=attn_mask).transpose(1, 2).flatten(2))
        return (out if self.batch_first else out.transpose(0, 1)), None


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight)
    if bias is not None:
        layer.bias = bias if isinstance(bias, nn.Parameter) else nn.Parameter(bias)
    return layer
