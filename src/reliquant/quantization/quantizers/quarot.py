"""QuaRot (Ashkboos et al. 2024): rotate away the outliers of the residual stream, then round to nearest or by GPTQ.

In ViTs and text transformers each LayerNorm is fused into the Linears that read it, the stream is rotated by a
randomized Hadamard matrix, and the inputs of the attention output and of the second MLP layer are rotated online; for
the former that takes the place of the published rotation of values within a head. ConvNeXt has no stream that may be
rotated (depthwise convolutions read it): its Linears rotate their inputs online, its Conv2d are rounded to nearest.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import calibrate_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.moments import gptq
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rotation import rotate

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
    weights: Literal["rtn", "gptq"] = "rtn",
    damp: float = 0.01,
    block: int = 128,
    act_order: bool = False,
    momentum: float = 0.1,
    batch: int = 64,
    pairs: int = 256,
) -> None:
    """Rotate and quantize the named layers in place; signs are drawn from the proxy's seed."""
    made = insert_twins(clip.model, names, weight, activation)
    rotate(clip, made, proxy, np.random.default_rng(proxy.seed))
    calibrate_inputs(clip, made, proxy, momentum=momentum, batch=batch, pairs=pairs)
    if weights == "gptq":
        gptq(clip, made, proxy, damp=damp, block=block, act_order=act_order, batch=batch, pairs=pairs)
    else:
        for layer in made.values():
            layer.freeze_absmax()
