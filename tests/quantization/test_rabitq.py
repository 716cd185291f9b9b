import itertools

import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import dequantize
from reliquant.quantization.rabitq import allocate_bits, rabitq_codes


def best_cosine(w, bits):
    """Try every width at which any code changes: the exact optimum of extended RaBitQ."""
    half = 2 ** (bits - 1)
    edges = np.unique([abs(x) / k for x in w for k in range(1, half)])
    widths = np.concatenate([edges * (1 + 1e-9), edges * (1 - 1e-9)])
    q = np.clip(np.floor(w / widths[:, None]), -half, half - 1) + 0.5  # (widths, d)
    return ((q @ w) / np.linalg.norm(q, axis=1)).max() / np.linalg.norm(w)


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_codes_are_nearly_as_parallel_as_the_best_there_are(bits):
    w = torch.randn(12, 40, generator=torch.Generator().manual_seed(bits))
    codes, scale, zero = rabitq_codes(w, bits, 64)
    grid = Grid(bits=bits, granularity="channel")
    value = dequantize(codes, scale, zero, grid)
    found = torch.cosine_similarity(value, w).numpy()
    assert (codes >= grid.low).all()
    assert (codes <= grid.high).all()
    exact = 1 - np.array([best_cosine(row, bits) for row in w.double().numpy()])
    assert (1 - found).mean() < 1.1 * exact.mean()
    assert (1 - found < 2 * exact).all()
    torch.testing.assert_close((value * w).sum(1), w.square().sum(1))  # unbiased: <value, w> = <w, w>


def test_a_zero_row_stays_near_zero():
    codes, scale, zero = rabitq_codes(torch.zeros(2, 8), 4, 64)
    assert dequantize(codes, scale, zero, Grid(bits=4, granularity="channel")).abs().max() < 1e-7


@pytest.mark.parametrize("seed", range(5))
def test_bits_equal_an_exhaustive_search(seed):
    rng = np.random.default_rng(seed)
    felt, sizes, choices = rng.lognormal(0, 2, 5), rng.integers(1, 6, 5) * 12, [2, 3, 4, 6]
    feasible = (b for b in itertools.product(choices, repeat=5) if (sizes * b).sum() <= 3.5 * sizes.sum())
    best = min((felt * 2.0 ** -np.array(b)).sum() for b in feasible)
    found = np.array(allocate_bits(felt, sizes, 3.5, choices))
    assert (felt * 2.0**-found).sum() == pytest.approx(best)
    assert (sizes * found).sum() <= 3.5 * sizes.sum()


def test_an_average_below_every_choice_is_refused():
    with pytest.raises(ValueError, match="as small as the average 2"):
        allocate_bits(np.ones(2), np.ones(2, int), 2, [3, 4])


def test_where_costs_rounded_up_leave_no_room_every_layer_gets_the_smallest_choice():
    sizes = np.array([1_000_003, 999_983])  # coprime: 20,000 coarse steps
    assert allocate_bits(np.ones(2), sizes, 2, [2, 3]) == [2, 2]
