"""Attention whose products read rounded factors: queries, keys, values and the probabilities that weigh them.

An attention multiplies queries with keys, makes probabilities of the products by a softmax, and multiplies those with
values. No module holds these factors, so a piece beside the attention stands between its forward and torch: while the
forward runs, calls of `scaled_dot_product_attention`, and of products of two batches of matrices before and after a
softmax, are answered with rounded factors. Whatever class the attention has, its own code says which they are: where it
scales queries before the product, those are rounded as they are then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from reliquant.grid import Grid
from reliquant.layers.exporting import is_exporting
from reliquant.layers.twins import DynamicInput, StaticInput
from reliquant.models.parts import storage_of

ROLES = ("q", "k", "v", "probabilities")
LEAF = "rounded_products"  # the name of the piece in an attention
FIRST, SECOND = "query x key", "probabilities x value"
FACTORS = {FIRST: ("q", "k"), SECOND: ("probabilities", "v")}
SCORES = {True: 2**22, False: 2**27}  # numbers of scores that a CPU, another device, holds at a time
ROOT_TWO = 2**0.5

ATTEND = functional.scaled_dot_product_attention
OPERANDS: dict[Callable[..., Any], tuple[int, int]] = {  # of a product: which arguments are its factors, left and right
    torch.matmul: (0, 1),
    torch.bmm: (0, 1),
    torch.baddbmm: (1, 2),
    torch.Tensor.matmul: (0, 1),
    torch.Tensor.__matmul__: (0, 1),
    torch.Tensor.__rmatmul__: (1, 0),
    torch.Tensor.bmm: (0, 1),
    torch.Tensor.baddbmm: (1, 2),
}
SOFTMAX = (torch.softmax, torch.Tensor.softmax, functional.softmax)


class LogSqrt2(nn.Module):
    """Round probabilities to half octaves below a scale: RepQ-ViT's log-sqrt2 quantizer (Li et al. 2023, Equation 13).

    Levels are scale * 2^(-c / 2), c = 0 ... 2^bits - 1. What would have a larger c is 0, as in the authors' code.
    """

    def __init__(self, bits: int, scale: float, /) -> None:
        super().__init__()
        self.bits, self.scale = bits, float(scale)

    @property
    def grid(self) -> Grid:
        """Return how many bits a code has; its levels are others than those of the grid."""
        return Grid(bits=self.bits, symmetric=False, signed=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, which is not negative, on the levels; the gradient passes as it is."""
        codes = (-2 * (x.detach().float() / self.scale).log2()).round_().clamp_(min=0)
        half, is_odd = (codes / 2).ceil(), codes % 2 == 1  # 2^(-c / 2) = sqrt(2)^(c odd) 2^-ceil(c / 2)
        value = torch.exp2(-half).mul_(torch.where(is_odd, ROOT_TWO, 1.0)).mul_(self.scale)
        value = value.masked_fill_(codes >= 2**self.bits, 0).to(x.dtype)
        return value + (x - x.detach()) if torch.is_grad_enabled() and x.requires_grad else value


@dataclass(frozen=True)
class Multiplied:
    """One product that an attention ran: which, its multiply-accumulates, and over how many numbers it sums."""

    what: str
    macs: int
    summed: int


class AttentionProducts(nn.Module):
    """Hold what rounds each factor of an attention's products: by role, nothing for those that stay as they are.

    It rounds while it is `active`. A `log` is told each product, and then asks of probabilities that they are some.
    """

    def __init__(self, rounding: Mapping[str, nn.Module], /) -> None:
        super().__init__()
        if not rounding or not set(rounding) <= set(ROLES):
            raise ValueError(f"an attention rounds some of {', '.join(ROLES)}, not {', '.join(rounding) or 'nothing'}")
        self.roles = tuple(role for role in ROLES if role in rounding)
        for role in self.roles:
            self.add_module(role, rounding[role])
        self.active = False
        self.of = ""  # the name of the attention, for messages
        self.log: list[Multiplied] | None = None
        self.running: list[TorchFunctionMode] = []

    def rounding(self, role: str, /) -> nn.Module | None:
        """Return what rounds a factor; None if it stays as it is."""
        return self._modules.get(role)

    def rounded(self, x: torch.Tensor, role: str, /) -> torch.Tensor:
        """Return a factor on its grid: q, k, v as (..., rows, width), probabilities as (..., queries, keys)."""
        rounding = self.rounding(role)
        return x if rounding is None else rounding(x)

    def bits(self, role: str, /) -> int:
        """Return the bits of a factor, 32 where it stays in floating point."""
        rounding = self.rounding(role)
        return 32 if rounding is None else rounding.grid.bits

    def note(self, what: str, out: tuple[int, ...], summed: int, /) -> None:
        """Tell the log of a product whose result has the given shape, each number a sum of so many."""
        if self.log is not None:
            self.log.append(Multiplied(what, torch.Size(out).numel() * summed, summed))

    def require_probabilities(self, x: torch.Tensor, /) -> None:
        """Raise ValueError, while there is a log, if numbers that shall be probabilities are none."""
        if self.log is not None and not x.is_meta and not 0 <= x.amin() <= x.amax() <= 1:
            told = "what multiplies the values are no probabilities: not all lie from 0 to 1"
            raise ValueError(f"{self.of}: {told}; name it in layers: keep, or leave its tower out of attention")


def attach(model: nn.Module, name: str, piece: AttentionProducts, /) -> None:
    """Put a piece beside an attention, by its name, whose products it then rounds while it is active."""
    attention = model.get_submodule(name)
    piece.of = name
    attention.add_module(LEAF, piece)
    attention.register_forward_pre_hook(_enter)
    attention.register_forward_hook(_leave, always_call=True)


def pieces(model: nn.Module, /) -> dict[str, AttentionProducts]:
    """Return the pieces of a model by the name of their attention."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, AttentionProducts):
            found[name.rpartition(".")[0]] = module
    return found


@contextmanager
def watched_products(model: nn.Module, /) -> Iterator[dict[str, list[Multiplied]]]:
    """Give the products that each attention with an active piece runs while the block does, by its name."""
    there = {name: piece for name, piece in pieces(model).items() if piece.active}
    for piece in there.values():
        piece.log = []
    try:
        yield {name: piece.log for name, piece in there.items()}
    finally:
        for piece in there.values():
            piece.log = None


def _enter(attention: nn.Module, inputs: Any) -> None:
    piece = getattr(attention, LEAF)
    if piece.active:
        mode = _Rounding(piece)
        mode.__enter__()
        piece.running.append(mode)


def _leave(attention: nn.Module, inputs: Any, output: Any) -> None:
    piece = getattr(attention, LEAF)
    if piece.running:
        piece.running.pop().__exit__(None, None, None)


class _Rounding(TorchFunctionMode):
    """Answer the calls of one forward of an attention."""

    def __init__(self, piece: AttentionProducts, /) -> None:
        super().__init__()
        self.piece = piece
        self.probabilities: torch.Tensor | None = None  # of the last softmax, until a product has read them

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is ATTEND:
            return _attended(self.piece, *args, **kwargs)
        if func in OPERANDS:
            places = OPERANDS[func]
            factors = [args[place] for place in places if place < len(args)]
            if len(factors) == 2 and all(isinstance(x, torch.Tensor) and x.ndim >= 3 for x in factors):
                args = list(args)
                args[places[0]], args[places[1]] = self._rounded(*factors)
        out = func(*args, **kwargs)
        if func in SOFTMAX and out.ndim >= 3 and _axis(args, kwargs) in (-1, out.ndim - 1):
            self.probabilities = out
        return out

    def _rounded(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Round the factors (..., l, d) and (..., d, m) of a product, whose place before or after a softmax says which.

        Raises ValueError where the probabilities are not the left factor.
        """
        piece, lead = self.piece, torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        shape, summed = (*lead, left.shape[-2], right.shape[-1]), left.shape[-1]
        if self.probabilities is None:
            piece.note(FIRST, shape, summed)
            return piece.rounded(left, "q"), piece.rounded(right.transpose(-2, -1), "k").transpose(-2, -1)
        weights, self.probabilities = self.probabilities, None
        if storage_of(right) == storage_of(weights) or left.numel() != weights.numel():
            raise ValueError(f"{piece.of}: what its softmax gives is not the left factor of the next product")
        piece.note(SECOND, shape, summed)
        piece.require_probabilities(left)
        return piece.rounded(left, "probabilities"), piece.rounded(right, "v")


def _axis(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """Return over which axis a softmax, of whatever spelling, is taken."""
    return args[1] if len(args) > 1 else kwargs.get("dim")


def _attended(
    piece: AttentionProducts,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Compute what scaled_dot_product_attention does, of rounded factors; torch's own kernel does where it can."""
    query, key, value = piece.rounded(query, "q"), piece.rounded(key, "k"), piece.rounded(value, "v")
    shape = (*query.shape[:-1], key.shape[-2])  # of the scores
    piece.note(FIRST, shape, query.shape[-1])
    piece.note(SECOND, (*shape[:-1], value.shape[-1]), shape[-1])
    if piece.rounding("probabilities") is None:
        words = {"attn_mask": attn_mask, "dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
        return ATTEND(query, key, value, **words, enable_gqa=enable_gqa)
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    if is_causal:
        attn_mask = torch.ones(shape[-2:], dtype=torch.bool, device=query.device).tril()
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    out = []
    for q, k, v, mask in _parts(piece, query, key, value, attn_mask):
        weights = functional.dropout(_probabilities(q, k, mask, scale), dropout_p).to(v.dtype)
        out.append(piece.rounded(weights, "probabilities") @ v)
    return out[0] if len(out) == 1 else torch.cat(out)


def _parts(
    piece: AttentionProducts, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> Iterator[tuple[Any, ...]]:
    """Cut a batch so that the scores of a part fit SCORES; leave it whole where they share a scale taken from them.

    It stays whole, too, in calibration, which follows the range of whole batches, where a gradient needs it all, and in
    what is exported, which has no number of parts.
    """
    if is_exporting() or (torch.is_grad_enabled() and query.requires_grad):
        yield query, key, value, mask
        return
    rounding, batch = piece.rounding("probabilities"), len(query)
    shares = isinstance(rounding, DynamicInput) and rounding.grid.granularity == "tensor"
    count = min(batch, -(-query.shape[:-1].numel() * key.shape[-2] // SCORES[query.device.type == "cpu"]))
    alike = query.ndim == 4 and len(key) == len(value) == batch
    if shares or isinstance(rounding, nn.Identity) or not alike or count < 2:
        yield query, key, value, mask
        return
    own = mask is not None and mask.ndim == 4 and len(mask) == batch
    masks = mask.tensor_split(count) if own else [mask] * count
    yield from zip(*(x.tensor_split(count) for x in (query, key, value)), masks, strict=True)


def _probabilities(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None, scale: float) -> torch.Tensor:
    """Return the weights of the values, (..., queries, keys), in float32 at least; a query without keys has zeros."""
    scores = (q @ k.transpose(-2, -1)) * scale
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if mask is None:
        return scores.softmax(-1)
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=scores.dtype, device=mask.device).masked_fill_(~mask, -torch.inf)
    return (scores + mask).softmax(-1).masked_fill((mask == -torch.inf).all(-1, keepdim=True), 0)


def axis_of(role: str, grid: Grid, /) -> int:
    """Return along which axis of a factor dynamic scales are shared: blocks lie along what the product sums over.

    Those of values (..., keys, width) lie along the keys. A token's scale is that of a row of a head, of any factor.
    """
    return -2 if role == "v" and grid.granularity == "group" else -1


def static_facts(rounding: nn.Module, /) -> dict[str, float] | None:
    """Return scale and zero of what rounds by numbers that are fixed; None of what takes them from its input."""
    if isinstance(rounding, LogSqrt2):
        return {"scale": rounding.scale, "zero": 0}
    return {"scale": rounding.scale, "zero": rounding.zero} if isinstance(rounding, StaticInput) else None
