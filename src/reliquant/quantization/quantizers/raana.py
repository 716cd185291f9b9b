"""RaanA (Yang et al. 2025): random Hadamard rotation, RaBitQ's grid, and bits where the loss feels them.

Inputs are rotated online (a power-of-two head, then a tail) and weights to match; each weight row is then rounded to
half steps, scaled to be unbiased. Before that, as by default in the authors' code (raana 0.1.0: `trick_centralize`,
`trick_norm_col`), the mean over a weight's rows is taken out (`centralize`), and of the rest the rows of largest norm,
the share `kept` of them, rounded down; both stay in floating point. The weight bits of the precision are an average:
AllocateBits gives each Linear its own, minimising sum_k a_k 2^-b_k with a_k = |dL/dH_k| |X_k| |W_k| / sqrt(d_k), where
L is the contrastive loss of a few pairs (Frobenius norms, of whole weights). Only Linears are treated so; convolutions
are rounded to nearest at the average bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from reliquant.grid import Bits, Grid
from reliquant.layers.surgery import insert_twins
from reliquant.layers.transforms import Rotation
from reliquant.layers.twins import Held, QuantLinear
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import calibrate_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rabitq import allocate_bits, rabitq_codes
from reliquant.quantization.rotation import rotate_input
from reliquant.quantization.sensitivity import sensitivities

REFUSES_OTHER = [
    ({"allocate": True}, "it gives each layer its own bits; leave out layers: other, or say allocate: false")
]

TOGETHER = 8  # layers whose gradients are held together; those of a whole tower would take as much as the model


def quantizer(
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    /,
    *,
    weight: Grid,
    activation: Grid,
    choices: list[Bits] = [2, 3, 4, 5, 6, 7, 8],  # noqa: B006  a literal, read from the source; never changed
    allocate: bool = True,
    centralize: bool = True,
    kept: float = 0.003,
    samples: int = 16,
    candidates: int = 64,
    momentum: float = 0.1,
    batch: int = 64,
    pairs: int = 512,
) -> None:
    """Quantize the named layers in place; `samples` pairs give sensitivities, the first `pairs` give inputs' ranges."""
    if not 0 <= kept < 1:
        raise ValueError(f"raana: kept must be at least 0 and below 1, not {kept}")
    grid = replace(weight, granularity="channel", symmetric=True, signed=True)
    made = insert_twins(clip.model, names, grid, activation)
    linears = {name: layer for name, layer in made.items() if isinstance(layer, QuantLinear)}
    if linears and allocate and not weight.floating:
        parts = [list(linears.items())[i : i + TOGETHER] for i in range(0, len(linears), TOGETHER)]
        felt = np.concatenate([sensitivities(clip, dict(part), proxy, samples) for part in parts])
        _require_felt(felt, proxy, samples)
        sizes = np.array([layer.weight.numel() for layer in linears.values()])
        for layer, bits in zip(linears.values(), allocate_bits(felt, sizes, weight.bits, choices), strict=True):
            layer.weight_grid = replace(layer.weight_grid, bits=bits)
    rng = np.random.default_rng(proxy.seed)
    for layer in linears.values():
        rotate_input(layer, Rotation(layer.weight.shape[1], rng, head_tail=True))
    calibrate_inputs(clip, made, proxy, momentum=momentum, batch=batch, pairs=pairs)
    for name, layer in made.items():
        if name in linears and not weight.floating:
            layer.settle()
            held, rest = held_out(layer.weight.detach(), kept, centralize=centralize)
            nothing = not centralize and not len(held.rows)
            codes = rabitq_codes(rest, layer.weight_grid.bits, candidates)
            layer.freeze(*codes, held=None if nothing else held)
        else:
            layer.freeze_absmax()


def _require_felt(felt: NDArray[np.float64], proxy: Proxy, samples: int) -> None:
    """Raise ValueError where the contrastive loss feels no layer, and so says nothing about which needs bits."""
    if felt.any():
        return
    pairs = proxy.captions[:samples]
    told = f"raana: the contrastive loss of the first {len(pairs)} pairs ({len(set(pairs))} different captions)"
    raise ValueError(f"{told} feels no layer; give more pairs with different captions, or say allocate: false")


def held_out(weight: torch.Tensor, share: float, /, *, centralize: bool) -> tuple[Held, torch.Tensor]:
    """Return what of a weight (o, d) stays in floating point, and the rest (o, d) to be rounded, 0 in the kept rows."""
    mean = weight.mean(0) if centralize else torch.zeros_like(weight[0])
    rest = weight - mean
    rows = rest.norm(dim=1).argsort(descending=True)[: int(len(weight) * share)]
    return Held(mean, rows, weight[rows].clone()), rest.index_fill(0, rows, 0)
