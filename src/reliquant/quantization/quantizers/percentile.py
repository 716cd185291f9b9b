"""Round to nearest on ranges that leave out the largest values (Wu et al. 2020, arXiv 2004.09602, section 5: 99.99 %).

Inputs are clipped at a percentile of each calibration batch, averaged over batches; weights are clipped at
`weight_percent` of each row, by default not at all, as published. Dynamic inputs keep their whole range.
"""

from __future__ import annotations

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine, quantize
from reliquant.layers.surgery import insert_twins
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import fix_inputs, is_static, watch_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.observers import Percentile
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.ranges import percentile_bounds, weight_rows

FORMATS = True  # it takes small floats and blocks, too
LOCAL = True  # it changes each layer by itself, so that `mixed` can try it there alone


def quantizer(
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    /,
    *,
    weight: Grid,
    activation: Grid,
    percent: float = 99.99,
    weight_percent: float = 100.0,
    momentum: float = 0.1,
    batch: int = 64,
    pairs: int = 512,
) -> None:
    """Quantize the named layers in place; the first `pairs` of the proxy fix the ranges of inputs."""
    for word, value in (("percent", percent), ("weight_percent", weight_percent)):
        if not 50 < value <= 100:
            raise ValueError(f"percentile: {word} must be above 50 and at most 100, not {value}")
    made = insert_twins(clip.model, names, weight, activation)
    observers = {name: Percentile(percent, momentum, activation) for name, layer in made.items() if is_static(layer)}
    watch_inputs(clip, observers, proxy, batch=batch, pairs=pairs)
    fix_inputs(made, observers)
    for layer in made.values():
        if not layer.weight_grid.floating:
            layer.settle()
            grid, rows = layer.weight_grid, weight_rows(layer.weight, layer.weight_grid)
            scale, zero = affine(*percentile_bounds(rows, weight_percent, grid), grid)
            layer.freeze(quantize(layer.weight.detach(), scale, zero, grid), scale, zero)
