"""Noise that was put in by hand, or by quantizing a tiny CLIP: what is found of it, layer by layer."""

import copy

import numpy as np
import pytest
import torch

from reliquant import plugins
from reliquant.evaluation.layer_noise import (
    OutputNoise,
    layers,
    maps_of,
    opened,
    weight_facts,
    with_weight_noise,
)
from reliquant.layers.surgery import targets, unpack_attention
from reliquant.measures.spectrum import sqnr
from reliquant.quantization.checkpoints import Checkpoints


def quantized(clip, proxy, method="rtn", bits=4):
    made = copy.deepcopy(clip)
    unpack_attention(made.model)
    entry = {
        "quantizer": method,
        "weight": {"bits": bits, "granularity": "channel"},
        "activation": {"bits": 8},
    }
    plugins.load("quantizer", entry)(made, targets(made, "image"), proxy, Checkpoints())
    return made


def test_weight_noise_has_the_sqnr_of_the_quantized_weights(vit, proxy):
    exact, variant = opened(vit), quantized(vit, proxy)
    facts = weight_facts(exact, variant)
    noisy = with_weight_noise(exact, facts, torch.Generator().manual_seed(0))
    for name, fact in facts.items():
        pair = (m.get_submodule(name).weight.detach().numpy() for m in (exact.model, noisy.model))
        assert sqnr(*pair) == pytest.approx(fact["weight_sqnr"], abs=0.5)


def test_layers_of_a_rotated_stream_and_folded_weights_are_not_compared(vit, proxy):
    assert layers(quantized(vit, proxy, "quarot")) == []
    smooth = quantized(vit, proxy, "smoothquant")
    facts = weight_facts(opened(vit), smooth)
    assert facts
    assert not any("weight_sqnr" in fact for fact in facts.values())
    assert with_weight_noise(opened(vit), facts, torch.Generator()) is None


def test_maps_leave_the_class_token_out(vit):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with maps_of(vit.model) as found, torch.no_grad():
        tokens = []
        handle = vit.model.visual.transformer.register_forward_hook(lambda m, i, o: tokens.append(o))
        vit.model.encode_image(x)
        handle.remove()
    assert found["visual.transformer"][0].shape == (2, 48, 4, 4)
    assert torch.equal(found["visual.transformer"][0][:, :, 1, 2], tokens[0][:, 1 + 4 + 2])


def test_output_noise_is_added_up_over_batches():
    exact, variant = (torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False)) for _ in range(2))
    with torch.no_grad():
        exact[0].weight.copy_(torch.eye(2))
        variant[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.9]]))
    watch = OutputNoise(exact, variant, ["0"])
    for batch in (torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 2.0]])):
        with watch.watching(), torch.no_grad():
            exact(batch), variant(batch)
    assert watch.sqnr() == {"0": pytest.approx(10 * np.log10((9 + 1 + 4) / (0.01 + 0.04)), abs=1e-5)}
    assert not exact[0]._forward_hooks
    assert not variant[0]._forward_hooks


def test_equal_layers_have_infinite_sqnr():
    layer = torch.nn.Sequential(torch.nn.Linear(2, 2))
    other = copy.deepcopy(layer)
    watch = OutputNoise(layer, other, ["0"])
    with watch.watching(), torch.no_grad():
        layer(torch.ones(1, 2)), other(torch.ones(1, 2))
    assert watch.sqnr() == {"0": np.inf}
