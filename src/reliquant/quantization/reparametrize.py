"""RepQ-ViT's scale reparametrization (Li et al. 2023, Equations 8 to 12), which ERQ starts with, too.

The input of Linears that a LayerNorm feeds is calibrated per channel. Dividing the LayerNorm's output by r1 = s /
mean(s) and shifting it by s (z - mean(z)), which the weights and biases of its readers undo, turns that into one scale
and zero point per tensor.
"""

from __future__ import annotations

import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine
from reliquant.layers.twins import StaticInput, Twin
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import fix_inputs, is_static, watch_inputs
from reliquant.quantization.fold import divide_output, layer_norm_readers, shift_output
from reliquant.quantization.observers import ChannelRange, Range
from reliquant.quantization.proxy import Proxy

SMALLEST_SHARE = 1e-2  # of the mean scale: a channel that never fires must not blow up LayerNorm


def reparametrize(
    clip: Clip, made: dict[str, Twin], proxy: Proxy, /, *, momentum: float, batch: int, pairs: int
) -> None:
    """Fold channels' scales into LayerNorms, and give every twin the static quantizer of its input.

    Inputs that no LayerNorm feeds are covered as in round to nearest, and so are those whose readers have different
    precisions; those in floating point stay as they are.
    """
    watched = [name for name, layer in made.items() if is_static(layer)]
    readers = layer_norm_readers(clip, list(made), proxy) if watched else {}
    grids = {norm: {made[name].activation_grid for name in group} for norm, group in readers.items()}
    readers = {norm: group for norm, group in readers.items() if len(grids[norm]) == 1 and group[0] in watched}
    fed = {name for group in readers.values() for name in group}
    observers = {name: ChannelRange(momentum) if name in fed else Range(momentum) for name in watched}
    watch_inputs(clip, observers, proxy, batch=batch, pairs=pairs)
    fix_inputs(made, observers)
    for norm, group in readers.items():
        (grid,) = grids[norm]
        scale, zero = affine(*_bounds(observers[group[0]], grid), grid)
        scale = scale.clamp(min=SMALLEST_SHARE * scale.mean().item())
        one_scale, one_zero = scale.mean(), zero.mean().round()
        layers = [made[name] for name in group]
        module = clip.model.get_submodule(norm)
        shift_output(module, scale * (zero - one_zero), layers)
        divide_output(module, scale / one_scale, layers)
        for layer in layers:
            layer.input = StaticInput(grid, one_scale.item(), int(one_zero.item()))


def _bounds(seen: ChannelRange, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the range of each channel, (d,)."""
    low, high = seen.channels()
    largest = torch.maximum(-low, high)
    return (-largest, largest) if grid.symmetric else (low, high)
