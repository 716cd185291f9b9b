import copy

import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import embed
from reliquant.quantization.quantizers.repq import quantizer
from reliquant.quantization.quantizers.rtn import quantizer as rtn

WEIGHT = Grid(bits=16)


def uneven(clip):
    """Make LayerNorm's channels differ in spread and centre, as RepQ-ViT finds them to."""
    for name, module in clip.model.visual.named_modules():
        if isinstance(module, torch.nn.LayerNorm) and "resblocks" in name:
            module.weight.data[::7] *= 12
            module.bias.data[3::7] += 6


def images(clip, proxy):
    with torch.no_grad():
        return embed(clip, *next(proxy.in_order(clip, 40))).image


@pytest.mark.parametrize("symmetric", [True, False])
def test_one_scale_a_tensor_rounds_as_one_scale_a_channel_would(vit, proxy, symmetric):
    uneven(vit)
    unpack_attention(vit.model)
    plain, grid = copy.deepcopy(vit), Grid(bits=4, symmetric=symmetric)
    name = "visual.transformer.resblocks.0.attn.qkv"
    seen = []
    plain.model.get_submodule(name).register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    images(plain, proxy)
    x, layer = seen[0], plain.model.get_submodule(name)
    flat = x.flatten(0, 1)
    low, high = flat.amin(0), flat.amax(0)
    if symmetric:
        scale, zero = torch.maximum(-low, high) / 7, torch.zeros(48)
    else:
        low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low) / 15
        zero = (-8 - (low / scale).round()).clamp(-8, 7)
    by_channel = scale * (((x / scale).round() + zero).clamp(-8, 7) - zero)
    expected = torch.nn.functional.linear(by_channel, layer.weight, layer.bias)
    quantizer(vit, targets(vit, "image"), proxy, Checkpoints(), weight=WEIGHT, activation=grid)
    found = []
    twins(vit.model)[name].register_forward_hook(lambda m, i, output: found.append(output))
    images(vit, proxy)
    assert ((found[0] - expected).abs() > 1e-3).float().mean() < 0.01  # a value on a tie may fall to the other side


def test_uneven_channels_hurt_round_to_nearest_more(clip, proxy):
    unpack_attention(clip.model)
    if hasattr(clip.model.visual, "transformer"):
        uneven(clip)
    grids = {"weight": WEIGHT, "activation": Grid(bits=4, symmetric=False)}
    plain, other = copy.deepcopy(clip), copy.deepcopy(clip)
    quantizer(clip, targets(clip, "image"), proxy, Checkpoints(), **grids)
    rtn(other, targets(other, "image"), proxy, Checkpoints(), **grids)
    fp32, ours, theirs = (images(c, proxy) for c in (plain, clip, other))
    assert (ours - fp32).norm() < (theirs - fp32).norm()


def test_dynamic_inputs_are_refused(vit, proxy):
    with pytest.raises(ValueError, match="repq fixes one static scale"):
        quantizer(vit, [], proxy, Checkpoints(), weight=WEIGHT, activation=Grid(bits=8, dynamic=True))
