import copy

import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantizers.percentile import quantizer


def test_all_percent_is_round_to_nearest(vit, proxy):
    from reliquant.quantization.quantizers.rtn import quantizer as rtn

    unpack_attention(vit.model)
    grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}
    other = copy.deepcopy(vit)
    names = targets(vit, "image")
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
    plain, names = copy.deepcopy(vit), targets(vit, "image")
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
