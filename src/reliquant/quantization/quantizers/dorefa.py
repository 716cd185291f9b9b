"""DoReFa (Zhou et al. 2016, Equations 8 and 9), rescaled so that a pretrained model keeps its range.

Weights pass through tanh and are rounded on 2^b evenly spaced levels from -1 to 1, none of which is 0; here they are
then multiplied by the largest weight of their row, which the paper's form loses. Inputs are clipped to a fixed range
and rounded in it; here it is the calibrated range instead of [0, 1].
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Unpack

import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.arithmetic import SMALLEST_SCALE, blocks, divided, quantize, rounded, stored_scale, unblocks
from reliquant.layers.twins import StaticInput
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import learn, require_static
from reliquant.quantization.observers import Range
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rules import Frozen, LearnedStep, StraightThrough
from reliquant.quantization.training_words import TrainingWords

REFUSES = [({"activation.dynamic": True}, "ranges of inputs are static; leave out dynamic")]


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
    require_static("dorefa", activation)
    weight = weight if weight.floating else replace(weight, symmetric=False)  # levels lie half a step beside 0
    grids = {"weight": weight, "activation": activation}
    learn(clip, names, proxy, saved, training, FixedRange, TanhWeight, **grids, watch=partial(Range, momentum))


class TanhWeight(nn.Module):
    """Round m tanh(w) / tanh(m), m = max|w| of a row, on 2^b levels from -m to m; the gradient is that of tanh."""

    def __init__(self, weight: torch.Tensor, grid: Grid, /) -> None:
        super().__init__()
        self.grid, self.zero = grid, (grid.low + grid.high) / 2

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight on its grid, of the same shape."""
        smooth, scale = self._bent(weight)
        out = StraightThrough.apply(smooth, rounded(smooth.detach(), scale, self.zero, self.grid))
        return unblocks(out, weight.shape, self.grid)

    def freeze(self, weight: torch.Tensor, /) -> Frozen:
        """Return codes, scale and zero point of the weight."""
        smooth, scale = self._bent(weight)
        zero = torch.full_like(scale, self.zero)
        return quantize(unblocks(smooth, weight.shape, self.grid), scale, zero, self.grid), scale, zero

    def _bent(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = blocks(weight, self.grid)
        largest = rows.detach().abs().amax(1, keepdim=True).clamp(min=SMALLEST_SCALE)
        step = divided(2 * largest, self.grid.high - self.grid.low)
        return rows.tanh() * (largest / largest.tanh()), stored_scale(step, self.grid)


class FixedRange(nn.Module):
    """Round an input on its calibrated grid; the gradient passes inside the range."""

    def __init__(self, calibrated: StaticInput, /) -> None:
        super().__init__()
        self.calibrated, self.scale = calibrated, nn.Buffer(torch.tensor(calibrated.scale))
        self.offset = nn.Buffer(torch.tensor(-calibrated.zero * calibrated.scale)) if calibrated.zero else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on its grid, float32, of the same shape."""
        return LearnedStep.apply(x.float(), self.scale, self.offset, self.calibrated.grid)

    def freeze(self) -> StaticInput:
        """Return the calibrated quantizer."""
        return self.calibrated
