"""SmoothQuant (Xiao et al. 2023, Equations 3 and 4): move input outliers into the weights, then round to nearest.

The output of each LayerNorm that only Linears read (qkv and fc1 of a ViT, fc1 of a ConvNeXt) is divided by
s_j = max|X_j|^alpha / max|W_j|^(1 - alpha) per channel, and its readers' columns are multiplied by it. The method says
nothing of other layers: they are rounded to nearest as they are.
"""

from __future__ import annotations

import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import fix_inputs, is_static, watch_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.fold import divide_output, layer_norm_readers
from reliquant.quantization.observers import ChannelRange, Range
from reliquant.quantization.proxy import Proxy

SMALLEST = 1e-5

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
    alpha: float = 0.5,
    momentum: float = 0.1,
    batch: int = 64,
    pairs: int = 512,
) -> None:
    """Smooth and quantize the named layers in place, in one pass over the first `pairs` pairs of the proxy."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"smoothquant: alpha must be from 0 to 1, not {alpha}")
    made = insert_twins(clip.model, names, weight, activation)
    readers = layer_norm_readers(clip, names, proxy)
    fed = {name for group in readers.values() for name in group}
    watched = [name for name, layer in made.items() if name in fed or is_static(layer)]
    observers = {name: ChannelRange(momentum) if name in fed else Range(momentum) for name in watched}
    watch_inputs(clip, observers, proxy, batch=batch, pairs=pairs)
    for norm, group in readers.items():
        layers = [made[name] for name in group]
        factor = smoothing_factor(observers[group[0]].absmax, [layer.weight.detach() for layer in layers], alpha)
        divide_output(clip.model.get_submodule(norm), factor, layers)
        for name in group:
            observers[name].rescale(factor)
    fix_inputs(made, observers)
    for layer in made.values():
        layer.freeze_absmax()


def smoothing_factor(absmax: torch.Tensor, weights: list[torch.Tensor], alpha: float, /) -> torch.Tensor:
    """Return s (d,) for inputs with these largest absolute values (d,) and the weights, each (o, d), that read them."""
    largest = torch.cat(weights).abs().amax(0).clamp(min=SMALLEST)
    return (absmax**alpha / largest ** (1 - alpha)).clamp(min=SMALLEST)
