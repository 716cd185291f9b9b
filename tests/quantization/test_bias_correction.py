import copy

import numpy as np
import pytest
import torch

from reliquant import plugins
from reliquant.layers.surgery import twins
from reliquant.layers.twins import QuantConv2d
from reliquant.plugins import ConfigError
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry

GRIDS = {"weight": {"bits": 3, "granularity": "channel"}, "activation": {"bits": 8}}


def trains(method):
    return "losses" in plugins.words(plugins.source("quantizer", method), "quantizer")


TRAINED = sorted(filter(trains, plugins.names("quantizer")))
POST = sorted(set(plugins.names("quantizer")) - {*TRAINED, "none"})


def both_ways(clip, entry, proxy):
    """Quantize without and with the correction; return the twins of both models."""
    other = copy.deepcopy(clip)
    quantize(other, entry, "image", proxy, Checkpoints())
    quantize(clip, {**entry, "bias_correction": True}, "image", proxy, Checkpoints())
    return twins(other.model), twins(clip.model)


def test_a_bias_takes_out_the_weights_error_times_the_mean_input(vit, proxy, inputs_of):
    exact = copy.deepcopy(vit)
    plain, mended = both_ways(vit, {"quantizer": "rtn", **GRIDS}, proxy)
    names = [name for name in plain if "mlp" in name]
    seen = inputs_of(exact, names, proxy)
    assert names
    for name in names:
        mean = seen[name].flatten(0, -2).double().mean(0)
        error = plain[name].weight.double() - exact.model.get_submodule(name).weight.double()
        expected = plain[name].bias.double() - error @ mean
        torch.testing.assert_close(mended[name].bias.double(), expected, rtol=1e-4, atol=1e-6)
        assert (error @ mean).abs().max() > 1e-4


def test_a_convolution_keeps_its_mean_output_with_the_padding(convnext, proxy, inputs_of):
    exact = copy.deepcopy(convnext)
    _, mended = both_ways(convnext, {"quantizer": "rtn", **GRIDS}, proxy)
    names = [name for name, layer in mended.items() if isinstance(layer, QuantConv2d)]
    seen = inputs_of(exact, names, proxy)
    assert names
    for name in names:
        before = exact.model.get_submodule(name)(seen[name]).mean((0, 2, 3))
        layer = mended[name]
        after = layer.applied(seen[name], layer.weight).mean((0, 2, 3))
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", POST)
def test_every_method_that_trains_nothing_takes_the_word_and_keeps_its_codes(method, vit, proxy):
    few = {"steps": 1} if method == "qdrop" else {}
    plain, mended = both_ways(vit, {"quantizer": method, **GRIDS, **few}, proxy)
    for name, layer in plain.items():
        assert torch.equal(layer.codes, mended[name].codes)
    assert any(not torch.equal(layer.bias, mended[name].bias) for name, layer in plain.items())


def test_without_the_word_nothing_changes(vit, proxy):
    entries = [{"quantizer": "rtn", **GRIDS, **more} for more in ({}, {"bias_correction": False})]
    first, second = (quantize(copy.deepcopy(vit), entry, "image", proxy, Checkpoints())[0] for entry in entries)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", TRAINED)
def test_a_method_that_trains_biases_is_refused_the_word(method):
    with pytest.raises(ConfigError, match=f"bias_correction: true is for .*; {method} trains the biases itself"):
        scheme_entry({"quantizer": method, "bias_correction": True}, "w4a8")


def test_the_word_must_be_a_boolean():
    with pytest.raises(ConfigError, match="bias_correction"):
        scheme_entry({"quantizer": "rtn", "bias_correction": "much"}, "w4a8")
