"""PACT: a learned clipping level of activations (Choi et al. 2018), in a signed form for transformers.

The paper clips ReLU outputs to [0, alpha]; inputs here have both signs and are clipped to [-alpha', alpha], where
alpha' = alpha |low| / high is the other end of the signed grid. Weights are rounded with absmax scales as under LSQ, so
that only the activations differ.
"""

from __future__ import annotations

from functools import partial
from typing import Unpack

import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.arithmetic import divided, rounded
from reliquant.layers.twins import StaticInput
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import learn, require_symmetric
from reliquant.quantization.observers import Range
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rules import AbsMaxWeight, Learned, StraightThrough
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
    alpha_l2: float = 1e-4,
    momentum: float = 0.1,
    **training: Unpack[TrainingWords],
) -> None:
    """Calibrate the named layers, train them in place, and fix the codes.

    `alpha_l2` weighs alpha^2 in the loss.
    """
    require_symmetric("pact", activation)
    grids = {"weight": weight, "activation": activation}
    rule = partial(LearnedClip, l2=alpha_l2)
    learn(clip, names, proxy, saved, training, rule, AbsMaxWeight, **grids, watch=partial(Range, momentum))


class LearnedClip(nn.Module):
    """Clip an input at a learned level and round it; d out / d alpha is 1 above, -|low| / high below, 0 inside."""

    def __init__(self, calibrated: StaticInput, /, *, l2: float) -> None:
        super().__init__()
        self.grid, self.l2 = calibrated.grid, l2
        self.alpha = Learned(torch.tensor(calibrated.scale * self.grid.high))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on its grid, float32, of the same shape."""
        alpha = self.alpha()
        clipped = torch.clamp(x.float(), alpha * (self.grid.low / self.grid.high), alpha)
        value = rounded(clipped.detach(), divided(alpha.detach(), self.grid.high), 0, self.grid)
        return StraightThrough.apply(clipped, value)

    def penalty(self) -> torch.Tensor:
        """Return l2 alpha^2, which the loss takes (Choi et al. 2018, section 3): it makes the range shrink."""
        return self.l2 * self.alpha().square()

    def freeze(self) -> StaticInput:
        """Return the quantizer with the level as it is now."""
        return StaticInput(self.grid, self.alpha.item() / self.grid.high)
