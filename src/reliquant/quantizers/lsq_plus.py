"""LSQ+: learned scale and learned offset of activations, learned scales of weights (Bhalgat et al. 2020).

Starts (section 3.3): weights s = max(|mu - 3 sigma|, |mu + 3 sigma|) / 2^(b-1) a row; activations the scale and offset
with the least squared error on the proxy's inputs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from reliquant.clip import Clip
from reliquant.fakequant import SMALLEST_SCALE, blocks
from reliquant.grid import Grid
from reliquant.learned import LearnedStep, LearnedWeight, learn, require_static
from reliquant.observe import observed
from reliquant.proxy import Proxy, embed
from reliquant.resume import Checkpoints
from reliquant.train import Training
from reliquant.twins import StaticInput


def quantizer(
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    /,
    *,
    weight: Grid,
    activation: Grid,
    losses: list[dict] = [{"loss": "contrastive"}],  # noqa: B006  literals are the schema; never changed
    iterations: int = 200,
    batch: int = 64,
    lr: float = 1e-5,
    scale_lr: float = 1e-4,
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
    warmup: float = 0.1,
    schedule: Literal["cosine", "constant"] = "cosine",
    bf16: bool = False,
    snapshots: list[int] = [],  # noqa: B006
    momentum: float = 0.1,
) -> None:
    """Calibrate the named layers, train them in place on the proxy pairs, and fix the codes."""
    require_static("lsq_plus", activation)
    activation = activation if activation.floating else replace(activation, symmetric=False)  # it has an offset
    seen = _sampled(clip, [] if activation.floating else names, proxy, batch)
    training = Training(
        losses=losses, iterations=iterations, batch=batch, lr=lr, scale_lr=scale_lr, weight_decay=weight_decay,
        clip_norm=clip_norm, warmup=warmup, schedule=schedule, bf16=bf16, snapshots=snapshots,
    )  # fmt: skip
    grids = {"weight": weight, "activation": activation}
    learn(
        clip,
        names,
        proxy,
        saved,
        training,
        lambda name, start: LearnedOffset(start, seen[name].values),
        _three_sigma,
        **grids,
        momentum=momentum,
    )


class LearnedOffset(nn.Module):
    """Round an input with a learned scale and offset, started where the samples' squared error is least."""

    def __init__(self, calibrated: StaticInput, samples: torch.Tensor, /) -> None:
        super().__init__()
        self.grid = calibrated.grid
        scale, offset = _least_error(samples, self.grid)
        self.scale, self.offset = nn.Parameter(scale), nn.Parameter(offset)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on its grid, float32, of the same shape."""
        scale = self.scale.clamp(min=SMALLEST_SCALE)
        return LearnedStep.apply(x.float(), scale, self.offset, self.grid.low, self.grid.high)

    def freeze(self) -> StaticInput:
        """Return the quantizer with scale and offset as they are now; the zero point -o/s is no whole number."""
        scale = max(self.scale.item(), SMALLEST_SCALE)
        return StaticInput(self.grid, scale, -self.offset.item() / scale)


class Samples:
    """Keep a spread of at most `each` values of every batch of inputs."""

    def __init__(self, each: int = 1024, /) -> None:
        self.each, self.parts = each, []

    def update(self, x: torch.Tensor, /) -> None:
        """Take one batch of inputs into account; raise ValueError on NaN or infinite values."""
        flat = x.detach().float().flatten()
        self.parts += [flat[:: -(-len(flat) // self.each)], torch.stack(flat.aminmax())]
        if not torch.isfinite(self.parts[-1]).all():
            raise ValueError("NaN or infinite values")

    @property
    def values(self) -> torch.Tensor:
        """All that was kept, with the lowest and highest value of every batch."""
        return torch.cat(self.parts)


def _sampled(clip: Clip, names: list[str], proxy: Proxy, batch: int) -> dict[str, Samples]:
    seen = {name: Samples() for name in names}
    with torch.no_grad(), observed(clip.model, seen):
        for pairs in proxy.in_order(clip, batch) if seen else ():
            embed(clip, *pairs)
    return seen


def _least_error(samples: torch.Tensor, grid: Grid, steps: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Search the scale and offset with the least squared error: both ends of the range, shrunk in steps."""
    low, high = samples.aminmax()
    best = None
    for i in range(steps):
        for j in range(steps):
            start, end = low * (1 - i / steps), high * (1 - j / steps)
            scale = ((end - start) / (grid.high - grid.low)).clamp(min=SMALLEST_SCALE)
            offset = start - grid.low * scale
            out = LearnedStep.apply(samples, scale, offset, grid.low, grid.high)
            error = (out - samples).square().mean()
            if best is None or error < best[0]:
                best = error, scale, offset
    return best[1:]


def _three_sigma(weight: torch.Tensor, grid: Grid) -> LearnedWeight:
    rows = blocks(weight, grid)
    mean, spread = rows.mean(1, keepdim=True), 3 * rows.std(1, keepdim=True, correction=0)
    return LearnedWeight(torch.maximum((mean - spread).abs(), (mean + spread).abs()) / 2 ** (grid.bits - 1), grid)
