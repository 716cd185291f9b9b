"""Arithmetic of integer grids: ranges, scales, codes, and fake quantization with a straight-through gradient.

Every granularity is one case of the same thing once a tensor is seen as rows that share a scale: `blocks` gives that
view, (rows, k), and scales are (rows, 1).
"""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from reliquant.grid import Grid

SMALLEST_SCALE = 1e-8  # the first author's floor; also what an all-zero block gets


def blocks(x: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """View a tensor as (rows, k), a row for each scale; the last group of a row is padded with zeros."""
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


def affine(low: torch.Tensor, high: torch.Tensor, grid: Grid, /) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scale and the integer zero point of a grid that covers [low, high].

    Symmetric: scale = max(|low|, |high|) / qmax, zero point 0. Otherwise the range is widened to hold zero, which is
    then exactly a code (Jacob et al. 2018, section 2.1).
    """
    if grid.symmetric:
        scale = torch.maximum(low.abs(), high.abs()) / grid.high
        return scale.clamp(min=SMALLEST_SCALE), torch.zeros_like(scale)
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = ((high - low) / (grid.high - grid.low)).clamp(min=SMALLEST_SCALE)
    return scale, (grid.low - torch.round(low / scale)).clamp(grid.low, grid.high)


def weight_affine(weight: torch.Tensor, grid: Grid, /) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and zero point, (rows, 1), that cover a weight's smallest and largest values (absmax)."""
    rows = blocks(weight, grid)
    return affine(rows.amin(1, keepdim=True), rows.amax(1, keepdim=True), grid)


def quantize(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """Return the codes clip(round(x / scale) + zero), int8 (int16 above 8 bits), of the shape of x."""
    codes = torch.round(blocks(x, grid) / scale + zero).clamp(grid.low, grid.high)
    wide = grid.bits > 8 or not grid.signed
    return unblocks(codes, x.shape, grid).to(torch.int16 if wide else torch.int8)


def dequantize(codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """Return scale * (codes - zero) in the scale's type, of the shape of the codes."""
    return unblocks(scale * (blocks(codes.to(scale.dtype), grid) - zero), codes.shape, grid)


def fake_quantize(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """Quantize and dequantize; the gradient passes straight through inside the range and is 0 outside."""
    rows = blocks(x, grid)
    inside = (rows / scale + zero).clamp(grid.low - 0.5, grid.high + 0.5)
    codes = torch.round(inside).clamp(grid.low, grid.high)
    smooth = (inside - zero) * scale  # equals x inside the range, constant outside
    return unblocks(smooth + ((codes - zero) * scale - smooth).detach(), x.shape, grid)
