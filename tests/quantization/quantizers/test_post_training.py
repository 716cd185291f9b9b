"""What every post-training quantizer must do, whatever its method."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reliquant import plugins
from reliquant.layers.coverage import coverage
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.variant import export, restore
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy, embed

METHODS = [
    "rtn",
    "percentile",
    "mse",
    "smoothquant",
    "hqq",
    "gptq",
    "awq",
    "llm_int8",
    "quarot",
    "raana",
    "repq",
    "erq",
]
CHANNEL = {"bits": 4, "granularity": "channel"}


def quantize(clip, proxy, method, scope="image", weight=CHANNEL, activation=None, **words):
    unpack_attention(clip.model)
    names = targets(clip, scope)
    entry = {"quantizer": method, "weight": weight, "activation": activation or {"bits": 8}, **words}
    plugins.load("quantizer", entry)(clip, names, proxy, Checkpoints())
    return twins(clip.model)


def outputs(model):
    with torch.no_grad():
        x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        return model.encode_image(x), model.encode_text(torch.full((2, 16), 5))


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("method", METHODS)
def test_a_restored_variant_gives_the_same_outputs_to_the_bit(clip, proxy, method):
    fresh = copy.deepcopy(clip.model)
    made = quantize(clip, proxy, method, "both")
    restore(fresh, *export(clip, "both"))
    assert len(twins(fresh)) == len(made) > 0
    for a, b in zip(outputs(clip.model), outputs(fresh), strict=True):
        assert torch.equal(a, b)


DIVISIONS = {torch.ops.aten.div.Tensor: torch.mul, torch.ops.aten.div_.Tensor: torch.Tensor.mul_}


class DividesAsAGpu(TorchDispatchMode):
    """Multiply by the reciprocal where a tensor is divided by a plain number: what CUDA's kernels do."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in DIVISIONS and not isinstance(args[1], torch.Tensor):
            return DIVISIONS[function](args[0], (1 / torch.tensor(args[1], dtype=args[0].dtype)).item())
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_codes_and_scales_are_the_same_where_division_by_a_plain_number_is_less_exact(vit, proxy, method, symmetric):
    made = []
    for divides in (nullcontext(), DividesAsAGpu()):
        clip = vit.with_model(copy.deepcopy(vit.model))
        with divides:
            quantize(clip, proxy, method, activation={"bits": 8, "symmetric": symmetric})
        made.append(export(clip, "image"))
    (here, about), (there, its) = made
    assert [name for name in here if not np.array_equal(here[name], there[name])] == []
    assert about == its
    x = torch.arange(100.0)
    with DividesAsAGpu():
        assert not torch.equal(x / 7, x / x.new_tensor(7))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("activation", [{"symmetric": False}, {"granularity": "token", "dynamic": True}])
def test_eight_bits_stay_near_fp32(vit, proxy, method, activation):
    if method in ("repq", "erq") and activation.get("dynamic"):
        pytest.skip("they refuse dynamic inputs: tested in tests/study/test_refusals.py")
    before = outputs(vit.model)
    quantize(vit, proxy, method, "both", {**CHANNEL, "bits": 8}, {"bits": 8, **activation})
    for a, b in zip(outputs(vit.model), before, strict=True):
        assert 0 < relative(a, b) < 0.2


@pytest.mark.parametrize("method", METHODS)
def test_every_product_inside_a_block_is_accounted_for(clip, proxy, method):
    made = quantize(clip, proxy, method, "both")
    with torch.no_grad():
        seen = coverage(clip, "both", lambda: embed(clip, *next(proxy.in_order(clip, 2))))
    allowed = {"", "attention product", "outside the blocks", "online rotation", "outlier columns"}
    assert {p.reason for p in seen.products} <= allowed
    assert {p.module for p in seen.products if not p.reason} == set(made)
    assert seen.weight_share > 0.3


@pytest.mark.parametrize("method", METHODS)
def test_weights_may_stay_in_floating_point(vit, proxy, method):
    before = outputs(vit.model)
    made = quantize(vit, proxy, method, weight={**CHANNEL, "bits": 16}, activation={"bits": 16})
    assert all(layer.codes is None for layer in made.values())
    torch.testing.assert_close(outputs(vit.model), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_odd_layers_are_handled(vit, proxy, method):
    block = vit.model.visual.transformer.resblocks[0]
    with torch.no_grad():
        block.mlp.c_fc.weight[3] = 0  # a channel that is zero
        block.mlp.c_proj.weight.zero_()  # a layer with zero range
        block.ln_1.weight.zero_()  # inputs all equal in every token
        block.ln_2.weight[:2] = 0
        block.ln_2.bias[:2] = 0  # channels that are never active
    quantize(vit, proxy, method)
    assert torch.isfinite(outputs(vit.model)[0]).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("width", [1, 42])
def test_widths_that_no_hadamard_matrix_or_group_divides_are_handled(vit, proxy, method, width):
    for block in vit.model.visual.transformer.resblocks:  # a layer with one output channel, and one with one input
        block.mlp.c_fc, block.mlp.c_proj = torch.nn.Linear(48, width), torch.nn.Linear(width, 48)
    exact = outputs(vit.model)[0]
    quantize(vit, proxy, method, weight={"bits": 8, "granularity": "group", "group": 32})
    assert relative(outputs(vit.model)[0], exact) < 0.3


@pytest.mark.parametrize("method", METHODS)
def test_fewer_images_than_a_batch_suffice(vit, proxy, method):
    three = Proxy(proxy.images[:3], proxy.captions[:3])
    quantize(vit, three, method)
    assert torch.isfinite(outputs(vit.model)[0]).all()


@pytest.mark.parametrize("method", METHODS)
def test_images_all_equal_are_handled(vit, proxy, method):
    quantize(vit, replace(proxy, images=np.full_like(proxy.images, 128)), method)
    assert torch.isfinite(outputs(vit.model)[0]).all()


@pytest.mark.parametrize("method", METHODS)
def test_nan_in_calibration_names_the_layer(vit, proxy, method):
    vit.model.visual.conv1.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"calibration: the input of visual\.\S+ holds NaN"):
        quantize(vit, proxy, method)
