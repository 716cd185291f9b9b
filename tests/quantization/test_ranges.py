import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine, fake_quantize, weight_affine
from reliquant.quantization.ranges import CHUNK, mse_bounds, percentile_bounds, weight_rows


@pytest.mark.parametrize("percent", [51.0, 90.0, 99.0, 100.0])
def test_bounds_equal_numpy_percentiles(percent):
    rows = np.random.default_rng(0).normal(size=(3, 1001)).astype(np.float32)
    low, high = percentile_bounds(torch.tensor(rows), percent, Grid(bits=8))
    expected = np.percentile(np.abs(rows), percent, axis=1, method="nearest")
    np.testing.assert_array_equal(high[:, 0], expected)
    np.testing.assert_array_equal(low[:, 0], -expected)
    low, high = percentile_bounds(torch.tensor(rows), percent, Grid(bits=8, symmetric=False))
    np.testing.assert_array_equal(high[:, 0], np.percentile(rows, percent, axis=1, method="nearest"))
    np.testing.assert_array_equal(low[:, 0], np.percentile(rows, 100 - percent, axis=1, method="nearest"))


@pytest.mark.parametrize("percent", [55.0, 99.9, 99.9999])
def test_a_row_of_many_chunks_has_numpys_percentile(percent):
    row = np.random.default_rng(0).normal(size=(1, 3 * CHUNK + 5)).astype(np.float32)
    low, high = percentile_bounds(torch.tensor(row), percent, Grid(bits=8, symmetric=False))
    assert high.item() == np.percentile(row, percent, method="nearest")
    assert low.item() == -np.percentile(-row, percent, method="nearest")
    assert percentile_bounds(torch.tensor(row), percent, Grid(bits=8))[1].item() == np.percentile(
        np.abs(row), percent, method="nearest"
    )


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_error_is_at_most_that_of_absmax(bits):
    x = torch.distributions.StudentT(4.0).sample((8, 500))
    grid = Grid(bits=bits, granularity="channel")
    errors = [
        (fake_quantize(x, *affines, grid) - x).square().sum(1)
        for affines in (affine(*mse_bounds(x, grid, 60, 0.2), grid), weight_affine(x, grid))
    ]
    assert (errors[0] <= errors[1]).all()
    if bits <= 4:
        assert errors[0].sum() < 0.8 * errors[1].sum()


def least_error(x, grid, shares):
    """Search every row's symmetric or asymmetric range by brute force."""
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    if grid.symmetric:
        low, high = -x.abs().amax(1, keepdim=True), x.abs().amax(1, keepdim=True)
    return torch.stack([error_of(x, (low * s, high * s), grid) for s in shares]).amin(0)


def error_of(x, edges, grid):
    return (fake_quantize(x, *affine(*edges, grid), grid) - x).square().sum(1)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3])
def test_rows_with_heavy_tails_have_the_range_of_a_brute_force_search(bits, symmetric):
    torch.manual_seed(0)
    x = torch.distributions.StudentT(4.0).sample((32, 3072))
    grid = Grid(bits=bits, granularity="channel", symmetric=symmetric)
    least = least_error(x, grid, np.geomspace(1, 0.01, 600))
    assert (error_of(x, mse_bounds(x, grid, 60, 0.02), grid) < 1.02 * least).all()
    if bits == 2 and symmetric:  # most rows are best below a fifth of their largest value
        assert error_of(x, mse_bounds(x, grid, 60, 0.2), grid).sum() > 1.2 * least.sum()


def test_the_search_ends_at_the_smallest_share_that_is_given():
    row = torch.cat([torch.ones(99_999), torch.tensor([100.0])])[None]  # best is a level at 1, a hundredth of the range
    grid = Grid(bits=2, granularity="channel")
    assert mse_bounds(row, grid, 40, 0.01)[1].item() == pytest.approx(1.0)
    assert mse_bounds(row, grid, 40, 0.015)[1].item() == pytest.approx(1.5)
    assert mse_bounds(row, grid, 40, 0.5)[1].item() == 100.0


def test_the_range_of_least_error_by_hand():
    row = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.25]])  # to cover 1.25 the levels are 0 and 1.25
    low, high = mse_bounds(row, Grid(bits=2), 2, 0.8)  # tried are 1.25 (error 4 / 16) and 1 (error 1 / 16)
    assert (low.item(), high.item()) == (-1.0, 1.0)
    low, high = mse_bounds(row[:, 3:], Grid(bits=2), 2, 0.8)  # 1 / 16 each: the wider stays
    assert (low.item(), high.item()) == (-1.25, 1.25)


def test_a_weight_has_a_row_for_each_scale():
    weight = torch.arange(12.0, dtype=torch.float64).reshape(2, 3, 2)
    rows = weight_rows(weight, Grid(bits=4, granularity="group", group=4))
    assert rows.dtype == torch.float32
    assert rows.tolist() == [[0, 1, 2, 3], [4, 5, 0, 0], [6, 7, 8, 9], [10, 11, 0, 0]]
