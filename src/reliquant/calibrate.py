"""Fix the grids of a model's inputs from what flows through it on the proxy pairs."""

from __future__ import annotations

import torch

from reliquant.clip import Clip
from reliquant.fakequant import affine
from reliquant.observe import Range, observed
from reliquant.proxy import Proxy, embed
from reliquant.twins import DynamicInput, StaticInput, Twin


def calibrate_inputs(clip: Clip, made: dict[str, Twin], proxy: Proxy, /, *, momentum: float, batch: int) -> None:
    """Give each twin its input quantizer: a static scale from moving averages over the proxy, or a dynamic one.

    Symmetric grids cover the averaged absolute maximum, others the averaged lowest and highest input. Raises ValueError
    naming the layer when its inputs hold NaN.
    """
    grids = {name: layer.activation_grid for name, layer in made.items()}
    static = {name: Range(momentum) for name, grid in grids.items() if not (grid.floating or grid.dynamic)}
    if static:
        with torch.no_grad(), observed(clip.model, static):
            for pairs in proxy.in_order(clip, batch):
                embed(clip, *pairs)
    for name, layer in made.items():
        grid = grids[name]
        if grid.floating:
            continue
        if grid.dynamic:
            layer.input = DynamicInput(grid)
            continue
        seen = static[name]
        if seen.absmax is None:
            raise ValueError(f"calibration: {name} saw no input; is it part of the model's forward?")
        low, high = (-seen.absmax, seen.absmax) if grid.symmetric else (seen.low, seen.high)
        scale, zero = affine(low, high, grid)
        layer.input = StaticInput(grid, scale.item(), int(zero.item()))
