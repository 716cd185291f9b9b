"""Attention with Linears of its own, in place of modules that hide their projections from quantizers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class _Attention(nn.Module):
    """Hold what is asked of an nn.MultiheadAttention, so that its callers find it in the one that takes its place.

    Without `in_proj_bias`, torch's TransformerEncoder does not take its fused way past the layers.
    """

    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(self, packed: nn.MultiheadAttention, /) -> None:
        super().__init__()
        self.num_heads, self.batch_first = packed.num_heads, packed.batch_first

    def _projected(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return query, key and value by head, each (n, heads, l, d / heads)."""
        raise NotImplementedError

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend from (n, m, d) over (n, l, e), or with the first two axes swapped without batch_first.

        The second output are the attention's weights if they are needed: (n, m, l), or (n, heads, m, l) not averaged.
        `is_causal` is a hint beside `attn_mask`, as torch has it.
        """
        q, k, v = self._projected(query, key, value)
        mask = _with_padding(_mask(attn_mask, self.num_heads), key_padding_mask)
        weights = None
        if need_weights:
            weights = _weights(q, k, mask)
            out = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = self.proj(out.transpose(1, 2).flatten(2))
        return (out if self.batch_first else out.transpose(0, 1)), weights


class SelfAttention(_Attention):
    """Compute what nn.MultiheadAttention computes for query = key = value, through Linears `qkv` and `proj`.

    It shares the parameters of the module that it replaces, and answers the same call.
    """

    def __init__(self, packed: nn.MultiheadAttention, /) -> None:
        super().__init__(packed)
        self.qkv = _linear(packed.in_proj_weight, packed.in_proj_bias)
        self.proj = _linear(packed.out_proj.weight, packed.out_proj.bias)

    def _projected(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if key is not query or value is not query:
            raise ValueError("this attention was unpacked for query = key = value")
        x = query if self.batch_first else query.transpose(0, 1)
        return self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


class CrossAttention(_Attention):
    """Compute what nn.MultiheadAttention computes for any query, key and value, through `q`, `k`, `v` and `proj`."""

    def __init__(self, packed: nn.MultiheadAttention, /) -> None:
        super().__init__(packed)
        if packed.in_proj_weight is None:
            weights = [packed.q_proj_weight, packed.k_proj_weight, packed.v_proj_weight]
        else:
            weights = packed.in_proj_weight.detach().chunk(3)
        biases = [None] * 3 if packed.in_proj_bias is None else packed.in_proj_bias.detach().chunk(3)
        self.q, self.k, self.v = (_linear(w, b) for w, b in zip(weights, biases, strict=True))
        self.proj = _linear(packed.out_proj.weight, packed.out_proj.bias)

    def _projected(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inputs = (query, key, value) if self.batch_first else (x.transpose(0, 1) for x in (query, key, value))
        projected = (layer(x) for layer, x in zip((self.q, self.k, self.v), inputs, strict=True))
        return tuple(x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in projected)


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


def can_be_unpacked(packed: nn.MultiheadAttention, /) -> bool:
    """Whether an attention is torch's own, and has neither biases for extra keys nor a key of zeros."""
    own = type(packed).forward is nn.MultiheadAttention.forward and "forward" not in vars(packed)
    return own and packed.bias_k is None and packed.bias_v is None and not packed.add_zero_attn


def _weights(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the weights of the values, (n, heads, m, l), as scaled_dot_product_attention has them."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


def _with_padding(mask: torch.Tensor | None, padding: torch.Tensor | None) -> torch.Tensor | None:
    """Add to a mask which keys (n, l) are padding: where true (bool), or by what is added to their scores."""
    if padding is None:
        return mask
    if padding.dtype == torch.bool:
        padding = torch.zeros(padding.shape, device=padding.device).masked_fill(padding, float("-inf"))
    padding = padding[:, None, None, :]
    if mask is None:
        return padding
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, float("-inf"))
    return mask + padding


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
