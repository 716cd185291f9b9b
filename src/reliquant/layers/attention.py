"""Attention with Linears of its own, in place of modules that hide their projections from quantizers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class SelfAttention(nn.Module):
    """Compute what nn.MultiheadAttention computes for query = key = value, through Linears `qkv` and `proj`.

    It shares the parameters of the module that it replaces, and answers the same call by (output, None).
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
        out = scaled_dot_product_attention(q, k, v, attn_mask=_mask(attn_mask, self.heads))
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
        projected = (layer(x) for layer, x in zip((self.q, self.k, self.v), inputs, strict=True))
        # each (n, heads, l, d / heads)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in projected)
        out = scaled_dot_product_attention(q, k, v, attn_mask=_mask(attn_mask, self.heads))
        out = self.proj(out.transpose(1, 2).flatten(2))
        return (out if self.batch_first else out.transpose(0, 1)), None


class NormedAttention(nn.Module):
    """Compute what open_clip's own Attention computes, through Linears `qkv` and `proj`, which share its parameters.

    Beside plain attention that may normalise queries, keys and the context, and scale heads. Raises ValueError for its
    scaled cosine attention, which open_clip 3.3 cannot run either (`bmm` of four axes).
    """

    def __init__(self, packed: nn.Module, /) -> None:
        super().__init__()
        if packed.logit_scale is not None:
            raise ValueError("scaled cosine attention (`scaled_cosine_attn`) is not supported")
        self.heads, self.head_scale = packed.num_heads, packed.head_scale
        self.qkv = _linear(packed.in_proj_weight, packed.in_proj_bias)
        self.ln_q, self.ln_k, self.ln_inner = packed.ln_q, packed.ln_k, packed.ln_inner
        self.proj = packed.out_proj

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Attend over (n, l, d)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (n, heads, l, d / heads)
        mask = _mask(attn_mask, self.heads)
        out = scaled_dot_product_attention(self.ln_q(q), self.ln_k(k), v, attn_mask=mask)
        out = out if self.head_scale is None else out * self.head_scale
        return self.proj(self.ln_inner(out.transpose(1, 2).flatten(2)))


def _mask(mask: torch.Tensor | None, heads: int) -> torch.Tensor | None:
    """Turn a mask of nn.MultiheadAttention, (l, m) or (n * heads, l, m), into one for scaled_dot_product_attention."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = ~mask  # there True is left out, here True takes part
    return mask.unflatten(0, (-1, heads)) if mask.ndim == 3 else mask


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight)
    if bias is not None:
        layer.bias = bias if isinstance(bias, nn.Parameter) else nn.Parameter(bias)
    return layer
