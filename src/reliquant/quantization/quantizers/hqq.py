"""HQQ: half-quadratic quantization of weights (Badri and Shaji 2023), without data.

Groups of weights get an asymmetric grid whose zero point, a real number, is optimised so that the error is sparse:
alternately W_e = shrink_p(W - W_r) and zero = mean(W_q - (W - W_e) / scale). Inputs, where they are rounded at all, are
calibrated as in round to nearest. Linear and Conv2d are treated alike: a group lies within one output channel.
`grid: scheme` compares it with other methods on their grid; zero points, being no codes, still take 16 bits of a group
or 32 of a channel where those of other methods take the bits of a code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import HALF, blocks, nearest_codes, quantize, stored_scale
from reliquant.layers.surgery import insert_twins
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import calibrate_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy

LOCAL = True  # it changes each layer by itself, so that `mixed` can try it there alone
LARGEST_INVERSE = 2e4  # the reference's floor of the scale, inverted
CHUNK = 2**17  # weights that a thread works on at a time, so that they stay in the cache from one pass to the next

REFUSES = [
    (
        {"grid": "scheme", "weight.symmetric": True},
        "grid: scheme optimises zero points; say weight: {symmetric: false}",
    ),
    (
        {"grid": "scheme", "weight.granularity": "tensor"},
        "grid: scheme optimises a zero point of each channel or group; say weight: {granularity: channel} or group",
    ),
]


def quantizer(
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    /,
    *,
    weight: Grid,
    activation: Grid,
    grid: Literal["own", "scheme"] = "own",
    group: int = 64,
    norm: float = 0.7,
    beta: float = 10.0,
    kappa: float = 1.01,
    iterations: int = 20,
    momentum: float = 0.1,
    batch: int = 64,
    pairs: int = 512,
) -> None:
    """Quantize the named layers in place; the first `pairs` of the proxy fix the ranges of inputs.

    The grid is HQQ's `own`, of which the precision gives the bits, or that of the `scheme`, per channel or group, which
    must be asymmetric. Raises ValueError for other grids of the scheme.
    """
    if grid == "scheme" and (weight.symmetric or weight.granularity == "tensor"):
        raise ValueError(
            "hqq optimises a zero point of each channel or group: grid: scheme needs weight: {symmetric: false} and "
            f"granularity channel or group, not symmetric: {str(weight.symmetric).lower()}, {weight.granularity}"
        )
    shared = weight if grid == "scheme" else replace(weight, granularity="group", group=group)
    shared = replace(shared, symmetric=False, signed=False)
    made = insert_twins(clip.model, names, shared, activation)
    calibrate_inputs(clip, made, proxy, momentum=momentum, batch=batch, pairs=pairs)
    for layer in made.values():
        if not layer.weight_grid.floating:
            value = layer.weight.detach().float()
            own = layer.weight_grid
            scale, zero = optimise(_rows(value, own), own, norm, beta, kappa, iterations)
            layer.freeze(quantize(value, scale, zero, own), scale, zero)


@torch.no_grad()
def optimise(
    rows: torch.Tensor, grid: Grid, norm: float, beta: float, kappa: float, iterations: int, /
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and zero point, each (rows, 1) and as the grid stores them.

    It stops as soon as the mean absolute error no longer falls.
    """
    low, high = (edge[:, None] for edge in rows.aminmax(dim=1))
    scale = 1 / (grid.high / (high - low)).clamp(max=LARGEST_INVERSE)
    zero = -low / scale
    if grid.scales_as == "fp16":
        alike = zero.abs() > HALF.max  # almost constant rows, far from 0
        scale = torch.where(alike, low.abs() / grid.high, scale)  # the grid reaches from 0 to them
        zero = torch.where(alike, (low < 0) * grid.high, zero)
    if grid.bits == 4:
        zero = zero.round()
    best, least = zero, torch.inf
    for _ in range(iterations):
        mean, following = _step(rows, scale, zero, grid, norm, beta)
        if mean >= least:
            break
        best, least, zero = zero, mean, following
        beta *= kappa
    if grid.scales_as == "fp16":
        best = best.clamp(-HALF.max, HALF.max).half().to(best.dtype)
    return stored_scale(scale, grid), best


def _step(
    rows: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, norm: float, beta: float
) -> tuple[float, torch.Tensor]:
    """Return the mean absolute error of the weights with these zero points, and the zero points that follow.

    The latter are wanted of all steps but the last, and cost less at once than in another pass.
    """
    sizes, following = torch.empty_like(rows), torch.empty_like(zero)
    at_once = CHUNK * torch.get_num_threads() if rows.device.type == "cpu" else rows.numel()
    parts = (each.split(max(1, at_once // rows.shape[1])) for each in (rows, scale, zero, sizes, following))
    for part, scales, zeros, size, after in zip(*parts, strict=True):
        codes = nearest_codes(part, scales, zeros, grid)
        error = part - (codes - zeros).mul_(scales)
        torch.abs(error, out=size)
        restored = _shrink(error, norm, beta).neg_().add_(part).div_(scales)  # (W - W_e) / scale
        torch.mean(codes.sub_(restored), 1, keepdim=True, out=after)
    return sizes.mean().item(), following


def _shrink(x: torch.Tensor, norm: float, beta: float) -> torch.Tensor:
    """Return sign(x) relu(|x| - |x|^(p - 1) / beta), the proximal operator of the p-norm."""
    size = x.abs()
    return size.sub_(size.pow(norm - 1) / beta).clamp_(min=0).copysign_(x)


def _rows(weight: torch.Tensor, grid: Grid) -> torch.Tensor:
    """View the weight as groups; copies of a row's last weight fill up its last group, so that no range widens."""
    flat = weight.reshape(len(weight), -1)
    missing = -flat.shape[1] % grid.group if grid.granularity == "group" else 0
    return blocks(torch.cat([flat, flat[:, -1:].expand(-1, missing)], 1), grid)
