"""RaBitQ's grid of half steps (Gao et al. 2024), and RaanA's choice of how many bits each layer gets."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from reliquant.grid import Grid
from reliquant.layers.arithmetic import SMALLEST_SCALE, code_type
from reliquant.quantization.allocate import allocate


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

    `sensitivity` is a (k,), `sizes` is m (k,). The dynamic program is `allocate`'s. Raises ValueError if even the
    smallest choice exceeds the average.

    >>> allocate_bits(np.array([100.0, 1.0]), np.array([10, 10]), 4, [2, 3, 4, 5, 6])
    [6, 2]
    """
    if min(choices) > average:
        raise ValueError(f"no choice of bits in {choices} is as small as the average {average}")
    given = np.array(choices)
    losses, costs = sensitivity[:, None] * 2.0**-given, sizes[:, None] * given
    return [choices[option] for option in allocate(losses, costs, average * sizes.sum())]
