import copy

import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import dequantize, weight_affine
from reliquant.layers.arithmetic import quantize as rounding
from reliquant.layers.integer import unfit
from reliquant.layers.surgery import insert_twins, targets, twins, unpack_attention
from reliquant.layers.twins import QuantLinear
from reliquant.layers.variant import restore
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import quantize
from reliquant.quantization.quantizers import raana
from reliquant.quantization.quantizers.raana import quantizer
from reliquant.quantization.rabitq import allocate_bits, rabitq_codes
from reliquant.quantization.sensitivity import sensitivities
from reliquant.study.scheme import scheme_entry


def test_the_average_of_the_bits_is_that_of_the_precision(clip, proxy):
    unpack_attention(clip.model)
    names = targets(clip, "image")
    quantizer(clip, names, proxy, Checkpoints(), weight=Grid(bits=4, granularity="channel"), activation=Grid(bits=8))
    linears = [layer for layer in twins(clip.model).values() if layer.weight.ndim == 2]
    sizes, bits = [layer.weight.numel() for layer in linears], [layer.weight_grid.bits for layer in linears]
    assert np.average(bits, weights=sizes) <= 4
    assert np.average(bits, weights=sizes) > 3.8
    assert len(set(bits)) > 1


def test_layers_are_what_rotation_sensitivity_and_rabitq_make_of_them(vit, proxy, inputs_of):
    unpack_attention(vit.model)
    plain, names = copy.deepcopy(vit), targets(vit, "image")
    grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}
    words = {"choices": [3, 4, 5, 6], "samples": 2, "candidates": 7, "centralize": False, "kept": 0.0}
    quantizer(vit, names, proxy, Checkpoints(), **grids, **words)
    weights = [plain.model.get_submodule(name).weight.detach() for name in names]
    given = inputs_of(plain, names, proxy)
    felt = sensitivities(plain, insert_twins(plain.model, names, *grids.values()), proxy, 2)
    bits = allocate_bits(felt, np.array([w.numel() for w in weights]), 4, [3, 4, 5, 6])
    for name, weight, chosen in zip(names, weights, bits, strict=True):
        layer = twins(vit.model)[name]
        rotate = layer.transform
        assert rotate.facts() == {"kind": "rotation", "width": weight.shape[1], "head_tail": True}
        assert layer.weight_grid.bits == chosen
        codes, scale, _ = rabitq_codes(rotate(weight), chosen, 7)
        assert torch.equal(layer.codes, codes)
        assert torch.equal(layer.weight_scale, scale)
        assert layer.input.scale == pytest.approx(rotate(given[name]).abs().max().item() / 127, rel=1e-5)
    assert len({tuple(layer.transform.signs.tolist()) for layer in twins(vit.model).values()}) == len(names)


def test_bits_do_not_depend_on_how_many_layers_are_felt_together(vit, proxy, monkeypatch):
    unpack_attention(vit.model)
    names = targets(vit, "both")
    found = []
    for together in (1, 3, len(names)):
        monkeypatch.setattr(raana, "TOGETHER", together)
        other = copy.deepcopy(vit)
        raana.quantizer(other, names, proxy, Checkpoints(), weight=Grid(bits=4), activation=Grid(bits=8))
        found.append(
            [(name, layer.weight_grid.bits, layer.codes.tolist()) for name, layer in twins(other.model).items()]
        )
    assert found[0] == found[1] == found[2]


def test_a_tower_of_convolutions_alone_is_rounded_to_nearest(proxy):
    tower = {"layers": (1, 1, 1, 1), "width": 8, "image_size": 32, "head_width": 16}
    text = {"context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    model = open_clip.CLIP(64, tower, text).eval()
    unpack_attention(model)
    clip = Clip(model, lambda texts: torch.zeros(len(texts), 16, dtype=torch.long), 32, (0.5,) * 3, (0.25,) * 3)
    weights = {name: model.get_submodule(name).weight.clone() for name in targets(clip, "image")}
    quantizer(
        clip, [*weights], proxy, Checkpoints(), weight=Grid(bits=4, granularity="channel"), activation=Grid(bits=8)
    )
    for name, layer in twins(model).items():
        scale = weights[name].abs().amax((1, 2, 3), keepdim=True) / 7
        assert torch.equal(layer.codes, torch.round(weights[name] / scale).to(torch.int8))


def centralized_and_held(weight, rate):
    """Transcribe the steps of the authors' code on a weight (d_in, d_out): the rest, and the product that they add."""
    mean = weight.mean(1)
    rest = weight - mean[:, None]
    largest = rest.norm(dim=0).sort(descending=True).indices[: int(weight.shape[1] * rate)]
    kept = rest[:, largest].clone()
    rest[:, largest] = 0

    def added(x):
        extra = (x @ mean)[:, None].repeat(1, weight.shape[1])
        extra[:, largest] += x @ kept
        return extra

    return rest, added


@pytest.mark.parametrize("rate", [0.0, 0.003, 0.05])
def test_the_steps_before_rounding_are_those_of_the_authors_code(rate):
    torch.manual_seed(0)
    weight, x = torch.randn(100, 24) * torch.rand(100, 1) + 0.3, torch.randn(7, 24)
    held, rest = raana.held_out(weight, rate, centralize=True)
    expected, added = centralized_and_held(weight.T, rate)
    torch.testing.assert_close(rest, expected.T)
    assert len(held.rows) == int(100 * rate)
    layer = QuantLinear(torch.nn.Linear(24, 100, bias=False), Grid(bits=8, granularity="channel"), Grid(bits=16))
    layer.weight.data = weight.clone()
    scale, zero = weight_affine(rest, layer.weight_grid)
    codes = rounding(rest, scale, zero, layer.weight_grid)
    rounded = dequantize(codes, scale, zero, layer.weight_grid)
    layer.freeze(codes, scale, zero, held=held)
    assert layer.dead_channels == 0
    torch.testing.assert_close(layer(x), x @ rounded.T + added(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.weight[held.rows.long()], weight[held.rows.long()])


def test_what_is_kept_is_stored_counted_and_restored(vit, proxy):
    fresh = copy.deepcopy(vit.model)
    entry = {"quantizer": "raana", "weight": {"bits": 4}, "activation": {"bits": 8}, "kept": 0.05}
    arrays, facts = quantize(vit, entry, "image", proxy, Checkpoints())
    name, layer = next((n, m) for n, m in twins(vit.model).items() if isinstance(m, QuantLinear))
    rows = int(0.05 * len(layer.weight))
    assert arrays[f"{name}.held.values"].shape == (rows, layer.weight.shape[1])
    assert facts["measures"]["stored_bits"] > 4 + 32 * 0.04
    assert any(product["reason"] == "output channels kept" for product in facts["coverage"])
    restore(fresh, arrays, facts["modules"])
    for name, layer in twins(vit.model).items():
        assert torch.equal(fresh.get_submodule(name).weight, layer.weight)
    assert "stays in floating point" in unfit(layer)


def test_pairs_whose_loss_feels_nothing_are_refused_and_equal_bits_need_none(vit, proxy):
    one = Proxy(proxy.images[:1], proxy.captions[:1])
    entry = {"quantizer": "raana", "weight": {"bits": 4}, "activation": {"bits": 8}}
    with pytest.raises(ValueError, match=r"raana: the contrastive loss of the first 1 pairs \(1 different captions\)"):
        quantize(copy.deepcopy(vit), entry, "image", one, Checkpoints())
    _, facts = quantize(vit, {**entry, "allocate": False}, "image", one, Checkpoints())
    assert {words["weight"]["bits"] for words in facts["modules"].values()} == {4}


def test_without_allocation_layers_may_have_a_precision_of_their_own(vit, proxy):
    scheme = {"quantizer": "raana", "allocate": False, "layers": {"other": {"last": "w8a8"}}}
    _, facts = quantize(vit, scheme_entry(scheme, "w4a8"), "image", proxy, Checkpoints())
    bits = {name.split(".")[3]: words["weight"]["bits"] for name, words in facts["modules"].items()}
    assert bits == {"0": 4, "1": 8}
