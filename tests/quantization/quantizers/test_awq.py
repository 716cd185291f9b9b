import copy

import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine, fake_quantize, weight_affine
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.transforms import Smoothing
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.moments import Moments
from reliquant.quantization.proxy import embed
from reliquant.quantization.quantizers.awq import best_factor, best_range, quantizer

GRIDS = [
    Grid(bits=3, granularity="channel"),
    Grid(bits=4, granularity="group", group=10),
    Grid(bits=4, granularity="group", group=8, symmetric=False),
]


def salient(n=300, d=24):
    """Inputs of which three channels are large."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    return x * torch.where(torch.arange(d) % 8 == 0, 30.0, 1.0)


def make_salient(clip):
    """Let four of the 48 channels that every LayerNorm of the image tower gives be large."""
    for block in clip.model.visual.transformer.resblocks:
        for norm in (block.ln_1, block.ln_2):
            norm.weight.data[::12] *= 20


def moments(x):
    return Moments(None, len(x), x.T @ x, x.abs().sum(0))


def rounded(w, grid):
    return fake_quantize(w, *weight_affine(w, grid), grid)


def slow_factor(x, w, grid):
    """Search Equation 4 on the inputs themselves; return the best factors, their error, and that of no factors."""
    found = []
    for i in range(20):
        s = x.abs().mean(0) ** (i / 20)
        s = s / (s.max() * s.min()).sqrt()
        y = (x / s) @ rounded(w * s, grid).T
        found.append((((y - x @ w.T) ** 2).sum().item(), s))
    error, best = min(found, key=lambda pair: pair[0])
    return best, error, found[0][0]


def slow_ranges(x, w, grid, shares):
    """Search each row's or group's range on the inputs themselves; return its highest value and scale, (rows, 2)."""
    width = grid.group if grid.granularity == "group" else w.shape[1]
    expected = []
    for row in w:
        for start in range(0, len(row), width):
            part, inputs = row[start : start + width], x[:, start : start + width]
            padded = torch.cat([part, torch.zeros(width - len(part))])
            found = []
            for i in range(shares):
                cut = padded.abs().max() * (1 - i / 20)
                low, high = padded.min().clamp(min=-cut), padded.max().clamp(max=cut)
                scale, zero = affine(low.reshape(1, 1), high.reshape(1, 1), grid)
                value = fake_quantize(part[None], scale, zero, Grid(**{**vars(grid), "granularity": "channel"}))
                found.append((((inputs @ (value[0] - part)) ** 2).sum().item(), high.item(), scale.item()))
            expected.append(min(found)[1:])
    return np.array(expected)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_factor_equals_a_slow_search_on_the_inputs_themselves(grid):
    x, w = salient(), torch.randn(12, 24, generator=torch.Generator().manual_seed(1))
    expected, error, unscaled = slow_factor(x, w, grid)
    torch.testing.assert_close(best_factor([(w, grid)], moments(x), 20), expected)
    assert error < unscaled * 0.9  # alpha = 0 is round to nearest


@pytest.mark.parametrize("grid", GRIDS)
def test_the_range_equals_a_slow_search_on_the_inputs_themselves(grid):
    x, w = salient(), torch.distributions.StudentT(3.0).sample((5, 24))
    _, high = best_range(w, x.T @ x, grid, 10)
    np.testing.assert_allclose(high[:, 0], slow_ranges(x, w, grid, 10)[:, 0], rtol=1e-5)


def test_a_tower_is_scaled_and_but_for_queries_and_keys_clipped_as_by_the_slow_searches(vit, proxy, inputs_of):
    unpack_attention(vit.model)
    make_salient(vit)
    plain, names, grid = copy.deepcopy(vit), targets(vit, "image"), Grid(bits=3, granularity="channel")
    quantizer(vit, names, proxy, Checkpoints(), weight=grid, activation=Grid(bits=8))
    for name, x in inputs_of(plain, names, proxy).items():
        x, w, layer = x.flatten(0, 1), plain.model.get_submodule(name).weight.detach(), twins(vit.model)[name]
        factor = slow_factor(x, w, grid)[0]
        x, w = x / factor, w * factor
        assert layer.input.scale == pytest.approx(x.abs().max().item() / 127, rel=1e-4)
        scale = slow_ranges(x, w, grid, 1 if name.endswith("qkv") else 10)[:, 1:]
        assert np.mean(np.isclose(layer.weight_scale, scale, rtol=1e-4)) > 0.99, name  # a search may end in a tie
        assert np.mean(layer.codes.numpy() == (w.numpy() / scale).round().clip(-4, 3)) > 0.99
        assert (scale[:, 0] < 0.99 * w.abs().amax(1).numpy() / 3).any() != name.endswith("qkv")


def test_factors_go_into_layer_norms_or_else_divide_online(vit, proxy):
    unpack_attention(vit.model)
    quantizer(vit, targets(vit, "image"), proxy, Checkpoints(), weight=GRIDS[0], activation=Grid(bits=16))
    for name, layer in twins(vit.model).items():
        assert isinstance(layer.transform, Smoothing) == name.endswith(("proj",))


def test_scaling_alone_changes_no_output(clip, proxy):
    unpack_attention(clip.model)
    plain = copy.deepcopy(clip)
    grid = Grid(bits=15, granularity="channel")
    quantizer(clip, targets(clip, "image"), proxy, Checkpoints(), weight=grid, activation=Grid(bits=16), shares=1)
    with torch.no_grad():
        before, after = (embed(c, *next(proxy.in_order(c, 40))).image for c in (plain, clip))
    torch.testing.assert_close(after, before, atol=2e-3, rtol=2e-3)


def test_with_salient_channels_it_beats_round_to_nearest(vit, proxy):
    from reliquant.quantization.quantizers.rtn import quantizer as rtn

    unpack_attention(vit.model)
    make_salient(vit)
    names, grids = targets(vit, "image"), {"weight": GRIDS[0], "activation": Grid(bits=16)}
    other, plain = copy.deepcopy(vit), copy.deepcopy(vit)
    quantizer(vit, names, proxy, Checkpoints(), **grids)
    rtn(other, names, proxy, Checkpoints(), **grids)
    with torch.no_grad():
        fp32, ours, theirs = (embed(c, *next(proxy.in_order(c, 40))).image for c in (plain, vit, other))
    assert (ours - fp32).norm() < 0.8 * (theirs - fp32).norm()


def test_an_empty_search_is_refused(vit, proxy):
    with pytest.raises(ValueError, match="needs alphas >= 1"):
        quantizer(vit, [], proxy, Checkpoints(), weight=Grid(bits=4), activation=Grid(bits=8), alphas=0)
