"""Arithmetic of grids: ranges, scales, codes, and fake quantization with a straight-through gradient.

Every granularity is a case of one thing once a tensor is seen as rows, each of which has one scale: `blocks` gives that
view, (rows, k), and scales and zero points are (rows, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch.nn.functional import pad

from reliquant.grid import ELEMENTS, Grid
from reliquant.layers.floats import codes_of, levels, nearest_float_, power_of_two

SMALLEST_SCALE = 1e-8  # as in the first author's code; a row of zeros gets it, too
HALF = torch.finfo(torch.float16)


def blocks(x: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """View a tensor as (rows, k), one row per scale; zeros fill up the last group of a row."""
    if grid.granularity == "tensor":
        return x.reshape(1, -1)
    if grid.granularity == "token":
        return x.reshape(-1, x.shape[-1])
    rows = x.reshape(x.shape[0], -1)
    if grid.granularity == "channel":
        return rows
    return pad(rows, (0, -rows.shape[1] % grid.group)).reshape(-1, grid.group)


def unblocks(rows: torch.Tensor, shape: torch.Size, grid: Grid, /) -> torch.Tensor:
    """Undo `blocks`: put (rows, k) back into a tensor of the given shape."""
    if grid.granularity != "group":
        return rows.reshape(shape)
    return rows.reshape(shape[0], -1)[:, : shape[1:].numel()].reshape(shape)


def divided(x: torch.Tensor, number: float, /) -> torch.Tensor:
    """Return x / number as every device must round it; a GPU multiplies x / number by the reciprocal of a plain number.

    >>> divided(torch.tensor(3.0), 7).item() == (torch.tensor(3.0) / 7).item()
    True
    """
    return x / x.new_full((), number)


def affine(low: torch.Tensor, high: torch.Tensor, grid: Grid, /) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scale and the integer zero point of a grid that covers [low, high].

    Symmetric: scale = max(|low|, |high|) / qmax, zero point 0. Otherwise the range is widened to hold zero, which is
    then exactly a code (Jacob et al. 2018, section 2.1).
    """
    if grid.symmetric:
        largest = torch.maximum(low.abs(), high.abs())
        if grid.scales_as == "e8m0":
            scale = (power_of_two(largest) * 2.0**-grid.top).clamp(2.0**-127, 2.0**127)
        else:
            scale = stored_scale(divided(largest, grid.high), grid)
        return scale, torch.zeros_like(scale)
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = stored_scale(divided(high - low, grid.high - grid.low), grid)
    return scale, (grid.low - torch.round(low / scale)).clamp(grid.low, grid.high)


def stored_scale(scale: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """Return positive scales as their type stores them, in the type of the given ones.

    `fp32`: at least SMALLEST_SCALE. `fp16` and `e4m3` (in units of the tensor's scale): the nearest that the type has,
    from its smallest positive number to its largest. `e8m0` scales are made by `affine`, and any other is rounded down
    to a power of two here. Raises ValueError for `e4m3` where the tensor's scale is not known yet.
    """
    if grid.scales_as == "fp32":
        return scale.clamp(min=SMALLEST_SCALE)
    if grid.scales_as == "fp16":
        return scale.clamp(HALF.smallest_normal * HALF.eps, HALF.max).half().to(scale.dtype)
    if grid.scales_as == "e8m0":
        return power_of_two(scale).clamp(2.0**-127, 2.0**127)
    if grid.tensor_scale is None:
        raise ValueError("the scale of the whole tensor is not known yet")
    kind = ELEMENTS["e4m3"]
    units = nearest_float_((scale / grid.tensor_scale).float(), "e4m3")
    return (units.clamp_(min=kind.smallest) * grid.tensor_scale).to(scale.dtype)


def cut_scales(weight: torch.Tensor, scale: torch.Tensor, grid: Grid, /) -> int:
    """Count the scales that were cut to the largest of their type, too small for the weights of their row.

    >>> grid = Grid(bits=4, granularity="group", group=2)
    >>> weight = torch.tensor([[1e6, 0.0, 7.0, 0.0]])
    >>> cut_scales(weight, weight_affine(weight, grid)[0], grid)
    1
    """
    if weight.is_meta or grid.scales_as not in ("fp16", "e4m3"):
        return 0
    largest = HALF.max if grid.scales_as == "fp16" else ELEMENTS["e4m3"].largest * (grid.tensor_scale or 1.0)
    low, high = blocks(weight.detach(), grid).aminmax(dim=1, keepdim=True)
    if grid.symmetric:
        needed = torch.maximum(-low, high) / grid.high
    else:
        needed = (high.clamp(min=0) - low.clamp(max=0)) / (grid.high - grid.low)  # of the range that holds zero
    return int(((scale >= largest * (1 - 1e-6)) & (needed > largest * (1 + 2.0**-4))).sum())


def require_stored(scale: torch.Tensor, zero: torch.Tensor, grid: Grid, /) -> None:
    """Raise ValueError if scales or zero points are not of the type that their grid stores."""
    if grid.scales_as == "fp32" or scale.is_meta:
        return
    if not torch.equal(stored_scale(scale, grid), scale):
        raise ValueError(f"scales are not those of {grid.scales_as}")
    if grid.scales_as == "fp16" and not torch.equal(zero.half().to(zero.dtype), zero):
        raise ValueError("zero points are not those of fp16")


def require_finite(layer: str, numbers: Mapping[str, torch.Tensor], /) -> None:
    """Raise ValueError naming a layer if some of its weight's numbers, given by what they are, are infinite or NaN."""
    for what, value in numbers.items():
        wrong = 0 if value.is_meta else value.numel() - int(torch.isfinite(value).sum())
        if wrong:
            told = f"{layer}: {wrong} {what} of its weight would be infinite or NaN"
            raise ValueError(f"{told}; keep the layer in floating point (layers: keep)")


def fitted(x: torch.Tensor | float, grid: Grid, /) -> Grid:
    """Return the grid with the scale of a tensor x, or of its largest value; others than NVFP4's as they are.

    It is the largest value over the largest level times the largest scale: 448 * 6 of NVFP4, so that the block that
    holds that value has the largest scale.
    """
    if grid.scales_as != "e4m3":
        return grid
    x = torch.as_tensor(x, dtype=torch.float32)
    if x.is_meta:
        return replace(grid, tensor_scale=1.0)
    scale = x.abs().amax() / (ELEMENTS["e4m3"].largest * grid.high)
    return replace(grid, tensor_scale=float(scale.clamp(min=torch.finfo(torch.float32).tiny)))


def weight_affine(weight: torch.Tensor, grid: Grid, /) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and zero point, (rows, 1), that cover a weight's smallest and largest values (absmax)."""
    rows = blocks(weight, grid)
    if grid.tensor_scale is None:
        grid = fitted(weight, grid)
    return affine(rows.amin(1, keepdim=True), rows.amax(1, keepdim=True), grid)


def nearest_codes(
    x: torch.Tensor, scale: torch.Tensor | float, zero: torch.Tensor | float, grid: Grid, /
) -> torch.Tensor:
    """Return clip(round(x / scale + zero)): the levels, in floating point and units of the scale, in one new tensor.

    x and scale broadcast: (rows, k) with scales (rows, 1), or any shape with one scale. Halves go to the even code.
    """
    if grid.is_float:
        return nearest_float_((x / scale).float(), grid.element).to(x.dtype)
    return (x / scale).add_(zero).round_().clamp_(grid.low, grid.high)


def rounded(x: torch.Tensor, scale: torch.Tensor | float, zero: torch.Tensor | float, grid: Grid, /) -> torch.Tensor:
    """Return (clip(round(x / scale + zero)) - zero) * scale: x on its grid, in one new tensor.

    Rounding has no gradient; where training needs one, detach x and see quantization/rules.py.
    """
    return nearest_codes(x, scale, zero, grid).sub_(zero).mul_(scale)


def code_type(grid: Grid, /) -> torch.dtype:
    """Return the integer type that holds a grid's codes."""
    return torch.int16 if grid.wide else torch.int8


def quantize(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """Return the codes clip(round(x / scale + zero)) as integers, of the shape of x; of floats, their bits."""
    return to_codes(unblocks(nearest_codes(blocks(x, grid), scale, zero, grid), x.shape, grid), grid)


def to_codes(numbers: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """Return the integers that stand for levels, as `nearest_codes` gives them, of their shape."""
    return (codes_of(numbers, grid.element) if grid.is_float else numbers).to(code_type(grid))


def of_codes(codes: torch.Tensor, grid: Grid, kind: torch.dtype, /) -> torch.Tensor:
    """Return the levels, of a floating-point type and in units of the scale, for which codes stand."""
    return levels(grid.element).to(codes.device, kind)[codes.long()] if grid.is_float else codes.to(kind)


def dequantize(codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """Return scale * (codes - zero) in the scale's type, of the shape of the codes."""
    numbers = blocks(of_codes(codes, grid, scale.dtype), grid)
    return unblocks(scale * (numbers - zero), codes.shape, grid)


def fake_quantize(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """Quantize and dequantize; the gradient passes straight through inside the range and is 0 outside.

    Unlike `rounded` it clips first and works in new tensors: autograd takes the gradient from that clipping.
    """
    rows = blocks(x, grid)
    if grid.is_float:
        inside = (rows / scale).clamp(grid.low, grid.high)
        codes = nearest_codes(inside.detach(), 1.0, 0, grid)
    else:
        inside = (rows / scale + zero).clamp(grid.low - 0.5, grid.high + 0.5)
        codes = torch.round(inside).clamp(grid.low, grid.high)
    smooth = (inside - zero) * scale  # equals x inside the range, constant outside
    return unblocks(smooth + ((codes - zero) * scale - smooth).detach(), x.shape, grid)
