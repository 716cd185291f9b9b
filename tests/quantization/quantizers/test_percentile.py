import copy

import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.observers import Percentile
from reliquant.quantization.quantizers.percentile import quantizer
from reliquant.quantization.ranges import CHUNK, percentile_bounds


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


def test_an_outlier_among_many_is_left_out_and_batches_are_averaged():
    seen = Percentile(90, 0.1, Grid(bits=8))
    for top in (1.0, 2.0):
        seen.update(torch.cat([torch.linspace(0, top, 100), torch.tensor([1e6])]).reshape(1, -1))
    assert seen.bounds(Grid(bits=8))[1].item() == pytest.approx(0.9 * 0.909 + 0.1 * 1.818, abs=1e-3)


def test_all_percent_is_round_to_nearest(vit, proxy):
    from reliquant.quantization.quantizers.rtn import quantizer as rtn

    unpack_attention(vit.model)
    grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}
    other = copy.deepcopy(vit)
    names = targets(vit.model, "image")
    quantizer(vit, names, proxy, Checkpoints(), **grids, percent=100.0)
    rtn(other, names, proxy, Checkpoints(), **grids)
    for a, b in zip(twins(vit.model).values(), twins(other.model).values(), strict=True):
        assert torch.equal(a.codes, b.codes)
        assert a.input.scale == pytest.approx(b.input.scale)


def test_a_percentile_outside_its_range_is_refused(vit, proxy):
    grids = {"weight": Grid(bits=4), "activation": Grid(bits=8)}
    with pytest.raises(ValueError, match=r"percent must be above 50 and at most 100, not 0\.99"):
        quantizer(vit, [], proxy, Checkpoints(), **grids, percent=0.99)


def test_inputs_and_weights_are_clipped_at_the_percentiles_asked_for(vit, proxy, inputs_of):
    unpack_attention(vit.model)
    plain, names = copy.deepcopy(vit), targets(vit.model, "image")
    grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}
    words = {"percent": 97.0, "weight_percent": 90.0, "momentum": 0.3, "batch": 16, "pairs": 32}
    quantizer(vit, names, proxy, Checkpoints(), **grids, **words)
    given = inputs_of(plain, names, proxy)
    for name, layer in twins(vit.model).items():
        weight = plain.model.get_submodule(name).weight.detach().numpy()
        scale = np.percentile(abs(weight), 90, axis=1, method="nearest", keepdims=True) / 7
        np.testing.assert_allclose(layer.weight_scale, scale, rtol=1e-6)
        assert np.mean(layer.codes.numpy() == (weight / scale).round().clip(-8, 7)) > 0.999
        first, second = (np.percentile(given[name][part].abs(), 97) for part in (slice(16), slice(16, 32)))
        assert layer.input.scale == pytest.approx((0.7 * first + 0.3 * second) / 127, rel=1e-3)
