"""StatsQ of OFQ (Liu et al. 2023, Oscillation-free Quantization for Low-bit Vision Transformers).

The scale of a row of weights is not learned but a statistic, 2 mean|w|, so that it cannot make weights oscillate
between two levels; the 2^b levels lie half a step beside 0. Activations learn one scale per tensor (LSQ).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.arithmetic import blocks, quantize, rounded, stored_scale, unblocks
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import learn_lsq
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rules import Frozen, StraightThrough
from reliquant.quantization.training_words import TrainingWords

REFUSES = [
    (
        {"activation.whole_groups": False, "activation.dynamic": True},
        "inputs learn one static scale; leave out dynamic",
    ),
    ({"activation.symmetric": False}, "inputs learn a symmetric range; leave out activation: {symmetric: false}"),
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
    weight = weight if weight.floating else replace(weight, symmetric=False)  # levels lie half a step beside 0
    own = {"weight": weight, "activation": activation, "momentum": momentum}
    learn_lsq("statsq", clip, names, proxy, saved, training, StatisticWeight, **own)


class StatisticWeight(nn.Module):
    """Round to s (round(n c - 1/2) + 1/2) / n, c = w/s clipped to [-1, 1 - 1e-6], s = 2 mean|w|, n = 2^(b-1)."""

    def __init__(self, weight: torch.Tensor, grid: Grid, /) -> None:
        super().__init__()
        self.grid, self.zero = grid, (grid.low + grid.high) / 2  # -1/2 of a signed grid

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight on its grid, of the same shape; the gradient passes everywhere, as in OFQ's code."""
        rows = blocks(weight, self.grid)
        scale = self._step(weight)
        out = StraightThrough.apply(rows, rounded(rows.detach(), scale, self.zero, self.grid))
        return unblocks(out, weight.shape, self.grid)

    def freeze(self, weight: torch.Tensor, /) -> Frozen:
        """Return codes, scale and zero point of the weight."""
        scale = self._step(weight)
        zero = torch.full_like(scale, self.zero)
        return quantize(weight, scale, zero, self.grid), scale, zero

    def _step(self, weight: torch.Tensor) -> torch.Tensor:
        mean = _row_mean(weight.detach().abs(), self.grid)
        return stored_scale(2 * mean / 2 ** (self.grid.bits - 1), self.grid)


def _row_mean(weight: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Average each row of `blocks`, (rows, 1), without the zeros that fill up its last group."""
    return blocks(weight, grid).sum(1, keepdim=True) / blocks(torch.ones_like(weight), grid).sum(1, keepdim=True)
