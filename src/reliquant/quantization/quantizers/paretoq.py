"""ParetoQ (Liu et al. 2025): a quantizer of weights for each number of bits, made for 4 bits and below.

At 2 bits it is stretched elastic quantization (SEQ, Equation 5): levels lie half a step beside 0, all of equal width
and none wasted on 0. At 3 bits and more it is LSQ with learned scales, started at absmax. Activations learn one scale
per tensor (LSQ). It is here as the recent method because its rule changes where the others break, between 3 and 2 bits.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Unpack

import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.arithmetic import SMALLEST_SCALE, blocks, quantize, stored_scale, unblocks, weight_affine
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import learn, require_symmetric
from reliquant.quantization.observers import Range
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rules import Frozen, Learned, LearnedInput, LearnedWeight, as_stored
from reliquant.quantization.training_words import TrainingWords

CLIP = 0.99  # the authors' code clips here, so that the outermost levels get weights of full width

REFUSES = [
    (
        {"activation.whole_groups": False, "activation.dynamic": True},
        "inputs learn one static scale; leave out dynamic",
    ),
    ({"activation.symmetric": False}, "inputs learn a symmetric range; leave out activation: {symmetric: false}"),
    ({"weight.symmetric": False}, "it has its own grids of weights; leave out weight: {symmetric: false}"),
]


def quantizer(
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    /,
    *,
    weight: Grid,
    activation: Grid,
    momentum: float = 0.1,
    **training: Unpack[TrainingWords],
) -> None:
    """Calibrate the named layers, train them in place on the proxy pairs, and fix the codes."""
    require_symmetric("paretoq", activation)
    if not weight.symmetric:
        raise ValueError("paretoq has its own grids: weight takes no symmetric: false")
    weight = replace(weight, symmetric=weight.bits > 2)
    grids = {"weight": weight, "activation": activation}
    learn(clip, names, proxy, saved, training, LearnedInput, _by_bits, **grids, watch=partial(Range, momentum))


def _by_bits(weight: torch.Tensor, grid: Grid) -> nn.Module:
    if grid.bits > 2:
        return LearnedWeight(weight_affine(weight, grid)[0], grid)
    return StretchedWeight(blocks(weight, grid).abs().amax(1, keepdim=True), grid)


class StretchedWeight(nn.Module):
    """Round a weight by SEQ with learned scales alpha, one for each row of `blocks`."""

    def __init__(self, alpha: torch.Tensor, grid: Grid, /) -> None:
        super().__init__()
        self.grid, self.steps = grid, 2 ** (grid.bits - 1)
        self.alpha = Learned(alpha.clamp(min=SMALLEST_SCALE))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight on its grid, of the same shape."""
        alpha = as_stored(self.alpha() / self.steps, self.grid) * self.steps
        out = Stretched.apply(blocks(weight, self.grid), alpha, self.grid.bits)
        return unblocks(out, weight.shape, self.grid)

    def freeze(self, weight: torch.Tensor, /) -> Frozen:
        """Return codes, scale and zero point of the weight."""
        scale = stored_scale(self.alpha().detach() / self.steps, self.grid)
        zero = torch.full_like(scale, (self.grid.low + self.grid.high) / 2)
        return quantize(weight, scale, zero, self.grid), scale, zero


class Stretched(torch.autograd.Function):
    """alpha (round(n c - 1/2) + 1/2) / n, c = w/alpha clipped to +-0.99, n = 2^(b-1), w (rows, k), alpha (rows, 1).

    It clips before it rounds, nearer to 0 than the last level ends; `arithmetic.rounded` would clip the codes.
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, alpha: torch.Tensor, bits: int) -> torch.Tensor:
        """Return the rows on the grid."""
        n = 2 ** (bits - 1)
        out = (rows / alpha).clamp_(-CLIP, CLIP).mul_(n).sub_(0.5).round_().add_(0.5).mul_(alpha / n)
        ctx.save_for_backward(rows, alpha, out)
        ctx.high = n - 1
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Pass the gradient g inside; alpha gets sum g (q - w/alpha) inside and g q outside, / sqrt(k high)."""
        rows, alpha, out = ctx.saved_tensors
        inside = grad * ((rows / alpha).abs() <= CLIP)
        slope = ((grad * out).sum(1, keepdim=True) - (inside * rows).sum(1, keepdim=True)) / alpha
        return inside, slope / (rows.shape[1] * ctx.high) ** 0.5, None
