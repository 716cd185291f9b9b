import copy

import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import embed
from reliquant.quantization.quantizers.erq import quantizer
from reliquant.quantization.quantizers.repq import quantizer as repq

WEIGHT = Grid(bits=4, granularity="channel", symmetric=False)
ACTIVATION = Grid(bits=4, symmetric=False)


def images(clip, proxy):
    with torch.no_grad():
        return embed(clip, *next(proxy.in_order(clip, 40))).image


@pytest.mark.parametrize("bits", [(4, 4), (3, 16), (16, 4)])
def test_a_tower_is_nearer_to_fp32_than_by_reparametrization_alone(clip, proxy, bits):
    unpack_attention(clip.model)
    grids = {"weight": Grid(**{**vars(WEIGHT), "bits": bits[0]}), "activation": Grid(bits=bits[1], symmetric=False)}
    plain, other = copy.deepcopy(clip), copy.deepcopy(clip)
    quantizer(clip, targets(clip, "image"), proxy, Checkpoints(), **grids)
    repq(other, targets(other, "image"), proxy, Checkpoints(), **grids)
    fp32, ours, theirs = (images(c, proxy) for c in (plain, clip, other))
    assert (ours - fp32).norm() < (0.95 if bits[0] == 16 else 0.9) * (theirs - fp32).norm()
    assert all((layer.codes is None) == (bits[0] == 16) for layer in twins(clip.model).values())


def test_twice_gives_the_same_to_the_bit(vit, proxy):
    unpack_attention(vit.model)
    other = copy.deepcopy(vit)
    for clip in (vit, other):
        quantizer(clip, targets(clip, "both"), proxy, Checkpoints(), weight=WEIGHT, activation=ACTIVATION)
    for name, layer in twins(vit.model).items():
        assert torch.equal(layer.codes, twins(other.model)[name].codes)
        assert torch.equal(layer.bias, twins(other.model)[name].bias)


def test_a_layer_without_a_bias_gets_one(vit, proxy):
    unpack_attention(vit.model)
    name = "visual.transformer.resblocks.0.mlp.c_fc"
    vit.model.get_submodule(name).bias = None
    quantizer(vit, targets(vit, "image"), proxy, Checkpoints(), weight=WEIGHT, activation=ACTIVATION)
    assert twins(vit.model)[name].bias.abs().max() > 0


@pytest.mark.parametrize("words", [{"ridge": 0.0}, {"flips": -1}])
def test_words_that_make_no_sense_are_refused(vit, proxy, words):
    with pytest.raises(ValueError, match="needs ridge > 0 and flips >= 0"):
        quantizer(vit, [], proxy, Checkpoints(), weight=WEIGHT, activation=ACTIVATION, **words)
