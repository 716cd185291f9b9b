"""LSQ: learned step size (Esser et al. 2020), in the first author's form (PAPER.md 2; mark A).

Activations learn one scale a tensor, started from calibration; weights are rounded with absmax scales recomputed in
every forward, not learned.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reliquant.calibrate import calibrate_inputs
from reliquant.clip import Clip
from reliquant.fakequant import SMALLEST_SCALE, fake_quantize, weight_affine
from reliquant.grid import Grid
from reliquant.proxy import Proxy
from reliquant.resume import Checkpoints
from reliquant.surgery import insert_twins
from reliquant.train import train
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
    momentum: float = 0.1,
) -> None:
    """Calibrate the named layers, train them in place on the proxy pairs, and fix the codes."""
    if not activation.symmetric or activation.dynamic or activation.granularity != "tensor":
        raise ValueError("lsq learns one symmetric scale a tensor: activation takes no other granularity, nor dynamic")
    made = insert_twins(clip.model, names, weight, activation)
    calibrate_inputs(clip, made, proxy, momentum=momentum, batch=batch)
    for layer in made.values():
        layer.weight_rule = None if weight.floating else AbsMaxWeight(weight)
        if isinstance(layer.input, StaticInput):
            layer.input = LearnedScale(activation, layer.input.scale)
    scales = [layer.input.scale for layer in made.values() if isinstance(layer.input, LearnedScale)]
    words = {"iterations": iterations, "batch": batch, "lr": lr, "scale_lr": scale_lr}
    train(clip, proxy, saved, losses, scales, **words, weight_decay=weight_decay, clip_norm=clip_norm)
    for layer in made.values():
        if isinstance(layer.input, LearnedScale):
            layer.input = StaticInput(activation, layer.input.scale.clamp(min=SMALLEST_SCALE).item())
        layer.freeze_absmax()


class AbsMaxWeight(nn.Module):
    """Round a weight on the grid that covers it; the gradient passes straight through."""

    def __init__(self, grid: Grid, /) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight on its grid, of the same shape."""
        return fake_quantize(weight, *weight_affine(weight.detach(), self.grid), self.grid)


class LearnedScale(nn.Module):
    """Round an input with one learned scale."""

    def __init__(self, grid: Grid, scale: float, /) -> None:
        super().__init__()
        self.grid, self.scale = grid, nn.Parameter(torch.tensor(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on its grid, of the same shape."""
        return LearnedStep.apply(x, self.scale.clamp(min=SMALLEST_SCALE), self.grid.low, self.grid.high)


class LearnedStep(torch.autograd.Function):
    """round(clip(x / s, low, high)) * s with the gradients of LSQ (Equations 1, 3 and 5)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor, low: int, high: int) -> torch.Tensor:
        """Return x on the grid; x and the scale are kept for the gradient."""
        ctx.save_for_backward(x, scale)
        ctx.bounds = low, high
        return (x / scale).clamp_(low, high).round_().mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        """Pass the gradient inside the range; for the scale sum g (q - x/s) inside and g q outside, / sqrt(N Qp)."""
        x, scale = ctx.saved_tensors
        low, high = ctx.bounds
        ratio = x / scale
        inside = (ratio > low) & (ratio < high)  # LSQ: on the value before rounding
        step = ratio.clamp(low, high).round_().sub_(torch.where(inside, ratio, 0))
        grad_scale = (grad * step).sum() / (x.numel() * high) ** 0.5
        return grad * inside, grad_scale.reshape(scale.shape), None, None
