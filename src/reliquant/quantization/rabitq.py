"""RaBitQ's grid of half steps (Gao et al. 2024), and RaanA's choice of how many bits each layer gets."""

from __future__ import annotations

from math import gcd

import numpy as np
import torch
from numpy.typing import NDArray

from reliquant.grid import Grid
from reliquant.layers.arithmetic import SMALLEST_SCALE, code_type

UNITS = 20_000  # into so many steps, at most, the dynamic program divides the budget


@torch.no_grad()
def rabitq_codes(
    weight: torch.Tensor, bits: int, candidates: int, /
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return codes (o, d), scale and zero point (o, 1) of a weight on half steps: value = scale * (code + 1/2).

    Of `candidates` widths of the grid each row takes the one whose levels q have the largest cosine with the row w; the
    scale |w|^2 / <q, w> then makes inner products with the row unbiased over random rotations. The nearest half step
    is floor(w / width) + 1/2, which `arithmetic.nearest_codes` would not give at ties.
    """
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    width = weight.abs().amax(1, keepdim=True).clamp(min=SMALLEST_SCALE) / 2 ** (bits - 1)
    best = torch.full_like(width, -torch.inf)
    share = torch.ones_like(width)
    narrowest = max(0.1, 1 - 3 / 2 ** (bits - 1))  # rotated rows are near Gaussian: more bits clip less of them
    for candidate in torch.linspace(1.2, narrowest, candidates).tolist():
        q = (weight / (width * candidate)).floor_().clamp_(low, high).add_(0.5)
        cosine = (q * weight).sum(1, keepdim=True) / q.norm(dim=1, keepdim=True)
        better = cosine > best
        best, share = torch.where(better, cosine, best), share.masked_fill(better, candidate)
    codes = (weight / (width * share)).floor_().clamp_(low, high)
    inner = ((codes + 0.5) * weight).sum(1, keepdim=True)
    scale = torch.where(inner > 0, weight.square().sum(1, keepdim=True) / inner, SMALLEST_SCALE)
    return codes.to(code_type(Grid(bits=bits))), scale, torch.full_like(scale, -0.5)


def allocate_bits(
    sensitivity: NDArray[np.float64], sizes: NDArray[np.int64], average: float, choices: list[int], /
) -> list[int]:
    """Return bits b_k from `choices` that minimise sum_k a_k 2^-b_k while sum_k m_k b_k <= average * sum_k m_k.

    `sensitivity` is a (k,), `sizes` is m (k,). This is a dynamic program over the budget, in steps of the sizes'
    greatest common divisor, or in coarser ones (costs are rounded up) where these would be more than 20,000. Raises
    ValueError if even the smallest choice exceeds the average.

    >>> allocate_bits(np.array([100.0, 1.0]), np.array([10, 10]), 4, [2, 3, 4, 5, 6])
    [6, 2]
    """
    if min(choices) > average:
        raise ValueError(f"no choice of bits in {choices} is as small as the average {average}")
    budget = average * sizes.sum()
    unit = max(gcd(*sizes.tolist()), budget / UNITS)
    steps = int(budget / unit + 1e-9)
    total = np.zeros(steps + 1)  # least loss within each budget
    taken = []  # for each layer and budget, the position in `choices`
    for a, size in zip(sensitivity, sizes, strict=True):
        losses = np.full((len(choices), steps + 1), np.inf)  # by choice and budget
        for row, bits in enumerate(choices):
            cost = int(np.ceil(size * bits / unit - 1e-9))
            if cost <= steps:
                losses[row, cost:] = total[: steps + 1 - cost] + a * 2.0**-bits
        taken.append(losses.argmin(0))
        total = losses.min(0)
    if not np.isfinite(total[-1]):  # with costs rounded up not even the smallest choices fit
        return [min(choices)] * len(sizes)
    bits, left = [], steps
    for size, best in zip(sizes[::-1], taken[::-1], strict=True):
        bits.append(choices[best[left]])
        left -= int(np.ceil(size * bits[-1] / unit - 1e-9))
    return bits[::-1]
