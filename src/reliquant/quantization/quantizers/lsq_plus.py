"""LSQ+: learned scale and learned offset of activations, learned scales of weights (Bhalgat et al. 2020).

Each row of weights starts at s = max(|mu - 3 sigma|, |mu + 3 sigma|) / 2^(b-1), activations start at the scale and
offset with the least squared error on the proxy's inputs (section 3.3).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Unpack

import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.arithmetic import blocks
from reliquant.layers.twins import StaticInput
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import learn, require_static
from reliquant.quantization.observers import Sample
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rules import Learned, LearnedStep, LearnedWeight
from reliquant.quantization.training_words import TrainingWords

REFUSES = [
    ({"activation.dynamic": True}, "inputs learn one static scale and offset; leave out dynamic"),
    ({"weight.symmetric": False}, "scales of weights learn a symmetric range; leave out weight: {symmetric: false}"),
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
    sample: int = 16384,
    candidates: int = 60,
    smallest: float = 0.2,
    **training: Unpack[TrainingWords],
) -> None:
    """Calibrate the named layers, train them in place on the proxy pairs, and fix the codes.

    An input's first range is the best of `candidates` shares, from `smallest` to 1, of the whole range of `sample`
    values per batch.
    """
    require_static("lsq_plus", activation)
    activation = activation if activation.floating else replace(activation, symmetric=False)  # it has an offset
    grids = {"weight": weight, "activation": activation}
    watch = partial(Sample, sample, candidates, smallest)
    learn(clip, names, proxy, saved, training, LearnedOffset, _three_sigma, **grids, watch=watch)


class LearnedOffset(nn.Module):
    """Round an input with a learned scale and a learned offset.

    The offset is learned as a share of the calibrated range, so that one learning rate moves both ends of a range
    alike, however small it is.
    """

    def __init__(self, calibrated: StaticInput, /) -> None:
        super().__init__()
        self.grid, self.scale = calibrated.grid, Learned(torch.tensor(calibrated.scale))
        self.start = -calibrated.zero * calibrated.scale
        self.range = calibrated.scale * (self.grid.high - self.grid.low)
        self.moved = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on its grid, float32, of the same shape."""
        return LearnedStep.apply(x.float(), self.scale(), self.offset(), self.grid)

    def offset(self) -> torch.Tensor:
        """Return the offset as it is now."""
        return self.start + self.range * self.moved

    def freeze(self) -> StaticInput:
        """Return the quantizer with scale and offset as they are now; the zero point -o/s need not be whole."""
        scale = self.scale.item()
        return StaticInput(self.grid, scale, -self.offset().item() / scale)


def _three_sigma(weight: torch.Tensor, grid: Grid) -> LearnedWeight:
    rows = blocks(weight, grid)
    mean, spread = rows.mean(1, keepdim=True), 3 * rows.std(1, keepdim=True, correction=0)
    return LearnedWeight(torch.maximum((mean - spread).abs(), (mean + spread).abs()) / 2 ** (grid.bits - 1), grid)
