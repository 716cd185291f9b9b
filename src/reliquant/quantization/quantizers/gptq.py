"""GPTQ (Frantar et al. 2023): round weights column by column, and correct the columns to come after each.

The Hessian 2 X X^T is that of the inputs which the quantized blocks before give, rounded as the layer will round them.
Only Linears are treated so; convolutions are rounded to nearest.
"""

from __future__ import annotations

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import calibrate_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.moments import gptq
from reliquant.quantization.proxy import Proxy

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
    damp: float = 0.01,
    block: int = 128,
    act_order: bool = False,
    momentum: float = 0.1,
    batch: int = 64,
    pairs: int = 256,
) -> None:
    """Quantize the named layers in place; the first `pairs` of the proxy give ranges of inputs and Hessians."""
    if damp <= 0 or block < 1:
        raise ValueError(f"gptq: needs damp > 0 and block >= 1, not {damp} and {block}")
    made = insert_twins(clip.model, names, weight, activation)
    calibrate_inputs(clip, made, proxy, momentum=momentum, batch=batch, pairs=pairs)
    gptq(clip, made, proxy, damp=damp, block=block, act_order=act_order, batch=batch, pairs=pairs)
