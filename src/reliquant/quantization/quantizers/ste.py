"""Plain QAT: min-max grids, of which none is learned, and straight-through gradients (Jacob et al. 2018, section 3).

Weights are rounded with absmax scales, recomputed in every forward; the range of an input is a moving average that goes
on moving during training.
"""

from __future__ import annotations

from functools import partial
from typing import Unpack

import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine
from reliquant.layers.twins import StaticInput
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import learn, require_static
from reliquant.quantization.observers import Range
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rules import AbsMaxWeight, LearnedStep
from reliquant.quantization.training_words import TrainingWords

FORMATS = True  # it takes small floats and blocks, too


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
    """Calibrate the named layers, train them in place; `momentum` is also that of the ranges during training."""
    if not activation.dynamic:
        require_static("ste", activation)
    grids = {"weight": weight, "activation": activation}
    rule = partial(MovingRange, momentum=momentum)
    learn(clip, names, proxy, saved, training, rule, AbsMaxWeight, **grids, watch=partial(Range, momentum))


class MovingRange(nn.Module):
    """Round an input on the grid that covers its moving range; the gradient passes inside it."""

    def __init__(self, calibrated: StaticInput, /, *, momentum: float) -> None:
        super().__init__()
        self.grid, self.momentum = calibrated.grid, momentum
        first = -self.grid.high if self.grid.symmetric else self.grid.low
        ends = ((code - calibrated.zero) * calibrated.scale for code in (first, self.grid.high))
        self.low, self.high = (nn.Buffer(torch.tensor(float(end))) for end in ends)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on the grid, float32, of the same shape; in training, x first moves the range."""
        if self.training:
            low, high = x.detach().float().aminmax()
            if self.grid.symmetric:
                high = torch.maximum(-low, high)
                low = -high
            self.low.lerp_(low, self.momentum)
            self.high.lerp_(high, self.momentum)
        scale, zero = affine(self.low, self.high, self.grid)
        offset = None if self.grid.symmetric else -zero * scale
        return LearnedStep.apply(x.float(), scale, offset, self.grid)

    def freeze(self) -> StaticInput:
        """Return the quantizer with the range as it is now."""
        scale, zero = affine(self.low, self.high, self.grid)
        return StaticInput(self.grid, scale.item(), int(zero.item()))
