"""AWQ (Lin et al. 2024, Equation 4): scale up the weights that large inputs meet, clip, round to nearest.

s = mean|X|^alpha a channel, alpha the best of 20 for the error of the layers that read one input; then each row's (or
group's) range is the best of 10 shares, except in layers that make queries and keys. Both errors are exact, from X X^T.
Factors go into the LayerNorm that feeds the layers alone, else an online division of the input. Linears only;
convolutions are rounded to nearest.
"""

from __future__ import annotations

import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine, blocks, fake_quantize, quantize, weight_affine
from reliquant.layers.surgery import insert_twins
from reliquant.layers.transforms import Smoothing
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import calibrate_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.fold import divide_output, layer_norm_readers
from reliquant.quantization.moments import Moments, moments_of, output_error, stages
from reliquant.quantization.proxy import Proxy

ATTENDING = {"qkv", "q", "k", "q_proj", "k_proj", "query", "key"}


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
    norm_of = {group[0]: (norm, group) for norm, group in layer_norm_readers(clip, names, proxy).items()}
    second = {name for _, group in norm_of.values() for name in group[1:]}
    chosen = {}
    for stage, inside in {} if weight.floating else stages(names).items():
        seen = moments_of(clip, {n: made[n] for n in inside}, proxy, stage=stage, batch=batch, pairs=pairs)
        for name in (n for n in seen if n not in second):
            norm, group = norm_of.get(name, (None, [name]))
            layers = {member: made[member] for member in group}
            factor = best_factor([layer.weight.detach() for layer in layers.values()], seen[name], weight, alphas)
            if norm:
                divide_output(clip.model.get_submodule(norm), factor, layers.values())
            else:
                made[name].transform = Smoothing(factor)
                made[name].weight.data.mul_(factor)
            gram = seen[name].gram / torch.outer(factor, factor)
            for member, layer in layers.items():
                clip_too = shares if member.rpartition(".")[2] not in ATTENDING else 1
                chosen[member] = affine(*best_range(layer.weight.detach(), gram, weight, clip_too), weight)
        seen = gram = None  # free before the next block's come
    calibrate_inputs(clip, made, proxy, momentum=momentum, batch=batch, pairs=pairs)
    for name, layer in made.items():
        if name in chosen:
            layer.freeze(quantize(layer.weight.detach(), *chosen[name], weight), *chosen[name])
        else:
            layer.freeze_absmax()


@torch.no_grad()
def best_factor(weights: list[torch.Tensor], seen: Moments, grid: Grid, alphas: int, /) -> torch.Tensor:
    """Return the s (d,) of the least output error of the weights, each (o, d), over alpha = 0, 1/alphas, ..."""
    mean = seen.absolute / seen.count
    best, least = torch.ones_like(mean), torch.inf
    for i in range(alphas):
        factor = (mean ** (i / alphas)).clamp(min=1e-4)
        factor = factor / (factor.max() * factor.min()).sqrt()
        error = 0.0
        for weight in weights:
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

    Tried are absolute maxima cut to 1, 0.95, ... of themselves, `shares` of them. A grid of one scale is not cut.
    """
    rows = blocks(weight, grid)
    low, high = (edge[:, None] for edge in rows.aminmax(dim=1))
    largest = torch.maximum(-low, high)
    best, share = torch.full_like(high, torch.inf), torch.ones_like(high)
    for i in range(shares if grid.granularity != "tensor" else 1):
        cut = largest * (1 - i / 20)
        scale, zero = affine(low.maximum(-cut), high.minimum(cut), grid)
        error = fake_quantize(weight, scale, zero, grid) - weight
        found = _row_errors(error, gram, grid).reshape(-1, 1)
        better = found < best
        best, share = torch.where(better, found, best), share.masked_fill(better, 1 - i / 20)
    return low.maximum(-largest * share), high.minimum(largest * share)


def _row_errors(error: torch.Tensor, gram: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Return the output error of each row of `blocks`, for a group that of its own columns."""
    if grid.granularity != "group":
        found = output_error(error, gram)
        return found if grid.granularity == "channel" else found.sum()
    errors = []
    for start in range(0, error.shape[1], grid.group):
        span = slice(start, start + grid.group)
        errors.append(output_error(error[:, span], gram[span, span]))
    return torch.stack(errors, dim=1)
