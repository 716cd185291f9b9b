"""Arithmetic of integer grids: ranges, scales, codes, and fake quantization with a straight-through gradient.

Every granularity is a case of one thing once a tensor is seen as rows, each of which has one scale: `blocks` gives that
view, (rows, k), and scales and zero points are (rows, 1).
"""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from reliquant.grid import Grid

SMALLEST_SCALE = 1e-8  # as in the first author's code; a row of zeros gets it, too


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
        scale = divided(torch.maximum(low.abs(), high.abs()), grid.high)
        return scale.clamp(min=SMALLEST_SCALE), torch.zeros_like(scale)
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = divided(high - low, grid.high - grid.low).clamp(min=SMALLEST_SCALE)
    return scale, (grid.low - torch.round(low / scale)).clamp(grid.low, grid.high)


def weight_affine(weight: torch.Tensor, grid: Grid, /) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and zero point, (rows, 1), that cover a weight's smallest and largest values (absmax)."""
    rows = blocks(weight, grid)
    return affine(rows.amin(1, keepdim=True), rows.amax(1, keepdim=True), grid)


def nearest_codes(
    x: torch.Tensor, scale: torch.Tensor | float, zero: torch.Tensor | float, grid: Grid, /
) -> torch.Tensor:
    """Return clip(round(x / scale + zero)): the codes, still as floating-point numbers, in one new tensor.

    x and scale broadcast: (rows, k) with scales (rows, 1), or any shape with one scale. Halves go to the even code.
    """
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
    """Return the codes clip(round(x / scale + zero)) as integers, of the shape of x."""
    codes = nearest_codes(blocks(x, grid), scale, zero, grid)
    return unblocks(codes, x.shape, grid).to(code_type(grid))


def dequantize(codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """Return scale * (codes - zero) in the scale's type, of the shape of the codes."""
    return unblocks(scale * (blocks(codes.to(scale.dtype), grid) - zero), codes.shape, grid)


def fake_quantize(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """Quantize and dequantize; the gradient passes straight through inside the range and is 0 outside.

    Unlike `rounded` it clips first and works in new tensors: autograd takes the gradient from that clipping.
    """
    rows = blocks(x, grid)
    inside = (rows / scale + zero).clamp(grid.low - 0.5, grid.high + 0.5)
    codes = torch.round(inside).clamp(grid.low, grid.high)
    smooth = (inside - zero) * scale  # equals x inside the range, constant outside
    return unblocks(smooth + ((codes - zero) * scale - smooth).detach(), x.shape, grid)
