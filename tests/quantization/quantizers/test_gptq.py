import copy

import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins, targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.moments import gptq_codes
from reliquant.quantization.proxy import embed
from reliquant.quantization.quantizers.gptq import quantizer


def correlated(n=400, d=24, seed=0):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n, 6)) @ rng.normal(size=(6, d)) + 0.1 * rng.normal(size=(n, d)))


def optimal_brain_surgeon(w, hessian, grid, damp, order):
    """Round one column, correct all others by the closed-form optimum, remove it: no Cholesky, in float64."""
    w, scale = w.clone(), w.abs().amax(1) / grid.high
    codes = torch.zeros_like(w)
    h = hessian + damp * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=hessian.dtype)
    left = list(order)
    while left:
        inverse = torch.linalg.inv(h[left][:, left])
        i = left[0]
        codes[:, i] = (w[:, i] / scale).round().clamp(grid.low, grid.high)
        error = w[:, i] - codes[:, i] * scale
        w[:, left] -= torch.outer(error, inverse[0] / inverse[0, 0])
        left = left[1:]
    return codes, scale


@pytest.mark.parametrize("block", [1, 5, 24, 128])
@pytest.mark.parametrize("act_order", [False, True])
def test_codes_equal_optimal_brain_surgery_one_column_at_a_time(block, act_order):
    x, w = correlated(), torch.randn(8, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grid, hessian = Grid(bits=4, granularity="channel"), 2 * x.T @ x / len(x)
    order = hessian.diagonal().argsort(descending=True) if act_order else torch.arange(24)
    expected, scale = optimal_brain_surgeon(w, hessian, grid, 0.01, order.tolist())
    codes, found, _ = gptq_codes(w, hessian, grid, 0.01, block, act_order=act_order)
    torch.testing.assert_close(found[:, 0].double(), scale, atol=1e-6, rtol=1e-6)
    assert (codes.double() == expected).float().mean() > 0.98  # float32 may fall to the other side of a tie


def test_a_tower_is_nearer_to_fp32_than_by_round_to_nearest(vit, proxy):
    from reliquant.quantization.quantizers.rtn import quantizer as rtn

    unpack_attention(vit.model)
    names, grids = (
        targets(vit, "image"),
        {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=16)},
    )
    other, plain = copy.deepcopy(vit), copy.deepcopy(vit)
    quantizer(vit, names, proxy, Checkpoints(), **grids)
    rtn(other, names, proxy, Checkpoints(), **grids)
    with torch.no_grad():
        fp32, ours, theirs = (embed(c, *next(proxy.in_order(c, 40))).image for c in (plain, vit, other))
    assert (ours - fp32).norm() < 0.8 * (theirs - fp32).norm()
    assert all(layer.codes is not None for layer in twins(vit.model).values())


def test_no_damping_is_refused(vit, proxy):
    with pytest.raises(ValueError, match="needs damp > 0"):
        quantizer(vit, [], proxy, Checkpoints(), weight=Grid(bits=4), activation=Grid(bits=8), damp=0.0)


@pytest.mark.parametrize("act_order", [False, True])
def test_a_tower_has_the_codes_of_brain_surgery_on_what_the_blocks_before_give(vit, proxy, inputs_of, act_order):
    unpack_attention(vit.model)
    plain, names = copy.deepcopy(vit), targets(vit, "image")
    grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=5)}
    quantizer(vit, names, proxy, Checkpoints(), **grids, damp=0.1, act_order=act_order)
    found, given = twins(vit.model), inputs_of(plain, names, proxy)
    made = insert_twins(plain.model, names, *grids.values())
    for name, layer in made.items():
        assert found[name].input.scale == pytest.approx(given[name].abs().max().item() / 15, rel=1e-5)
        layer.input = found[name].input
    for block in ("resblocks.0", "resblocks.1"):
        inside = [name for name in names if block in name]
        for name, x in inputs_of(plain, inside, proxy).items():
            rows, layer = made[name].input(x).flatten(0, 1).double(), found[name]
            hessian = 2 * rows.T @ rows / len(rows)
            order = hessian.diagonal().argsort(descending=True) if act_order else torch.arange(len(hessian))
            weight = made[name].weight.detach().double()
            codes, scale = optimal_brain_surgeon(weight, hessian, grids["weight"], 0.1, order.tolist())
            torch.testing.assert_close(layer.weight_scale[:, 0].double(), scale, atol=1e-6, rtol=1e-6)
            assert (layer.codes == codes).float().mean() > 0.98, name  # float32 may order equal diagonals otherwise
        for name in inside:
            made[name].freeze(found[name].codes, found[name].weight_scale, found[name].weight_zero)
