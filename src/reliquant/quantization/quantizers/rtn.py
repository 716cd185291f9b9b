"""Round to nearest: absmax weights, calibrated activations; the first author's quantizer (docs/fidelity.md, mark A)."""

from __future__ import annotations

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import calibrate_inputs
from reliquant.quantization.checkpoints import Checkpoints
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
    momentum: float = 0.1,
    batch: int = 64,
    pairs: int = 512,
) -> None:
    """Quantize the named layers in place; moving averages over the first `pairs` of the proxy give inputs' ranges."""
    made = insert_twins(clip.model, names, weight, activation)
    calibrate_inputs(clip, made, proxy, momentum=momentum, batch=batch, pairs=pairs)
    for layer in made.values():
        layer.freeze_absmax()
