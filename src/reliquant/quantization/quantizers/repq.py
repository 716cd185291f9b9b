"""RepQ-ViT (Li et al. 2023, Equations 8 to 12): one scale for LayerNorm's uneven channels, without loss.

The input of Linears that a LayerNorm feeds is calibrated per channel. Dividing the LayerNorm's output by r1 = s /
mean(s) and shifting it by s (z - mean(z)), which the weights and biases of its readers undo, turns that into one scale
and zero point per tensor. Everything else is rounded to nearest. The paper's log-sqrt2 grid is for the probabilities of
attention, which a scheme rounds by `layers: {attention: {image: all, probabilities: log_sqrt2}}`. The published form is
`activation: {symmetric: false}`; a symmetric grid only gets the scales.
"""

from __future__ import annotations

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.reparametrize import reparametrize

REFUSES = [({"activation.dynamic": True}, "it fixes one static scale per tensor; leave out dynamic")]


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
    reparametrize(clip, made, proxy, momentum=momentum, batch=batch, pairs=pairs)
    for layer in made.values():
        layer.freeze_absmax()
