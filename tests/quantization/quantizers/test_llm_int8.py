import copy

import numpy as np
import pytest
import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.coverage import coverage
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.twins import DynamicInput, QuantLinear, SparedInput
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantizers.llm_int8 import quantizer

GRIDS = {"weight": Grid(bits=8, granularity="channel"), "activation": Grid(bits=8, granularity="token", dynamic=True)}


def published(x, w, outliers):
    """Equation 8: X_O W_O in floating point, plus C_X C_W times the outer product of row absmax over 127."""
    rest = [j for j in range(x.shape[1]) if j not in outliers]
    cx, cw = np.abs(x[:, rest]).max(1), np.abs(w[:, rest]).max(1)
    codes = np.round(127 * x[:, rest] / cx[:, None]) @ np.round(127 * w[:, rest] / cw[:, None]).T
    return x[:, outliers] @ w[:, outliers].T + codes * np.outer(cx, cw) / 127**2


def test_a_layer_equals_the_published_equation():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(9, 12)), rng.normal(size=(5, 12))
    x[:, 4] *= 20
    linear = nn.Linear(12, 5, bias=False)
    linear.weight.data = torch.tensor(w, dtype=torch.float32)
    layer = QuantLinear(linear, *GRIDS.values())
    columns = torch.tensor([4])
    values = layer.weight.detach()[:, columns].clone()
    layer.weight.data[:, 4] = 0
    layer.input = DynamicInput(GRIDS["activation"])
    layer.freeze_absmax()
    layer.spare(columns, values)
    found = layer(torch.tensor(x, dtype=torch.float32))
    np.testing.assert_allclose(found.detach(), published(x, w, [4]), atol=1e-4)


@pytest.mark.parametrize("activation", [GRIDS["activation"], Grid(bits=8), Grid(bits=8, symmetric=False)])
def test_columns_above_the_threshold_are_spared_and_counted(vit, proxy, activation):
    unpack_attention(vit.model)
    block = vit.model.visual.transformer.resblocks[0]
    block.ln_1.weight.data[[5, 9]] = 40.0
    expected = block.attn.qkv.weight.detach()[:, [5, 9]].clone()
    quantizer(vit, targets(vit, "image"), proxy, Checkpoints(), weight=GRIDS["weight"], activation=activation)
    layer = twins(vit.model)["visual.transformer.resblocks.0.attn.qkv"]
    assert layer.input.columns.tolist() == [5, 9]
    assert torch.equal(layer.weight[:, [5, 9]], expected)
    assert not layer.codes[:, [5, 9]].any()
    if not activation.dynamic:
        assert layer.input.inner.scale * 127 < 6.0 * 1.01  # the range is that of the rest
    x = torch.randn(3, 48) * 3
    x[:, 5] = 1234.5678
    assert torch.equal(layer.input(x)[:, 5], x[:, 5])
    seen = coverage(vit, "image", lambda: vit.model.encode_image(torch.zeros(1, 3, 32, 32)))
    macs = {p.reason: p.macs for p in seen.products if p.module.endswith("resblocks.0.attn.qkv")}
    assert macs["outlier columns"] == 17 * 2 * 144
    assert macs[""] == 17 * 46 * 144


def test_without_outliers_nothing_is_spared(clip, proxy):
    unpack_attention(clip.model)
    quantizer(clip, targets(clip, "image"), proxy, Checkpoints(), **GRIDS_CONV, threshold=1e9)
    assert not any(isinstance(layer.input, SparedInput) for layer in twins(clip.model).values())


GRIDS_CONV = {"weight": GRIDS["weight"], "activation": Grid(bits=8)}


def test_a_threshold_of_zero_is_refused(vit, proxy):
    with pytest.raises(ValueError, match="threshold must be positive"):
        quantizer(vit, [], proxy, Checkpoints(), **GRIDS, threshold=0.0)


@pytest.mark.parametrize("pairs", [20, 512])
def test_columns_and_scales_are_those_of_the_pairs_asked_for(vit, proxy, inputs_of, pairs):
    unpack_attention(vit.model)
    plain, names = copy.deepcopy(vit), targets(vit, "image")
    words = {"threshold": 2.5, "momentum": 0.3, "batch": 16, "pairs": pairs}
    quantizer(vit, names, proxy, Checkpoints(), **GRIDS_CONV, **words)
    given = inputs_of(plain, names, proxy)
    for name, layer in twins(vit.model).items():
        x, weight = given[name][:pairs].abs(), plain.model.get_submodule(name).weight.detach().clone()
        columns = (x.amax((0, 1)) > 2.5).nonzero()[:, 0]
        x[..., columns], weight[:, columns] = 0, 0
        scale = 0.0
        for i, part in enumerate(x.split(16)):
            scale = part.max().item() / 127 if i == 0 else 0.7 * scale + 0.3 * part.max().item() / 127
        spares = isinstance(layer.input, SparedInput)
        assert (layer.input.columns.tolist() if spares else []) == columns.tolist()
        assert (layer.input.inner if spares else layer.input).scale == pytest.approx(scale, rel=1e-5)
        torch.testing.assert_close(layer.weight_scale, weight.abs().amax(1, keepdim=True) / 127)
        assert torch.equal(layer.codes, (weight / layer.weight_scale).round().to(torch.int8))
    assert any(isinstance(layer.input, SparedInput) for layer in twins(vit.model).values())
