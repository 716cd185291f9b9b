"""RepQ-ViT (Li et al. 2023, Equations 8 to 12): one scale for LayerNorm's uneven channels, without loss.

The input of Linears that a LayerNorm feeds is calibrated per channel. Dividing the LayerNorm's output by r1 = s /
mean(s) and shifting it by s (z - mean(z)), which the weights and biases of its readers undo, turns that into one scale
and zero point per tensor. Everything else is rounded to nearest (the paper's log-sqrt2 grid is for softmax, which stays
FP32 here). The published form is `activation: {symmetric: false}`; a symmetric grid only gets the scales.
"""

from __future__ import annotations

import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine
from reliquant.layers.surgery import insert_twins
from reliquant.layers.twins import StaticInput
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import fix_inputs, watch_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.fold import divide_output, layer_norm_readers, shift_output
from reliquant.quantization.observers import ChannelRange, Range
from reliquant.quantization.proxy import Proxy

SMALLEST_SHARE = 1e-2  # of the mean scale: a channel that never fires must not blow up LayerNorm


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
    batch: int = 64,
    pairs: int = 512,
) -> None:
    """Reparametrize and quantize the named layers in place; the first `pairs` of the proxy fix the ranges of inputs."""
    if activation.dynamic:
        raise ValueError("repq fixes one static scale per tensor: activation takes no dynamic: true")
    made = insert_twins(clip.model, names, weight, activation)
    readers = {} if activation.floating else layer_norm_readers(clip, names, proxy)
    fed = {name for group in readers.values() for name in group}
    watched = [] if activation.floating else made
    observers = {name: ChannelRange(momentum) if name in fed else Range(momentum) for name in watched}
    watch_inputs(clip, observers, proxy, batch=batch, pairs=pairs)
    fix_inputs(made, observers)
    for norm, group in readers.items():
        scale, zero = affine(*_bounds(observers[group[0]], activation), activation)
        scale = scale.clamp(min=SMALLEST_SHARE * scale.mean().item())
        one_scale, one_zero = scale.mean(), zero.mean().round()
        layers = [made[name] for name in group]
        module = clip.model.get_submodule(norm)
        shift_output(module, scale * (zero - one_zero), layers)
        divide_output(module, scale / one_scale, layers)
        for layer in layers:
            layer.input = StaticInput(activation, one_scale.item(), int(one_zero.item()))
    for layer in made.values():
        layer.freeze_absmax()


def _bounds(seen: ChannelRange, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the range of each channel, (d,)."""
    low, high = seen.channels()
    largest = torch.maximum(-low, high)
    return (-largest, largest) if grid.symmetric else (low, high)
