"""What block reconstruction learns: which way each weight is rounded, and the step of each input (AdaRound, QDrop)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from reliquant.grid import Grid
from reliquant.layers.arithmetic import blocks, code_type, dequantize, to_codes, unblocks
from reliquant.layers.floats import levels
from reliquant.layers.twins import StaticInput
from reliquant.quantization.rules import Frozen, Learned, LearnedStep

ZETA, GAMMA = 1.1, -0.1  # how far the sigmoid is stretched (Nagel et al. 2020, section 3.2)
FEW = 2**16  # numbers that a CPU works on at a time: they stay in its cache, and need no new pages of memory


class AdaptiveRounding(nn.Module):
    """Round a weight up or down by a learned variable (AdaRound; Nagel et al. 2020, Equations 21 to 24).

    A weight becomes lower + h(v) (upper - lower) of its two neighbours on the grid, with the rectified sigmoid h(v) =
    clip(sigmoid(v) (zeta - gamma) + gamma, 0, 1), which starts where the weight itself is. Small floats have neighbours
    at different distances; a weight beyond the grid has one. `scale` and `zero` are (rows, 1) and stay.
    """

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, /) -> None:
        super().__init__()
        ratio = blocks(weight.detach().float(), grid) / scale + zero
        lower, upper = neighbours(ratio, grid)
        rest = ((ratio - lower) / (upper - lower).clamp(min=torch.finfo(torch.float32).tiny)).clamp(0, 1)
        self.grid, self.scale, self.zero = grid, nn.Buffer(scale), nn.Buffer(zero)
        whole = torch.float32 if grid.is_float else code_type(grid)  # small: both are held beside each weight
        self.lower, self.span = nn.Buffer(lower.to(whole)), nn.Buffer((upper - lower).to(whole))
        self.v = nn.Parameter(-torch.log((ZETA - GAMMA) / (rest - GAMMA) - 1))

    def share(self) -> torch.Tensor:
        """Return h(v), of the shape of `blocks`: 0 rounds down, 1 up."""
        return _share(self.v)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight as it is rounded by now, of its shape; the weight itself is not asked."""
        value = Between.apply(self.v, self.lower, self.span, self.scale, self.zero)
        return unblocks(value, weight.shape, self.grid)

    @torch.no_grad()
    def penalty(self, beta: float, /) -> torch.Tensor:
        """Return the sum of 1 - |2 h(v) - 1|^beta, which is 0 where each weight is rounded to a neighbour."""
        return ((1 - (2 * self.share() - 1).abs().pow(beta)) * (self.span > 0)).sum()

    @torch.no_grad()
    def add_penalty_gradient(self, beta: float, factor: float, /) -> None:
        """Add `factor` times the gradient of the penalty to that of v.

        It is -2 beta sign(c) |c|^(beta - 1) h'(v) with c = 2 h(v) - 1, worked by hand because autograd would hold six
        tensors of the size of each weight for it.
        """
        for v, span, grad in parts(self.v, self.span, self.v.grad):
            away = 2 * _share(v) - 1
            slope = away.abs().pow_(beta - 1).mul_(away.sign_()).mul_(_slope(v)).mul_(span > 0)
            grad.add_(slope, alpha=-2 * beta * factor)

    @torch.no_grad()
    def undecided(self) -> int:
        """Count the weights that are further than a tenth of a step from both of their neighbours."""
        share = self.share()
        return int(((share > 0.1) & (share < 0.9) & (self.span > 0)).sum())

    @torch.no_grad()
    def freeze(self, weight: torch.Tensor, /) -> Frozen:
        """Return codes, scale and zero point."""
        numbers = (self.lower + (self.share() >= 0.5) * self.span).float()
        return to_codes(unblocks(numbers, weight.shape, self.grid), self.grid), self.scale.clone(), self.zero.clone()


class Decided(nn.Module):
    """Round a weight to codes that are fixed, worked out anew in each forward: only the codes take memory.

    The weight stays what it is in floating point, so that the same model, unrounded, is FP32's.
    """

    def __init__(self, codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, /) -> None:
        super().__init__()
        self.codes, self.scale, self.zero, self.grid = codes, scale, zero, grid

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight that the codes stand for, of the shape and type of the given one, which is not asked."""
        return dequantize(self.codes, self.scale, self.zero, self.grid).to(weight.dtype)

    def freeze(self, weight: torch.Tensor, /) -> Frozen:
        """Return codes, scale and zero point."""
        return self.codes, self.scale, self.zero


class Between(torch.autograd.Function):
    """(lower + h(v) span - zero) scale, with the gradient of v alone; of the large tensors only v is held for it."""

    @staticmethod
    def forward(
        ctx: Any, v: torch.Tensor, lower: torch.Tensor, span: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor
    ) -> torch.Tensor:
        """Return the weight between its neighbours, of the shape of v."""
        ctx.save_for_backward(v, span, scale)
        whole = torch.empty_like(v)
        for out, *some in parts(whole, v, lower, span, scale, zero):
            v, lower, span, scale, zero = some
            _share(v, out).mul_(span).add_(lower).sub_(zero).mul_(scale)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Pass grad scale span h'(v) to v."""
        whole = torch.empty_like(grad)
        for out, v, span, scale, above in parts(whole, *ctx.saved_tensors, grad):
            _slope(v, out).mul_(span).mul_(scale).mul_(above)
        return whole, None, None, None, None


def _share(v: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    return torch.sigmoid(v, out=out).mul_(ZETA - GAMMA).add_(GAMMA).clamp_(0, 1)


def _slope(v: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """Return h'(v): that of the stretched sigmoid where it lies between 0 and 1, else 0."""
    share = torch.sigmoid(v, out=out)
    inside = ((ZETA - GAMMA) * share + GAMMA).clamp_(0, 1)
    return share.mul_(1 - share).mul_(ZETA - GAMMA).mul_((inside > 0) & (inside < 1))


def parts(first: torch.Tensor, /, *others: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Cut tensors of equally many rows (or of one, which each part gets) into rows of about FEW numbers of the first.

    A GPU gets them whole: there each operation costs a launch.
    """
    rows = max(1, FEW // max(1, first[:1].numel()))
    if first.is_cuda or len(first) <= rows:
        yield first, *others
        return
    for start in range(0, len(first), rows):
        yield first[start : start + rows], *(x if len(x) == 1 else x[start : start + rows] for x in others)


class DroppedInput(nn.Module):
    """Round an input on a grid, and leave a share of its numbers as they are, drawn anew each time (QDrop, section 4).

    The step of a static grid is learned, its zero point stays; a dynamic one has neither.
    """

    def __init__(self, calibrated: nn.Module, drop: float, rng: torch.Generator, /) -> None:
        super().__init__()
        self.calibrated, self.drop, self.rng = calibrated, drop, rng
        self.scale = Learned(torch.tensor(calibrated.scale)) if isinstance(calibrated, StaticInput) else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, a part of it rounded, of the same shape."""
        kept = drawn(x, self.drop, self.rng) if self.drop else torch.zeros(x.shape, dtype=torch.bool, device=x.device)
        if self.scale is not None and not self.calibrated.grid.is_float:
            grid, zero = self.calibrated.grid, float(self.calibrated.zero)
            return RoundedInPart.apply(x.float(), self.scale(), kept, zero, grid.low, grid.high).to(x.dtype)
        return torch.where(kept, x, self._worked_twice(x.float()).to(x.dtype))

    def _worked_twice(self, x: torch.Tensor) -> torch.Tensor:
        """Return x rounded; for gradients it is rounded again, as what autograd holds is thrice the size of x."""
        if not torch.is_grad_enabled():
            return self._rounded(x)
        return checkpoint(self._rounded, x, use_reentrant=False, preserve_rng_state=False)

    def _rounded(self, x: torch.Tensor) -> torch.Tensor:
        if self.scale is None:
            return self.calibrated(x)
        return LearnedStep.apply(x, self.scale(), None, self.calibrated.grid)

    def freeze(self) -> nn.Module:
        """Return the quantizer with the step as it is now."""
        if self.scale is None:
            return self.calibrated
        return StaticInput(self.calibrated.grid, self.scale.item(), self.calibrated.zero)


class RoundedInPart(torch.autograd.Function):
    """(clip(round(x / scale) + zero, low, high) - zero) scale, but x itself where it is kept.

    Rounding passes gradients on as they are (straight through). Both ways, each number is worked on while it is in the
    cache, and of the large tensors x and what is kept are held alone.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: torch.Tensor, kept: torch.Tensor, zero: float, low: int, high: int
    ) -> torch.Tensor:
        """Return a tensor of the shape of x, float32; `kept` is bool and of its shape, `scale` one number."""
        ctx.save_for_backward(x, scale, kept)
        ctx.grid = zero, low, high
        whole = torch.empty(x.shape, device=x.device)
        for out, some, same in parts(whole.view(-1), x.reshape(-1), kept.view(-1)):
            torch.div(some, scale, out=out).round_().add_(zero).clamp_(low, high).sub_(zero).mul_(scale)
            torch.where(same, some, out, out=out)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Pass to x what is kept or inside of the grid, and to the scale (Esser et al. 2020, Equation 3) the rest."""
        (x, scale, kept), (zero, low, high) = ctx.saved_tensors, ctx.grid
        whole, steps = torch.empty(x.shape, device=x.device), torch.zeros((), device=x.device)
        for out, above, some, same in parts(whole.view(-1), grad.reshape(-1), x.reshape(-1), kept.view(-1)):
            ratio = some / scale
            codes = ratio.round().add_(zero)
            inside = (codes >= low) & (codes <= high)
            codes.clamp_(low, high).sub_(zero).sub_(ratio.mul_(inside))
            steps += codes.mul_(above).masked_fill_(same, 0).sum()
            torch.mul(above, inside.logical_or_(same), out=out)
        return whole, steps.reshape(scale.shape), None, None, None, None


def drawn(x: torch.Tensor, share: float, rng: torch.Generator, /) -> torch.Tensor:
    """Return which numbers of a tensor belong to a random share of them, of its shape."""
    kept = torch.empty(x.shape, dtype=torch.bool, device=x.device)
    for part in parts(kept.view(-1)):
        torch.lt(torch.rand(part[0].shape, generator=rng, device=x.device), share, out=part[0])
    return kept


def neighbours(ratio: torch.Tensor, grid: Grid, /) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the levels of a grid next below and above each number, in its units; both the nearest beyond its ends.

    >>> [v.tolist() for v in neighbours(torch.tensor([0.7, 5.0, -9.0]), Grid(bits=4, element="e2m1"))]
    [[0.5, 4.0, -6.0], [1.0, 6.0, -6.0]]
    """
    if not grid.is_float:
        return ratio.floor().clamp(grid.low, grid.high), ratio.ceil().clamp(grid.low, grid.high)
    table = levels(grid.element)
    table = table[~table.isnan()].unique().to(ratio.device)  # in order
    inside = ratio.clamp(grid.low, grid.high).contiguous()
    above = torch.searchsorted(table, inside)
    below = torch.searchsorted(table, inside, right=True) - 1
    return table[below], table[above]
