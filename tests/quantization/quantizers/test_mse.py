import copy

import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantizers.mse import quantizer
from reliquant.quantization.ranges import mse_bounds


def slow_search(row, grid, candidates, smallest):
    """Equation 10 of Nagel et al. by plain loops, in float64."""
    best = (np.inf, None)
    low, high = row.min(), row.max()
    if grid.symmetric:
        high = max(-low, high)
        low = -high
    for share in np.linspace(1, smallest, candidates):
        if grid.symmetric:
            scale, zero = share * high / grid.high, 0
        else:
            scale = share * (max(high, 0) - min(low, 0)) / (grid.high - grid.low)
            zero = np.clip(grid.low - np.round(share * min(low, 0) / scale), grid.low, grid.high)
        codes = np.clip(np.round(row / scale) + zero, grid.low, grid.high)
        best = min(best, (((scale * (codes - zero) - row) ** 2).sum(), share))
    return best[1] * low, best[1] * high


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_bounds_equal_a_slow_search(bits, symmetric):
    rows = np.random.default_rng(bits).standard_t(3, size=(5, 400))
    grid = Grid(bits=bits, granularity="channel", symmetric=symmetric)
    low, high = mse_bounds(torch.tensor(rows), grid, 40, 0.2)
    expected = np.array([slow_search(row, grid, 40, 0.2) for row in rows])
    np.testing.assert_allclose(low[:, 0], expected[:, 0])
    np.testing.assert_allclose(high[:, 0], expected[:, 1])


def test_an_empty_search_is_refused(vit, proxy):
    with pytest.raises(ValueError, match="needs candidates >= 1"):
        quantizer(vit, [], proxy, Checkpoints(), weight=Grid(bits=4), activation=Grid(bits=8), candidates=0)


def test_weights_and_inputs_take_the_ranges_of_a_slow_search(vit, proxy, inputs_of):
    unpack_attention(vit.model)
    plain, names = copy.deepcopy(vit), targets(vit, "image")
    grids = {"weight": Grid(bits=3, granularity="channel"), "activation": Grid(bits=4)}
    words = {"candidates": 6, "smallest": 0.5}
    quantizer(vit, names, proxy, Checkpoints(), **grids, **words, sample=2**17)
    given, cut = inputs_of(plain, names, proxy), []
    for name, layer in twins(vit.model).items():
        weight = plain.model.get_submodule(name).weight.detach().double().numpy()
        scale = np.array([[slow_search(row, grids["weight"], **words)[1] / 3] for row in weight])
        np.testing.assert_allclose(layer.weight_scale, scale, rtol=1e-5)
        assert np.mean(layer.codes.numpy() == (weight / scale).round().clip(-4, 3)) > 0.999  # float32 has other ties
        x = given[name].double().numpy().ravel()
        assert layer.input.scale == pytest.approx(slow_search(x, grids["activation"], **words)[1] / 7, rel=1e-5)
        cut += [*(scale[:, 0] * 3 < 0.99 * abs(weight).max(1)), layer.input.scale * 7 < 0.99 * abs(x).max()]
    assert np.mean(cut) > 0.8
