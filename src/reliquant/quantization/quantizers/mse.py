"""Round to nearest on the ranges with the least mean squared error (Nagel et al. 2021, Equation 10).

Ranges are searched among shares of the whole range, for each row of a weight and for each layer's input, of which the
calibration pairs give a sample of values; `smallest` is the least share that is tried. Dynamic inputs keep their whole
range.
"""

from __future__ import annotations

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine, quantize
from reliquant.layers.surgery import insert_twins
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import fix_inputs, is_static, watch_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.observers import Sample
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.ranges import mse_bounds, weight_rows

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
    candidates: int = 60,
    smallest: float = 0.02,
    sample: int = 16384,
    batch: int = 64,
    pairs: int = 512,
) -> None:
    """Quantize the named layers in place; `sample` values per batch of the first `pairs` pairs give inputs' ranges."""
    if candidates < 1 or not 0 < smallest <= 1:
        raise ValueError(f"mse: needs candidates >= 1 and 0 < smallest <= 1, not {candidates} and {smallest}")
    made = insert_twins(clip.model, names, weight, activation)
    observers = {name: Sample(sample, candidates, smallest) for name, layer in made.items() if is_static(layer)}
    watch_inputs(clip, observers, proxy, batch=batch, pairs=pairs)
    fix_inputs(made, observers)
    for layer in made.values():
        if not layer.weight_grid.floating:
            layer.settle()
            grid, rows = layer.weight_grid, weight_rows(layer.weight, layer.weight_grid)
            scale, zero = affine(*mse_bounds(rows, grid, candidates, smallest), grid)
            layer.freeze(quantize(layer.weight.detach(), scale, zero, grid), scale, zero)
