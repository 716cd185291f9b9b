"""What quantization-aware training puts into twins: rules that round weights and inputs and pass gradients on.

A rule is a module with `forward(x)`, which rounds, and `freeze`, which says what it has come to: that of an input rule
returns a StaticInput, that of a weight rule takes the trained weight and returns what `Twin.freeze` takes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.arithmetic import (
    SMALLEST_SCALE,
    blocks,
    nearest_codes,
    quantize,
    rounded,
    stored_scale,
    unblocks,
    weight_affine,
)
from reliquant.layers.twins import StaticInput

Frozen = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # codes, scale, zero point


class StraightThrough(torch.autograd.Function):
    """Put a value in the place of x; the gradient goes to x, everywhere or (if given) where `inside` is true."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, value: torch.Tensor, inside: torch.Tensor | None = None) -> torch.Tensor:
        """Return the value."""
        ctx.inside = inside
        return value

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Pass the gradient."""
        return grad if ctx.inside is None else grad * ctx.inside, None, None


class LearnedStep(torch.autograd.Function):
    """round(clip((x - o) / s, low, high)) * s + o with the gradients of LSQ (Esser et al. 2020, Equations 1, 3, 5).

    Small floats round to the nearest of their levels; the count of positive ones, `positive_levels`, is then the
    paper's Qp, which is `high` of integers. x is (..., k) with one scale, or (rows, k) with scales (rows, 1). With an
    offset o these are the gradients of LSQ+ (Bhalgat et al. 2020, Equations 5 and 6). Unlike `arithmetic.rounded` it
    clips before it rounds and adds the offset in units of x, as the papers do. Two passes over memory forward, three
    backward: they bound the training of a ViT.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor | None, grid: Grid
    ) -> torch.Tensor:
        """Return x on the grid; the gradient needs x, the scale and the result, which the layer keeps anyway."""
        out = x / scale if offset is None else (x - offset).div_(scale)
        out.clamp_(grid.low, grid.high)
        out = (nearest_codes(out, 1.0, 0, grid) if grid.is_float else out.round_()).mul_(scale)
        if offset is not None:
            out.add_(offset)
        ctx.save_for_backward(x, scale, offset, out)
        ctx.grid = grid
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Pass the gradient g inside the range; the scale gets sum g (q - x/s) inside and g q outside, / sqrt(N Qp).

        As s (q - x/s) = out - x, that sum is (g . out - (g inside) . x) / s: two dot products. The offset gets the sum
        of g over the clipped values. N is the count of values per scale.
        """
        x, scale, offset, out = ctx.saved_tensors
        inside = _inside(grad, x, scale, offset, ctx.grid)
        if not any(ctx.needs_input_grad[1:3]):
            return inside, None, None, None
        rows, shift, grad_offset = scale.numel(), 0.0, None
        grads, insides = grad.reshape(rows, -1), inside.reshape(rows, -1)
        if offset is not None:
            clipped = grads.sum(1) - insides.sum(1)
            shift = offset.reshape(-1) * clipped
            grad_offset = clipped.reshape(offset.shape)
        slope = _dot(grads, out.reshape(rows, -1)) - _dot(insides, x.reshape(rows, -1)) - shift
        slope = slope.reshape(scale.shape) / scale / (x.numel() / rows * ctx.grid.positive_levels) ** 0.5
        return inside, slope, grad_offset, None


class AbsMaxWeight(nn.Module):
    """Round a weight on the grid that covers it, found anew in every forward; the gradient passes unchanged."""

    def __init__(self, weight: torch.Tensor, grid: Grid, /) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight on its grid, of the same shape."""
        scale, zero = weight_affine(weight.detach(), self.grid)
        value = rounded(blocks(weight.detach(), self.grid), scale, zero, self.grid)
        return StraightThrough.apply(weight, unblocks(value, weight.shape, self.grid))

    def freeze(self, weight: torch.Tensor, /) -> Frozen:
        """Return codes, scale and zero point of the weight."""
        scale, zero = weight_affine(weight, self.grid)
        return quantize(weight, scale, zero, self.grid), scale, zero


class Learned(nn.Module):
    """Hold positive numbers that are learned as the logarithms of their ratios to where they start.

    AdamW moves a parameter by about its learning rate, whatever the parameter's size, so that a small scale that was
    learned itself would cross zero and end its channel. Here a step changes a scale by about that share of itself, and
    its sign cannot change: the balance that LSQ's gradient scale is for (Esser et al. 2020, section 2.2). What a
    number's own gradient is stays with the rule that uses it.
    """

    def __init__(self, start: torch.Tensor, /) -> None:
        super().__init__()
        self.start, self.log_ratio = nn.Buffer(start.detach().clone()), nn.Parameter(torch.zeros_like(start))

    def forward(self) -> torch.Tensor:
        """Return the numbers as they are now, of the shape of the first ones."""
        return self.start * self.log_ratio.exp()

    @torch.no_grad()
    def fallen(self) -> int:
        """Count the numbers that have come down to the smallest scale, or to no number, and did not start there."""
        return int((~(self() > SMALLEST_SCALE) & (self.start > SMALLEST_SCALE)).sum())

    @torch.no_grad()
    def item(self) -> float:
        """Return the one number as it is now."""
        return self().item()


class LearnedWeight(nn.Module):
    """Round a weight with learned scales (LSQ), one for each row of `blocks`, started at the given ones.

    A scale in use is the nearest that its type stores; the gradient goes to the one behind it.
    """

    def __init__(self, scale: torch.Tensor, grid: Grid, /) -> None:
        super().__init__()
        if not grid.symmetric:
            raise ValueError("learned scales of weights need a symmetric grid: weight takes no symmetric: false")
        if grid.whole_groups:
            raise ValueError(f"learned scales of weights are FP32 or FP16: weight takes no blocks of {grid.scale_type}")
        self.grid, self.scale = grid, Learned(scale.clamp(min=SMALLEST_SCALE))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight on its grid, of the same shape."""
        out = LearnedStep.apply(blocks(weight, self.grid), as_stored(self.scale(), self.grid), None, self.grid)
        return unblocks(out, weight.shape, self.grid)

    def freeze(self, weight: torch.Tensor, /) -> Frozen:
        """Return codes, scale and zero point of the weight."""
        scale = stored_scale(self.scale().detach(), self.grid)
        zero = torch.zeros_like(scale)
        return quantize(weight, scale, zero, self.grid), scale, zero


class LearnedInput(nn.Module):
    """Round an input with one learned scale (LSQ), started at the calibrated one."""

    def __init__(self, calibrated: StaticInput, /) -> None:
        super().__init__()
        self.grid, self.scale = calibrated.grid, Learned(torch.tensor(calibrated.scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on its grid, float32, of the same shape."""
        return LearnedStep.apply(x.float(), self.scale(), None, self.grid)

    def freeze(self) -> StaticInput:
        """Return the quantizer with the scale as it is now."""
        return StaticInput(self.grid, self.scale.item())


def as_stored(scale: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """Return the nearest scales that a grid stores; the gradient passes unchanged."""
    return StraightThrough.apply(scale, stored_scale(scale.detach(), grid))


def _inside(grad: torch.Tensor, x: torch.Tensor, scale: torch.Tensor, offset: Any, grid: Grid) -> torch.Tensor:
    """Return the gradient where low < (x - offset) / scale < high, else 0, in one pass if there is one scale."""
    if scale.numel() == 1:
        start = 0.0 if offset is None else offset.item()
        bounds = start + grid.low * scale.item(), start + grid.high * scale.item()
        return torch.ops.aten.hardtanh_backward(grad, x, *bounds)
    ratio = (x if offset is None else x - offset) / scale
    return torch.ops.aten.hardtanh_backward(grad, ratio, grid.low, grid.high)


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.dot(a[0], b[0]).reshape(1) if len(a) == 1 else torch.linalg.vecdot(a, b)
