"""Quantized twins of Linear and Conv2d, and the quantizers of their inputs.

In training a twin passes its floating-point weight through `weight_rule` in every forward. A frozen twin holds integer
codes and scales and, computed once, the weight that they stand for: evaluation then costs only the rounding of inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import conv2d, linear

from reliquant.grid import Grid
from reliquant.layers.arithmetic import (
    affine,
    blocks,
    cut_scales,
    dequantize,
    fake_quantize,
    fitted,
    quantize,
    require_finite,
    require_stored,
    rounded,
    unblocks,
    weight_affine,
)
from reliquant.layers.exporting import is_exporting
from reliquant.layers.floats import nearest_float_
from reliquant.layers.one_pass import on_grid
from reliquant.layers.plain import plain, timm

FAINT = 0.01  # of its largest weight: a channel of which rounding leaves less is dead
CHUNK = 2**17  # numbers that are rounded at a time, so that they stay in the cache from one pass to the next
ROOM = 2**23  # numbers (32 MB); for larger tensors malloc would fetch new pages from the system in every call


class Scratch:
    """Lend the same memory for every large rounded input, as each is read before the next one is made."""

    def __init__(self) -> None:
        self.memory = torch.empty(0)

    def like(self, x: torch.Tensor, /) -> torch.Tensor:
        """Return an uninitialised tensor of the shape and type of contiguous x; it may overwrite the one lent last."""
        if x.numel() < ROOM or x.device.type != "cpu" or x.dtype != torch.float32:
            return torch.empty_like(x)
        if len(self.memory) < x.numel():
            self.memory = torch.empty(x.numel())
        return self.memory[: x.numel()].view(x.shape)


class StaticInput(nn.Module):
    """Round the input on a grid whose one scale came from calibration or was learned.

    With a `scratch` and without gradients, a large result lives only until the next one is made.
    """

    def __init__(self, grid: Grid, scale: float, zero: float = 0, scratch: Scratch | None = None, /) -> None:
        super().__init__()
        self.grid, self.scale, self.zero, self.scratch = grid, float(scale), zero, scratch

    @property
    def has_whole_zero(self) -> bool:
        """Whether the zero point is a code, as calibration makes it; a learned offset (LSQ+) may lie between two."""
        return self.zero % 1 == 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on its grid, of the same shape."""
        g = self.grid
        if not self.has_whole_zero:
            return rounded(x.float(), self.scale, self.zero, g).to(x.dtype)
        if torch.is_grad_enabled() and x.requires_grad:
            scale, zero = self.scale, int(self.zero)
            if g.is_float:
                return fake_quantize(x.float(), x.new_full((), scale), x.new_zeros(()), g).to(x.dtype)
            return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, g.low, g.high).to(x.dtype)
        return self._rounded(x.float()).to(x.dtype)

    def _rounded(self, x: torch.Tensor) -> torch.Tensor:
        """Return what torch's operator returns for integers, to the bit, in a third of its time.

        NaN stays NaN here, so that a variant that fails is seen to fail.
        """
        if x.is_cuda and not self.grid.is_float:
            low, high = self.grid.low - self.zero, self.grid.high - self.zero
            return on_grid(x, self._inverse, low, high, scale=self.scale)
        if not x.is_contiguous() or x.device.type != "cpu" or is_exporting():
            return self._round_into(x, torch.empty_like(x))  # a graph for any batch has no number of parts
        lends = self.scratch is not None and not torch.is_grad_enabled()  # a gradient would need the result later
        out = self.scratch.like(x) if lends else torch.empty_like(x)
        for part, into in zip(x.view(-1).split(CHUNK), out.view(-1).split(CHUNK), strict=True):
            self._round_into(part, into)
        return out

    @property
    def _inverse(self) -> float:
        return (1 / torch.tensor(self.scale, dtype=torch.float32)).item()

    def _round_into(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Write x on its grid into `out` and return it.

        Torch's operator multiplies by 1 / scale and clips x / scale, not the codes; `arithmetic.rounded` would differ.
        """
        torch.mul(x, self._inverse, out=out)
        if self.grid.is_float:
            return nearest_float_(out, self.grid.element).mul_(self.scale)
        return out.round_().clamp_(self.grid.low - self.zero, self.grid.high - self.zero).mul_(self.scale)


class DynamicInput(nn.Module):
    """Round the input on a grid whose scale is taken from the input itself.

    One scale for the whole tensor, for each token or for each run of `group` numbers of a token. A token is a row of
    (..., d), or a position of the images (n, d, h, w) that a convolution reads (`axis` -3).
    """

    def __init__(self, grid: Grid, /, axis: int = -1) -> None:
        super().__init__()
        self.grid, self.axis = grid, axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on its grid, of the same shape."""
        rows = x.movedim(self.axis, -1)
        if self.grid.granularity == "group":
            return self._in_groups(rows).movedim(-1, self.axis)
        low, high = rows.aminmax() if self.grid.granularity == "tensor" else rows.aminmax(dim=-1, keepdim=True)
        scale, zero = affine(low.reshape(-1, 1), high.reshape(-1, 1), self.grid)
        return fake_quantize(rows, scale, zero, self.grid).movedim(-1, self.axis)

    def _in_groups(self, rows: torch.Tensor) -> torch.Tensor:
        """Round rows (..., d), each in groups."""
        flat = rows.reshape(-1, rows.shape[-1]).float()
        if torch.is_grad_enabled() and flat.requires_grad:
            scale, zero = weight_affine(flat.detach(), self.grid)
            return fake_quantize(flat, scale, zero, self.grid).view(rows.shape).to(rows.dtype)
        out = torch.empty_like(flat)
        pairs = [(flat, out)]
        if flat.device.type == "cpu" and not is_exporting():
            pairs = list(zip(*(x.split(max(1, CHUNK // x.shape[1])) for x in (flat, out)), strict=True))
        for part, into in pairs:
            scale, zero = weight_affine(part, self.grid)
            into.copy_(unblocks(rounded(blocks(part, self.grid), scale, zero, self.grid), part.shape, self.grid))
        return out.view(rows.shape).to(rows.dtype)


class SparedInput(nn.Module):
    """Leave some columns of (..., d) as they are and round the rest by themselves (LLM.int8's outliers)."""

    def __init__(self, inner: nn.Module, columns: torch.Tensor, /) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("columns", columns.to(torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with all but the spared columns on the grid; a dynamic range does not see those."""
        columns = self.columns.long()
        return self.inner(x.index_fill(-1, columns, 0)).index_copy(-1, columns, x[..., columns])


class Held(nn.Module):
    """Hold what of a weight (o, d) stays in floating point beside its codes (RaanA's default steps).

    `mean` (d,) is added to every row; `rows` (k,) are those that are not rounded at all, `values` (k, d) what they are.
    """

    def __init__(self, mean: torch.Tensor, rows: torch.Tensor, values: torch.Tensor, /) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("rows", rows.to(torch.int32))
        self.register_buffer("values", values)

    def beside(self, value: torch.Tensor, /) -> torch.Tensor:
        """Return the weight (o, d) whose rounded part is given."""
        kind = value.dtype
        return (value + self.mean.to(kind)).index_copy(0, self.rows.long(), self.values.to(kind))


class Twin(nn.Module):
    """Hold what a quantized Linear and a quantized Conv2d have in common.

    `transform` is applied to the input before it is rounded: nothing, or a piece of transforms.py that the weight
    has been made to fit. `before_rounding` is called once, before a code is fixed: all that a method changes in
    floating point is then done (`quantization/unchanged.py`).
    """

    def __init__(self, inner: nn.Linear | nn.Conv2d, weight_grid: Grid, activation_grid: Grid, /) -> None:
        super().__init__()
        self.name = "a layer"  # in its model, once it stands there
        self.weight_grid, self.activation_grid = weight_grid, activation_grid
        computed = plain(inner)
        self.weight, self.bias, self.pads_same = computed.weight, computed.bias, computed.pads_same
        self.before_rounding: Callable[[], None] | None = None
        self.after_freezing: Callable[[Twin], object] = lambda _: None  # called each time it is frozen
        self.own_words: tuple[dict[str, Any], dict[str, Any]] | None = None  # of a precision other than its neighbours'
        self.transform: nn.Module = nn.Identity()
        self.input: nn.Module = nn.Identity()
        self.held: Held | None = None
        self.weight_rule: nn.Module | None = None
        self.codes: torch.Tensor | None = None
        self.cut_scales = 0  # of the weight, which are larger than their type stores
        self.dead_channels = 0  # output channels of which rounding has left nothing, or almost
        self.weight_scale: torch.Tensor | None = None
        self.weight_zero: torch.Tensor | None = None

    def take(self, weight_grid: Grid, activation_grid: Grid, /) -> None:
        """Take the grids of a scheme, at the layer's own precision if it has one.

        Raises ValueError where blocks of a format do not divide what the weight sums over.
        """
        if self.own_words:
            weight_grid, activation_grid = weight_grid.at(self.own_words[0]), activation_grid.at(self.own_words[1])
        widths = {"weight": self.weight[0].numel(), "input": self.weight.shape[1] * getattr(self, "groups", 1)}
        for (what, width), grid in zip(widths.items(), (weight_grid, activation_grid), strict=True):
            if grid.whole_groups and width % grid.group:
                why = f"blocks of {grid.group} do not divide the {width} numbers of a row of its {what}"
                raise ValueError(f"{why}; keep the layer in floating point (layers: keep) or give it another precision")
        self.weight_grid, self.activation_grid = weight_grid, activation_grid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to the rounded input with the rounded weight."""
        weight = self.weight if self.weight_rule is None else self.weight_rule(self.weight)
        return self.applied(self.input(self.transform(x)), weight)

    def freeze(
        self, codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, /, *, held: Held | None = None
    ) -> None:
        """Fix the weight to the given codes, and to what is held beside them; from now on it is computed no more.

        Raises ValueError where a scale, a zero point or a weight that results is no number or not what the grid stores.
        """
        self.settle()
        require_finite(self.name, {"scales": scale, "zero points": zero})
        require_stored(scale, zero, self.weight_grid)
        value = dequantize(codes, scale, zero, self.weight_grid).to(self.weight.dtype)
        value = value if held is None else held.beside(value)
        require_finite(self.name, {"rounded numbers": value})
        self.codes, self.weight_scale, self.weight_zero, self.held = codes, scale, zero, held
        self.cut_scales = cut_scales(self.weight, scale, self.weight_grid)
        reach = self.weight.detach().flatten(1).abs().amax(1)
        self.dead_channels = int((value.flatten(1).abs().amax(1) < FAINT * reach).sum()) if not value.is_meta else 0
        self.weight = nn.Parameter(value, requires_grad=False)
        self.weight_rule = None
        self.after_freezing(self)

    def settle(self) -> None:
        """Say that a method has done all that it changes in floating point, so that it can be checked."""
        if self.before_rounding is not None:
            self.before_rounding()
        if self.weight_grid.tensor_scale is None:
            self.weight_grid = fitted(self.weight.detach(), self.weight_grid)

    def spare(self, columns: torch.Tensor, values: torch.Tensor, /) -> None:
        """Keep some input columns (k,) in floating point: of the input, and of the frozen weight (o, d) as (o, k)."""
        self.input = SparedInput(self.input, columns)
        self.register_buffer("spared", values)
        with torch.no_grad():
            self.weight[:, columns.long()] = values.to(self.weight.dtype)

    def freeze_absmax(self) -> None:
        """Fix the weight to the nearest codes of a grid that covers it: round to nearest."""
        self.settle()
        if self.weight_grid.floating:
            return
        scale, zero = weight_affine(self.weight.detach(), self.weight_grid)
        self.freeze(quantize(self.weight.detach(), scale, zero, self.weight_grid), scale, zero)

    def applied(self, x: torch.Tensor, weight: torch.Tensor, /) -> torch.Tensor:
        """Return what the layer gives for an input, as it is, and a weight, as it is."""
        raise NotImplementedError


class QuantLinear(Twin):
    """Twin of nn.Linear."""

    inputs = -1  # the axis of what the weight sums over

    def applied(self, x: torch.Tensor, weight: torch.Tensor, /) -> torch.Tensor:
        """Return x weight^T + bias, (..., o)."""
        return linear(x, weight, self.bias)


class QuantConv2d(Twin):
    """Twin of nn.Conv2d with zero padding, also of timm's that pads by the size of its input."""

    inputs = -3

    def __init__(self, inner: nn.Conv2d, weight_grid: Grid, activation_grid: Grid, /) -> None:
        super().__init__(inner, weight_grid, activation_grid)
        self.stride, self.padding, self.groups = inner.stride, inner.padding, inner.groups
        self.dilation = inner.dilation

    def applied(self, x: torch.Tensor, weight: torch.Tensor, /) -> torch.Tensor:
        """Return the convolution of x (n, c, h, w) with the weight."""
        if self.pads_same:
            x = timm.pad_same(x, weight.shape[-2:], self.stride, self.dilation)
        return conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def twin(inner: nn.Linear | nn.Conv2d, weight_grid: Grid, activation_grid: Grid, /) -> Twin:
    """Make the quantized twin of a layer, sharing its parameters where it has them, not yet rounding anything.

    Raises ValueError with the class of a layer that has no twin.
    """
    kind = QuantConv2d if isinstance(inner, nn.Conv2d) else QuantLinear
    return kind(inner, weight_grid, activation_grid)
