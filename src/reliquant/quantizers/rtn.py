"""Round to nearest: absmax weights, calibrated activations (the first author's quantizer, PAPER.md 2; mark A)."""

from __future__ import annotations

from reliquant.calibrate import calibrate_inputs
from reliquant.clip import Clip
from reliquant.grid import Grid
from reliquant.proxy import Proxy
from reliquant.resume import Checkpoints
from reliquant.surgery import insert_twins


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
) -> None:
    """Quantize the named layers in place; `momentum` and `batch` are those of the moving average of input ranges."""
    made = insert_twins(clip.model, names, weight, activation)
    calibrate_inputs(clip, made, proxy, momentum=momentum, batch=batch)
    for layer in made.values():
        layer.freeze_absmax()
