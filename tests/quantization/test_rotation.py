import copy

import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins, targets, unpack_attention
from reliquant.layers.transforms import RootMeanSquare, Rotation
from reliquant.quantization.rotation import rotate


def outputs(model):
    with torch.no_grad():
        x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        return model.encode_image(x), model.encode_text(torch.full((2, 16), 5))


def rotated(clip, proxy, scope="both"):
    unpack_attention(clip.model)
    made = insert_twins(clip.model, targets(clip, scope), Grid(bits=16), Grid(bits=16))
    return made, rotate(clip, made, proxy, np.random.default_rng(0))


def test_a_rotated_model_equals_fp32(clip, proxy):
    before = outputs(clip.model)
    rotated(clip, proxy)
    for a, b in zip(outputs(clip.model), before, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_both_transformers_of_a_vit_are_rotated(vit, proxy):
    assert rotated(vit, proxy)[1] == ["visual.transformer.resblocks", "transformer.resblocks"]


def test_of_a_convnext_model_only_the_text_is_rotated(convnext, proxy):
    assert rotated(convnext, proxy)[1] == ["transformer.resblocks"]


def test_the_stream_between_blocks_is_the_centred_fp32_stream_rotated(vit, proxy):
    plain = copy.deepcopy(vit.model)
    rotated(vit, proxy, "image")
    seen = []
    for model in (plain, vit.model):
        handle = model.visual.transformer.resblocks[0].register_forward_hook(lambda m, i, out: seen.append(out))
        outputs(model)
        handle.remove()
    stream = vit.model.visual.transformer.resblocks[0].stream_in
    torch.testing.assert_close(stream(seen[0]), seen[1], atol=1e-4, rtol=1e-4)


def test_layer_norms_lose_scale_and_shift_and_outer_ones_stay(vit, proxy):
    rotated(vit, proxy, "image")
    visual = vit.model.visual
    kinds = {type(m) for block in visual.transformer.resblocks for m in (block.ln_1, block.ln_2)}
    assert kinds == {RootMeanSquare}
    assert isinstance(visual.ln_pre, torch.nn.LayerNorm)
    assert isinstance(visual.ln_post, torch.nn.LayerNorm)


def test_an_outlier_channel_of_the_stream_is_spread(vit, proxy):
    plain = copy.deepcopy(vit.model)
    for model in (plain, vit.model):
        model.visual.ln_pre.bias.data[7] = 200.0
        for block in model.visual.transformer.resblocks:
            block.ln_1.weight.data[7] = 5.0
    made, _ = rotated(vit, proxy, "image")
    peak = {}

    def look(kind):
        def hook(module, inputs):
            peak[kind] = (inputs[0].abs().amax() / inputs[0].square().mean().sqrt()).item()

        return hook

    unpack_attention(plain)
    plain.visual.transformer.resblocks[0].attn.qkv.register_forward_pre_hook(look("plain"))
    made["visual.transformer.resblocks.0.attn.qkv"].input.register_forward_pre_hook(look("rotated"))
    outputs(plain)
    outputs(vit.model)
    assert peak["rotated"] < 0.5 * peak["plain"]


@pytest.mark.parametrize("change", ["layer scale", "missing block"])
def test_other_stacks_rotate_the_inputs_of_their_linears_instead(vit, proxy, change):
    unpack_attention(vit.model)
    names = targets(vit, "image")
    if change == "layer scale":
        for block in vit.model.visual.transformer.resblocks:
            block.ls_1 = torch.nn.Sequential(torch.nn.LayerNorm(48))
    else:
        names = [name for name in names if "resblocks.0" not in name]
    before = outputs(vit.model)
    made = insert_twins(vit.model, names, Grid(bits=16), Grid(bits=16))
    assert rotate(vit, made, proxy, np.random.default_rng(0)) == []
    assert all(isinstance(layer.transform, Rotation) for layer in made.values())
    torch.testing.assert_close(outputs(vit.model), before, atol=1e-4, rtol=1e-4)


def test_linears_without_bias_get_one_from_the_layer_norm(vit, proxy):
    unpack_attention(vit.model)
    for block in vit.model.visual.transformer.resblocks:
        block.mlp.c_fc.bias = None
    before = outputs(vit.model)
    made, _ = rotated(vit, proxy, "image")
    assert all(layer.bias is not None for layer in made.values())
    torch.testing.assert_close(outputs(vit.model), before, atol=1e-4, rtol=1e-4)
