import copy

import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.fold import layer_norm_readers
from reliquant.quantization.proxy import embed
from reliquant.quantization.quantizers.rtn import quantizer as rtn
from reliquant.quantization.quantizers.smoothquant import quantizer, smoothing_factor

TENSOR = {"weight": Grid(bits=8), "activation": Grid(bits=8)}


def with_outliers(clip, names, proxy, size=60.0):
    """Make a few channels of every LayerNorm that feeds Linears large, and their columns small: same outputs."""
    for norm, readers in layer_norm_readers(clip, names, proxy).items():
        layer = clip.model.get_submodule(norm)
        factor = torch.ones_like(layer.weight)
        factor[::11] = size
        with torch.no_grad():
            layer.weight.mul_(factor)
            layer.bias.mul_(factor)
            for name in readers:
                clip.model.get_submodule(name).weight.div_(factor)


def images(clip, proxy):
    with torch.no_grad():
        return embed(clip, *next(proxy.in_order(clip, 40))).image


def test_factor_by_hand():
    weights = [torch.tensor([[1.0, -4.0], [0.5, 1.0]]), torch.tensor([[-2.0, 0.0]])]
    factor = smoothing_factor(torch.tensor([8.0, 0.0]), weights, 0.5)
    assert factor.tolist() == pytest.approx([(8 / 2) ** 0.5, 1e-5])
    assert smoothing_factor(torch.tensor([8.0, 3.0]), weights, 0.75).tolist() == pytest.approx(
        [8**0.75 / 2**0.25, 3**0.75 / 4**0.25]
    )


def test_smoothing_alone_changes_no_output(clip, proxy):
    unpack_attention(clip.model)
    names = targets(clip, "image")
    with_outliers(clip, names, proxy)
    before = images(clip, proxy)
    floating = {"weight": Grid(bits=16), "activation": Grid(bits=16)}
    quantizer(clip, names, proxy, Checkpoints(), **floating)
    torch.testing.assert_close(images(clip, proxy), before, atol=1e-4, rtol=1e-4)


def test_the_range_found_in_one_pass_is_that_of_a_second_pass(clip, proxy):
    unpack_attention(clip.model)
    names = targets(clip, "image")
    with_outliers(clip, names, proxy)
    other = copy.deepcopy(clip)
    quantizer(clip, names, proxy, Checkpoints(), weight=Grid(bits=16), activation=Grid(bits=8), batch=16)
    quantizer(other, names, proxy, Checkpoints(), weight=Grid(bits=16), activation=Grid(bits=16))
    rtn(other, names, proxy, Checkpoints(), weight=Grid(bits=16), activation=Grid(bits=8), batch=16)
    for name, layer in twins(clip.model).items():
        assert layer.input.scale == pytest.approx(twins(other.model)[name].input.scale, rel=1e-3)


def test_outliers_hurt_round_to_nearest_per_tensor_more(clip, proxy):
    unpack_attention(clip.model)
    names = targets(clip, "image")
    with_outliers(clip, names, proxy)
    before, other = images(clip, proxy), copy.deepcopy(clip)
    quantizer(clip, names, proxy, Checkpoints(), **TENSOR)
    rtn(other, names, proxy, Checkpoints(), **TENSOR)
    ours, theirs = ((images(c, proxy) - before).norm().item() for c in (clip, other))
    assert ours < 0.5 * theirs


def test_an_alpha_outside_its_range_is_refused(vit, proxy):
    with pytest.raises(ValueError, match="alpha must be from 0 to 1, not 2"):
        quantizer(vit, [], proxy, Checkpoints(), **TENSOR, alpha=2)
