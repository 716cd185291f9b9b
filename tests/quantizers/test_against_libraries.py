"""Codes and scales against kept libraries on the same weights: the extra `oracles`; skipped where it is absent."""

import copy

import pytest
import torch

from reliquant.fakequant import affine, quantize, weight_affine
from reliquant.grid import Grid
from reliquant.quantizers.hqq import _rows, optimise
from reliquant.second_order import gptq_codes


def weight(outputs=48, inputs=128, seed=0):
    torch.manual_seed(seed)
    return torch.distributions.StudentT(4.0).sample((outputs, inputs)) * 0.05


def brevitas_linear(w, bits):
    """A brevitas layer whose weight has one scale a channel, fixed by its largest value."""
    qnn = pytest.importorskip("brevitas.nn", reason="brevitas is not installed")
    from brevitas.inject.enum import ScalingImplType
    from brevitas.quant import Int8WeightPerChannelFloat

    words = {"weight_bit_width": bits, "weight_scaling_impl_type": ScalingImplType.PARAMETER_FROM_STATS}
    layer = qnn.QuantLinear(w.shape[1], w.shape[0], bias=False, weight_quant=Int8WeightPerChannelFloat, **words)
    layer.load_state_dict({"weight": w}, strict=False)
    layer(torch.zeros(1, w.shape[1]))  # the first forward fixes the scales
    return layer.eval()


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_round_to_nearest_gives_the_codes_of_brevitas(bits):
    w, grid = weight(seed=bits), Grid(bits=bits, granularity="channel")
    theirs = brevitas_linear(w, bits).quant_weight()
    scale, zero = weight_affine(w, grid)
    torch.testing.assert_close(scale, theirs.scale.detach().reshape(-1, 1), rtol=1e-6, atol=0)
    assert (quantize(w, scale, zero, grid) != theirs.int()).float().mean() < 1e-3  # ties


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_range_of_each_token_gives_the_scales_of_torchao(symmetric):
    primitives = pytest.importorskip("torchao.quantization.quant_primitives", reason="torchao is not installed")
    x = weight(16, 64) + 0.02
    grid = Grid(bits=8, granularity="token", dynamic=True, symmetric=symmetric, signed=symmetric)
    kind = primitives.MappingType.SYMMETRIC if symmetric else primitives.MappingType.ASYMMETRIC
    words = {"quant_min": -127 if symmetric else 0, "quant_max": grid.high, "scale_dtype": torch.float32}
    scale, zero = primitives.choose_qparams_affine(x, kind, (1, 64), torch.int8 if symmetric else torch.uint8, **words)
    ours, offset = affine(*x.aminmax(dim=1, keepdim=True), grid)
    torch.testing.assert_close(ours[:, 0], scale.reshape(-1), rtol=1e-6, atol=0)
    torch.testing.assert_close(offset.expand_as(ours)[:, 0], zero.reshape(-1).float())


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_hqq_gives_the_codes_of_its_authors(bits):
    library = pytest.importorskip("hqq.core.quantize", reason="hqq is not installed").Quantizer
    w, grid = weight(seed=bits), Grid(bits=bits, granularity="group", group=64, symmetric=False, signed=False)
    words = {"group_size": 64, "axis": 1, "bitpack": False, "compute_dtype": torch.float32, "device": "cpu"}
    theirs, facts = library.quantize(w.clone(), nbits=bits, round_zero=bits == 4, **words)
    scale, zero = optimise(_rows(w, grid), grid, 0.7, 10.0, 1.01, 20)
    torch.testing.assert_close(scale, facts["scale"].float().reshape(-1, 1))
    torch.testing.assert_close(zero, facts["zero"].float().reshape(-1, 1), rtol=1e-3, atol=1e-3)
    assert (quantize(w, scale, zero, grid) != theirs.reshape(w.shape)).float().mean() < 2e-3


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("bits", [3, 4])
def test_gptq_gives_the_codes_of_brevitas(bits, act_order):
    w = weight(32, 96, seed=bits)
    layer = brevitas_linear(w, bits)
    from brevitas.graph.gptq import gptq_mode

    x = torch.randn(2000, 24) @ torch.randn(24, 96) + 0.3 * torch.randn(2000, 96)
    whole = torch.nn.Sequential(copy.deepcopy(layer))
    with torch.no_grad(), gptq_mode(whole, use_quant_activations=False, num_blocks=3, act_order=act_order) as mode:
        for _ in range(mode.num_layers):
            mode.model(x)
            mode.update()
    theirs = whole[0].quant_weight().int()
    codes, scale, _ = gptq_codes(
        w, 2 * x.T @ x / len(x), Grid(bits=bits, granularity="channel"), 0.01, 32, act_order=act_order
    )
    torch.testing.assert_close(scale, layer.quant_weight().scale.detach().reshape(-1, 1), rtol=1e-6, atol=0)
    assert (codes != theirs).float().mean() < 0.01
