"""AWQ (Lin et al. 2024, Equation 4): scale up the weights that large inputs meet, clip, round to nearest.

Each input channel has a factor s = mean|X|^alpha, with the alpha out of 20 that gives the layers which read the input
the least output error. Then the range of each row (or group) is the best of 10 shares, except in layers that make
queries and keys. Both errors are exact, from X X^T. Factors go into the LayerNorm if it feeds these layers alone;
otherwise the input is divided online. Only Linears are treated so; convolutions are rounded to nearest.
"""

from __future__ import annotations

import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine, blocks, divided, fake_quantize, fitted, quantize, weight_affine
from reliquant.layers.surgery import insert_twins
from reliquant.layers.transforms import Smoothing
from reliquant.layers.twins import Twin
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import calibrate_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.fold import divide_output, layer_norm_readers
from reliquant.quantization.moments import Moments, moments_of, output_error, stages
from reliquant.quantization.pages import give_back
from reliquant.quantization.proxy import Proxy

# layers that make queries and keys: their ranges are not cut
ATTENDING = {"qkv", "q", "k", "q_proj", "k_proj", "query", "key"}

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
    alphas: int = 20,
    shares: int = 10,
    momentum: float = 0.1,
    batch: int = 64,
    pairs: int = 256,
) -> None:
    """Quantize the named layers in place; the first `pairs` of the proxy give ranges and moments of inputs."""
    if alphas < 1 or shares < 1:
        raise ValueError(f"awq: needs alphas >= 1 and shares >= 1, not {alphas} and {shares}")
    made = insert_twins(clip.model, names, weight, activation)
    rounds = any(not layer.weight_grid.floating for layer in made.values())
    grids = _scaled_up(clip, made, proxy, alphas, shares, batch=batch, pairs=pairs) if rounds else {}
    calibrate_inputs(clip, made, proxy, momentum=momentum, batch=batch, pairs=pairs)
    for name, layer in made.items():
        if name in grids:
            layer.freeze(quantize(layer.weight.detach(), *grids[name], layer.weight_grid), *grids[name])
        else:
            layer.freeze_absmax()


def _scaled_up(
    clip: Clip, made: dict[str, Twin], proxy: Proxy, alphas: int, shares: int, /, *, batch: int, pairs: int
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Scale up the weights of the Linears, block after block; return the scale and zero point of each that is rounded.

    Where none of the layers that read an input has rounded weights nothing is scaled.
    """
    norm_of = {group[0]: (norm, group) for norm, group in layer_norm_readers(clip, list(made), proxy).items()}
    done_with_first = {name for _, group in norm_of.values() for name in group[1:]}
    grids = {}
    for stage, inside in stages(made, clip.parts).items():
        seen = moments_of(clip, {name: made[name] for name in inside}, proxy, stage=stage, batch=batch, pairs=pairs)
        for name in [name for name in seen if name not in done_with_first]:
            norm, group = norm_of.get(name, (None, [name]))
            layers = {member: made[member] for member in group}
            rounded = {member: layer for member, layer in layers.items() if not layer.weight_grid.floating}
            if not rounded:
                continue
            weights = [(layer.weight.detach(), layer.weight_grid) for layer in rounded.values()]
            factor = best_factor(weights, seen[name], alphas)
            if norm:
                divide_output(clip.model.get_submodule(norm), factor, layers.values())
            else:
                made[name].transform = Smoothing(factor)
                made[name].weight.data.mul_(factor)
            gram = seen[name].gram / torch.outer(factor, factor)
            for member, layer in rounded.items():
                tried = 1 if member.rpartition(".")[2] in ATTENDING else shares
                own = fitted(layer.weight.detach(), layer.weight_grid)
                grids[member] = affine(*best_range(layer.weight.detach(), gram, own, tried), own)
        seen = gram = None  # frees them before those of the next block come
        give_back()
    return grids


@torch.no_grad()
def best_factor(weights: list[tuple[torch.Tensor, Grid]], seen: Moments, alphas: int, /) -> torch.Tensor:
    """Return the s (d,), over alpha = 0, 1/alphas, ..., of the least output error of all weights, each (o, d)."""
    mean = divided(seen.absolute, seen.count)
    best, least = torch.ones_like(mean), torch.inf
    for i in range(alphas):
        factor = (mean ** (i / alphas)).clamp(min=1e-4)
        factor = factor / (factor.max() * factor.min()).sqrt()
        error = 0.0
        for weight, grid in weights:
            scaled = weight * factor
            rounded = fake_quantize(scaled, *weight_affine(scaled, grid), grid) / factor
            error += output_error(rounded - weight, seen.gram).sum().item()
        if error < least:
            best, least = factor, error
    return best


@torch.no_grad()
def best_range(
    weight: torch.Tensor, gram: torch.Tensor, grid: Grid, shares: int, /
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the range, each (rows, 1), of least output error of each row or group of a weight (o, d).

    It tries `shares` ranges, cut to 1, 0.95, 0.9, ... of the absolute maximum. A grid of one scale is not cut.
    """
    rows = blocks(weight, grid)
    low, high = (edge[:, None] for edge in rows.aminmax(dim=1))
    largest = torch.maximum(-low, high)
    best, share = torch.full_like(high, torch.inf), torch.ones_like(high)
    for i in range(shares if grid.granularity != "tensor" else 1):
        cut = largest * (1 - i / 20)
        scale, zero = affine(low.maximum(-cut), high.minimum(cut), grid)
        error = fake_quantize(weight, scale, zero, grid) - weight
        now = _row_errors(error, gram, grid).reshape(-1, 1)
        better = now < best
        best, share = torch.where(better, now, best), share.masked_fill(better, 1 - i / 20)
    return low.maximum(-largest * share), high.minimum(largest * share)


def _row_errors(error: torch.Tensor, gram: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Return the output error of each row of `blocks`; that of a group counts its own columns only."""
    if grid.granularity != "group":
        by_row = output_error(error, gram)
        return by_row if grid.granularity == "channel" else by_row.sum()
    errors = []
    for start in range(0, error.shape[1], grid.group):
        span = slice(start, start + grid.group)
        errors.append(output_error(error[:, span], gram[span, span]))
    return torch.stack(errors, dim=1)
