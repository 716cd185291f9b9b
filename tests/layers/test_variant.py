import copy

import numpy as np
import pytest
import torch

from reliquant.files.artifacts import save_tensors
from reliquant.grid import Grid
from reliquant.layers.stored import pack, unpack
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.variant import export, restore, size_in_bytes
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantizers.rtn import quantizer


@pytest.mark.parametrize("bits", range(2, 17))
def test_packed_codes_come_back_and_take_their_bits(bits):
    rng = np.random.default_rng(bits)
    low = -(2 ** (bits - 1))
    codes = rng.integers(low, -low, 1001)
    packed = pack(codes, low, bits)
    assert len(packed) == -(-1001 * bits // 8)
    assert (unpack(packed, low, bits, 1001) == codes).all()


def test_two_bit_codes_by_hand():
    assert pack(np.array([-2, 1, 0, -1]), -2, 2).tolist() == [0b00_11_10_01]


def test_too_few_bytes_are_refused():
    with pytest.raises(ValueError, match="cannot be 9 codes of 4 bits"):
        unpack(np.zeros(4, np.uint8), -8, 4, 9)


def quantize(clip, proxy, scope, bits, **activation):
    unpack_attention(clip.model)
    names = targets(clip, scope)
    grids = {"weight": Grid(bits=bits, granularity="channel"), "activation": Grid(bits=8, **activation)}
    quantizer(clip, names, proxy, Checkpoints(), **grids)


def outputs(model):
    with torch.no_grad():
        x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        return model.encode_image(x), model.encode_text(torch.full((2, 16), 5))


@pytest.mark.parametrize("scope", ["image", "both"])
@pytest.mark.parametrize("activation", [{}, {"symmetric": False}, {"granularity": "token", "dynamic": True}])
def test_a_restored_variant_gives_the_same_outputs_to_the_bit(clip, proxy, scope, activation):
    fresh = copy.deepcopy(clip.model)
    quantize(clip, proxy, scope, 4, **activation)
    arrays, modules = export(clip, scope)
    restore(fresh, arrays, modules)
    assert len(twins(fresh)) == len(twins(clip.model)) > 0
    for a, b in zip(outputs(clip.model), outputs(fresh), strict=True):
        assert torch.equal(a, b)


def test_four_bits_take_half_the_bytes_of_eight(vit, proxy):
    sizes = {}
    for bits in (4, 8):
        one = copy.deepcopy(vit)
        quantize(one, proxy, "image", bits)
        arrays, _ = export(one, "image")
        sizes[bits] = size_in_bytes({k: v for k, v in arrays.items() if k.endswith(".codes")})
        assert not any(k.endswith("qkv.weight") for k in arrays)
    assert sizes[8] == 2 * sizes[4] == sum(t.weight.numel() for t in twins(one.model).values())


def test_a_variant_of_another_architecture_is_refused(vit, convnext, proxy):
    quantize(vit, proxy, "image", 8)
    arrays, modules = export(vit, "image")
    with pytest.raises(ValueError, match=r"visual.*another architecture"):
        restore(convnext.model, arrays, modules)


@pytest.mark.parametrize("zero", [0.0, -0.5, 3.0, 0.37])
def test_zero_points_need_not_be_whole_numbers(vit, proxy, zero):
    fresh = copy.deepcopy(vit.model)
    quantize(vit, proxy, "image", 4)
    layers = twins(vit.model)
    for layer in layers.values():
        layer.freeze(layer.codes, layer.weight_scale, torch.full_like(layer.weight_scale, zero))
        layer.input.zero = zero
    arrays, modules = export(vit, "image")
    restore(fresh, arrays, modules)
    name = next(iter(layers))
    x = torch.randn(2, layers[name].weight.shape[1])
    codes = torch.clamp(torch.round(x / layers[name].input.scale + zero), -128, 127)
    torch.testing.assert_close(layers[name].input(x), layers[name].input.scale * (codes - zero))
    assert torch.equal(layers[name](x), twins(fresh)[name](x))
    for a, b in zip(outputs(vit.model), outputs(fresh), strict=True):
        assert torch.equal(a, b)


def test_a_w4_vit_b_32_image_tower_takes_less_than_a_sixth_of_its_bytes_on_disk(tmp_path):
    """Really on disk, as the study writes it: block weights in 4 bits, all else as it was."""
    config = open_clip.get_model_config("ViT-B-32")
    config["text_cfg"] = {"context_length": 16, "vocab_size": 128, "width": 32, "heads": 2, "layers": 1}
    with torch.device("meta"):
        model = open_clip.CLIP(**config)
    model = model.to_empty(device="cpu").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.02)  # bytes on disk do not depend on the numbers
    proxy = Proxy(np.zeros((1, 224, 224, 3), np.uint8), ["one"])
    clip = Clip(model, lambda texts: torch.ones(len(texts), 16, dtype=torch.long), 224, (0.5,) * 3, (0.25,) * 3)
    tower = {name: value.numpy() for name, value in model.state_dict().items() if name.startswith("visual.")}
    save_tensors(tmp_path / "fp32.safetensors", tower, {})
    quantize(clip, proxy, "image", 4)
    arrays, modules = export(clip, "image")
    save_tensors(tmp_path / "w4.safetensors", arrays, {"modules": modules})
    sizes = {name: (tmp_path / f"{name}.safetensors").stat().st_size for name in ("fp32", "w4")}
    assert 0.125 < sizes["w4"] / sizes["fp32"] < 0.16
