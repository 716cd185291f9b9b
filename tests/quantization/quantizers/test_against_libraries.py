"""Codes and scales against kept libraries on the same weights: the extra `oracles`; skipped where it is absent."""

import copy

import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine, quantize, weight_affine
from reliquant.layers.twins import twin
from reliquant.quantization.moments import Moments, gptq_codes
from reliquant.quantization.observers import ChannelRange
from reliquant.quantization.quantizers.awq import best_factor
from reliquant.quantization.quantizers.hqq import _rows, optimise
from reliquant.quantization.quantizers.llm_int8 import spare_outliers
from reliquant.quantization.quantizers.smoothquant import smoothing_factor


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
    own = {"granularity": "group", "group": 64, "symmetric": False, "signed": False, "scale_type": "fp32"}
    w, grid = weight(seed=bits), Grid(bits=bits, **own)
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


def inputs_with_outliers(rows=64, columns=96, seed=0):
    torch.manual_seed(seed)
    x = torch.randn(rows, columns) * torch.rand(columns)
    x[:, 5] *= 40
    x[3, 70] = -11.0
    return x


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.8])
def test_smoothquant_gives_the_factors_and_codes_of_torchao(alpha):
    core = pytest.importorskip("torchao.prototype.smoothquant.core", reason="torchao is not installed")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    x, w = inputs_with_outliers(), weight(40, 96)
    theirs = core.RunningAbsMaxSmoothQuantObserver(w, alpha=alpha)
    seen = ChannelRange(0.1)
    for part in x.split(16):
        theirs(part)
        seen.update(part)
    factor = smoothing_factor(seen.absmax, [w], alpha)
    torch.testing.assert_close(factor, theirs.compute_smoothing_factor(), rtol=1e-4, atol=0)
    smoothed = torch.nn.Linear(96, 40, bias=False)
    smoothed.weight = torch.nn.Parameter(w * factor, requires_grad=False)
    quantize_(smoothed, Int8WeightOnlyConfig())
    grid = Grid(bits=8, granularity="channel")
    codes = quantize(w * factor, *weight_affine(w * factor, grid), grid)
    apart = (codes - smoothed.weight.qdata).abs()
    assert apart.max() <= 1  # torchao's scale is absmax / 127.5
    torch.testing.assert_close(weight_affine(w * factor, grid)[0], smoothed.weight.scale * 127.5 / 127)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bits", [3, 4])
def test_awq_gives_the_factors_of_torchao(bits, seed):
    core = pytest.importorskip("torchao.prototype.awq.core", reason="torchao is not installed")
    from torchao.quantization import IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup
    from torchao.quantization.quant_primitives import MappingType

    x, w = inputs_with_outliers(seed=seed), weight(40, 96, seed)
    words = {"weight_dtype": getattr(torch, f"int{bits}"), "mapping_type": MappingType.ASYMMETRIC}
    theirs = core.AWQObserver(w, None, IntxWeightOnlyConfig(granularity=PerGroup(32), **words))
    grid = Grid(bits=bits, granularity="group", group=32, symmetric=False, signed=False)
    layer = twin(torch.nn.Linear(96, 40), grid, Grid(bits=16))
    seen = Moments(layer)
    for part in x.split(16):
        theirs(part, None)
        seen.update(part)
    factor = best_factor([(w, grid)], seen, 20)
    assert factor.std() > 0.1  # a factor was worth it
    torch.testing.assert_close(factor, theirs.calculate_qparams(), rtol=1e-4, atol=0)


def test_llm_int8_gives_the_columns_codes_and_output_of_bitsandbytes():
    library = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    x, w = inputs_with_outliers(), weight(40, 96)
    x[:, 5] += 7 * x[:, 5].sign()  # bitsandbytes lets the rest of a spared column widen a token's scale: not here
    x[:3, 70] = x[4:, 70] = 0.0
    w[:, [5, 70]] = w[:, [5, 70]].clamp(-0.01, 0.01)  # and the weight's
    inner = torch.nn.Linear(96, 40, bias=False)
    inner.weight = torch.nn.Parameter(w.clone(), requires_grad=False)
    layer = twin(inner, Grid(bits=8, granularity="channel"), Grid(bits=8, granularity="token", dynamic=True))
    seen = ChannelRange(0.1)
    seen.update(x)
    spare_outliers({"layer": layer}, {"layer": seen}, 6.0)
    codes, largest, _ = library.functional.int8_vectorwise_quant(w)
    inputs, per_token, columns = library.functional.int8_vectorwise_quant(x.clone(), threshold=6.0)
    assert columns.tolist() == layer.input.columns.tolist() == [5, 70]
    others = [i for i in range(96) if i not in (5, 70)]
    torch.testing.assert_close(layer.weight_scale[:, 0], largest / 127)
    assert torch.equal(layer.codes[:, others], codes[:, others])
    rounded = layer.input.inner(x.index_fill(1, columns, 0))
    torch.testing.assert_close(rounded, inputs * per_token[:, None] / 127, rtol=1e-5, atol=1e-5)
    theirs = torch.ops.bitsandbytes.int8_mixed_scaled_mm(x, inputs, codes, per_token, largest, columns, None)[0]
    spared = w[:, columns] - codes[:, columns] * largest[:, None] / 127  # which bitsandbytes rounds, too
    torch.testing.assert_close(layer(x), theirs + x[:, columns] @ spared.T, rtol=1e-3, atol=1e-4)
