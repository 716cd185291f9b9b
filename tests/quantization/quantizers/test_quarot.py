import copy

import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import embed
from reliquant.quantization.quantizers.quarot import quantizer
from reliquant.quantization.quantizers.rtn import quantizer as rtn


def first_queries(clip, proxy):
    """Return what the first block's qkv gives: in no way rotated."""
    seen = []
    layer = clip.model.visual.transformer.resblocks[0].attn.qkv
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        embed(clip, *next(proxy.in_order(clip, 40)))
    handle.remove()
    return seen[0]


def test_outliers_of_the_stream_hurt_it_less_than_round_to_nearest(vit, proxy):
    unpack_attention(vit.model)
    visual, few = vit.model.visual, [7, 21]
    visual.ln_pre.weight.data[few] *= 30
    for block in visual.transformer.resblocks:
        block.attn.qkv.weight.data[:, few] /= 30
        block.mlp.c_fc.weight.data[:, few] /= 30
    names, grids = (
        targets(vit, "image"),
        {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=4)},
    )
    plain, other, third = (copy.deepcopy(vit) for _ in range(3))
    quantizer(vit, names, proxy, Checkpoints(), **grids)
    quantizer(third, names, proxy, Checkpoints(), **grids, weights="gptq")
    rtn(other, names, proxy, Checkpoints(), **grids)
    fp32, ours, second, theirs = (first_queries(c, proxy) for c in (plain, vit, third, other))
    assert (ours - fp32).norm() < 0.8 * (theirs - fp32).norm()
    assert (second - fp32).norm() < (ours - fp32).norm()


def test_the_seed_of_the_proxy_decides_the_signs(vit, proxy):
    from dataclasses import replace

    unpack_attention(vit.model)
    names, grids = targets(vit, "image"), {"weight": Grid(bits=8), "activation": Grid(bits=16)}
    signs = []
    for seed in (0, 0, 1):
        one = copy.deepcopy(vit)
        quantizer(one, names, replace(proxy, seed=seed), Checkpoints(), **grids)
        signs.append(one.model.visual.transformer.resblocks[0].stream_in.signs)
    assert torch.equal(signs[0], signs[1])
    assert not torch.equal(signs[0], signs[2])


@pytest.mark.parametrize("weights", ["rtn", "gptq"])
def test_a_convnext_is_handled(convnext, proxy, weights):
    unpack_attention(convnext.model)
    grids = {"weight": Grid(bits=8, granularity="channel"), "activation": Grid(bits=8)}
    plain = copy.deepcopy(convnext)
    quantizer(convnext, targets(convnext, "image"), proxy, Checkpoints(), **grids, weights=weights)
    with torch.no_grad():
        fp32, ours = (embed(c, *next(proxy.in_order(c, 40))).image for c in (plain, convnext))
    assert (ours - fp32).norm() < 0.1 * fp32.norm()
