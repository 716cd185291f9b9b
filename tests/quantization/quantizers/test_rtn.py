import copy

import numpy as np
import pytest

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantizers.rtn import quantizer


def test_weights_and_inputs_have_the_scales_of_the_first_authors_quantizer(vit, proxy, inputs_of):
    unpack_attention(vit.model)
    plain, names = copy.deepcopy(vit), targets(vit, "image")
    grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=6)}
    quantizer(vit, names, proxy, Checkpoints(), **grids, momentum=0.25, batch=16, pairs=48)
    given = inputs_of(plain, names, proxy)
    for name, layer in twins(vit.model).items():
        weight = plain.model.get_submodule(name).weight.detach().numpy()
        scale = abs(weight).max(1, keepdims=True) / 7
        np.testing.assert_allclose(layer.weight_scale, scale, rtol=1e-6)
        assert np.mean(layer.codes.numpy() == (weight / scale).round()) > 0.999  # float32 may see other ties
        average, *later = (given[name][start : start + 16].abs().max().item() for start in (0, 16, 32))
        for largest in later:
            average = 0.75 * average + 0.25 * largest
        assert layer.input.scale == pytest.approx(average / 31, rel=1e-5)
