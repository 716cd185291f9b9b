import copy

import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.coverage import coverage
from reliquant.layers.surgery import insert_twins, targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantize import quantize
from reliquant.quantization.quantizers.rtn import quantizer
from reliquant.study.scheme import scheme_entry

GRIDS = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}
PIXELS = torch.zeros(2, 3, 32, 32)


def quantized(clip, proxy, names=None):
    unpack_attention(clip.model)
    quantizer(clip, names or targets(clip, "image"), proxy, Checkpoints(), **GRIDS)
    return clip.model


def test_products_of_a_vit_block_by_hand(vit, proxy):
    model = quantized(vit, proxy)
    seen = coverage(vit, "image", lambda: model.encode_image(PIXELS))
    macs = {p.module.removeprefix("visual."): p.macs for p in seen.products}
    tokens, width = 2 * 17, 48
    assert macs["transformer.resblocks.0.attn.qkv"] == tokens * width * 3 * width
    assert macs["transformer.resblocks.1.mlp.c_fc"] == tokens * width * 4 * width
    assert macs["conv1"] == 2 * 16 * (8 * 8 * 3) * width
    assert macs["visual"] == 2 * width * 24  # the projection, a bare parameter
    attention = 2 * 3 * 17 * 17 * 16 * 2  # images, heads, length, length, head width; query x key and attention x value
    assert macs["transformer.resblocks.0.attn"] == attention


def test_every_product_inside_a_block_is_quantized_but_attention(clip, proxy):
    model = quantized(clip, proxy)
    seen = coverage(clip, "image", lambda: model.encode_image(PIXELS))
    assert {p.reason for p in seen.products} <= {"", "attention product", "outside the blocks"}
    assert sum(not p.reason for p in seen.products) == len(twins(model))
    assert 0.5 < seen.mac_share < 1
    weights = sum(t.weight.numel() for t in twins(model).values())
    total = sum(p.numel() for n, p in model.visual.named_parameters() if p.ndim >= 2)
    assert seen.weight_share == pytest.approx(weights / total)


def test_each_twin_is_called_and_dispatches_one_product(clip, proxy):
    model = quantized(clip, proxy)
    calls = dict.fromkeys(twins(model), 0)

    def count(name):
        def hook(*_):
            calls[name] += 1

        return hook

    for name, twin in twins(model).items():
        twin.input.register_forward_hook(count(name))
    model.encode_image(PIXELS)
    assert set(calls.values()) == {1}


def test_a_packed_attention_would_be_seen_to_escape(vit, proxy):
    names = targets(vit, "image")  # without unpacking: out_proj is a Linear that is never called
    calibrated = [n for n in names if "out_proj" not in n]
    quantizer(vit, calibrated, proxy, Checkpoints(), **GRIDS)
    seen = coverage(vit, "image", lambda: vit.model.encode_image(PIXELS))
    escaped = [p for p in seen.products if p.reason == "not reached by the quantizer"]
    assert escaped
    assert seen.mac_share < 0.75


def test_a_twin_that_never_rounds_does_not_count(vit):
    unpack_attention(vit.model)
    insert_twins(vit.model, targets(vit, "image"), *GRIDS.values())
    seen = coverage(vit, "image", lambda: vit.model.encode_image(PIXELS))
    assert seen.mac_share == 0
    assert any(p.reason == "the weight was never rounded" for p in seen.products)


def test_a_twin_that_never_runs_is_an_error(vit, proxy):
    model = quantized(vit, proxy)
    with pytest.raises(RuntimeError, match="never ran, visual"):
        coverage(vit, "image", lambda: model.encode_text(torch.ones(1, 16, dtype=torch.long)))


def test_watching_leaves_no_hooks_behind(vit, proxy):
    model = quantized(vit, proxy)
    before = copy.deepcopy(model).encode_image(PIXELS)
    coverage(vit, "image", lambda: model.encode_image(PIXELS))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(before, model.encode_image(PIXELS))


@pytest.mark.parametrize("escape", ["no product is seen", "one product more is run"])
def test_an_attention_that_runs_other_products_than_it_rounds_is_an_error(vit, proxy, escape):
    entry = scheme_entry({"quantizer": "rtn", "layers": {"attention": "all"}}, "w8a8")
    quantize(vit, entry, "image", proxy, Checkpoints())
    attention = vit.model.visual.transformer.resblocks[1].attn
    if escape == "no product is seen":
        attention._forward_pre_hooks.popitem()  # that which lets the piece see them
    else:
        given = attention.forward

        def more(x, *rest, **words):
            torch.einsum("nld,nmd->nlm", x, x)
            return given(x, *rest, **words)

        attention.forward = more
    with pytest.raises(RuntimeError, match=r"resblocks.1.attn: rounds other attention products than it runs"):
        coverage(vit, "image", lambda: vit.model.encode_image(PIXELS))
