import numpy as np
import pytest
import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.arithmetic import dequantize, fake_quantize, quantize, weight_affine
from reliquant.layers.surgery import insert_twins
from reliquant.layers.twins import StaticInput, twin
from reliquant.models.parts import Parts
from reliquant.quantization.moments import Moments, gptq_codes, moments_of, output_error, stages


def correlated(n=400, d=24, seed=0):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n, 6)) @ rng.normal(size=(6, d)) + 0.1 * rng.normal(size=(n, d)))


@pytest.mark.parametrize("grid", [Grid(bits=4, granularity="channel"), Grid(bits=4, granularity="group", group=10)])
@pytest.mark.parametrize("act_order", [False, True])
def test_the_output_error_is_below_that_of_round_to_nearest(grid, act_order):
    x, w = correlated().float(), torch.randn(16, 24, generator=torch.Generator().manual_seed(1))
    pair = gptq_codes(w, 2 * x.T @ x, grid, 0.01, 8, act_order=act_order)
    ours = (x @ (dequantize(*pair, grid) - w).T).square().sum()
    nearest = (x @ (fake_quantize(w, *weight_affine(w, grid), grid) - w).T).square().sum()
    assert ours < 0.5 * nearest


def test_uncorrelated_inputs_give_round_to_nearest():
    w = torch.randn(6, 16, generator=torch.Generator().manual_seed(2))
    grid = Grid(bits=4, granularity="channel")
    codes, scale, zero = gptq_codes(w, torch.eye(16) * 3, grid, 0.01, 4, act_order=True)
    assert torch.equal(codes, quantize(w, scale, zero, grid))


def test_group_scales_follow_the_corrected_weight():
    x, w = correlated(d=12).float(), torch.randn(4, 12, generator=torch.Generator().manual_seed(3))
    grid = Grid(bits=3, granularity="group", group=4)
    whole = gptq_codes(w, 2 * x.T @ x, grid, 0.01, 12, act_order=False)
    for block in (1, 3, 5):  # the corrections pending across block borders must be in them
        part = gptq_codes(w, 2 * x.T @ x, grid, 0.01, block, act_order=False)
        for a, b in zip(whole, part, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_columns_that_meet_only_zeros_are_rounded_to_nearest_so_that_no_channel_dies_of_them():
    x, w = correlated().float(), torch.randn(5, 24, generator=torch.Generator().manual_seed(4))
    silent = [i for i in range(24) if i % 11]
    x[:, silent] = 0
    w[:, ::11] /= 60  # all that the other columns meet
    grid = Grid(bits=4, granularity="channel")
    for act_order in (False, True):
        codes, scale, zero = gptq_codes(w, 2 * x.T @ x, grid, 0.01, 8, act_order=act_order)
        assert torch.equal(codes[:, silent], quantize(w, scale, zero, grid)[:, silent])
        assert (codes.abs().amax(1) == 7).all()


def test_where_the_damped_hessian_is_not_positive_definite_it_is_damped_ten_times_more_from_what_it_was():
    w = torch.randn(6, 2, generator=torch.Generator().manual_seed(5))
    hessian = torch.tensor([[1.0, 1.05], [1.05, 1.0]])  # eigenvalues 2.05 and -0.05
    given = hessian.clone()
    for act_order in (False, True):
        found = gptq_codes(w, hessian, Grid(bits=4), 0.01, 2, act_order=act_order)
        assert all(map(torch.equal, found, gptq_codes(w, hessian, Grid(bits=4), 0.1, 2, act_order=act_order)))
    assert torch.equal(hessian, given)


def test_a_single_output_channel():
    x = correlated().float()
    codes, scale, _ = gptq_codes(torch.ones(1, 24), 2 * x.T @ x, Grid(bits=4), 0.01, 128, act_order=False)
    assert codes.shape == (1, 24)
    assert scale.shape == (1, 1)


def test_output_error_is_the_sum_over_inputs():
    x, error = torch.randn(50, 7), torch.randn(3, 7)
    torch.testing.assert_close(output_error(error, x.T @ x), (x @ error.T).square().sum(0), rtol=1e-4, atol=1e-4)


def test_moments_are_those_of_the_rounded_inputs_by_hand():
    layer = twin(nn.Linear(2, 1), Grid(bits=8), Grid(bits=4))
    layer.input = StaticInput(Grid(bits=4), 0.5)
    seen = Moments(layer)
    seen.update(torch.tensor([[[0.4, 1.1]]]))  # rounded to 0.5, 1
    seen.update(torch.tensor([[[-2.1, 0.0]]]))  # to -2, 0
    assert seen.count == 2
    assert seen.gram.tolist() == [[0.25 + 4, 0.5], [0.5, 1.0]]
    assert seen.absolute.tolist() == [2.5, 1.0]
    with pytest.raises(ValueError, match="NaN or infinite"):
        seen.update(torch.tensor([[[float("nan"), 0.0]]]))


def test_the_first_pairs_alone_reach_a_stage_and_no_layer_after_it(vit, proxy, inputs_of):
    block = "visual.transformer.resblocks.0"
    names = [f"{block}.mlp.c_fc", f"{block}.mlp.c_proj"]
    given = inputs_of(vit, names, proxy)
    vit.parts  # noqa: B018  found by a forward of its own
    after, ran = vit.model.get_submodule("visual.transformer.resblocks.1"), []
    after.register_forward_hook(lambda *_: ran.append(1))
    made = insert_twins(vit.model, names, Grid(bits=8), Grid(bits=8))
    seen = moments_of(vit, made, proxy, stage=block, batch=8, pairs=12)
    for name in names:
        rows = given[name][:12].flatten(0, 1)
        assert seen[name].count == len(rows)
        torch.testing.assert_close(seen[name].gram, rows.T @ rows, rtol=1e-4, atol=1e-3)
    assert not ran


def test_a_layer_that_no_forward_reaches_is_named(vit, proxy):
    vit.model.visual.unused = nn.Linear(3, 3)
    made = insert_twins(vit.model, ["visual.unused"], Grid(bits=8), Grid(bits=8))
    with pytest.raises(ValueError, match=r"visual\.unused saw no input"):
        moments_of(vit, made, proxy, stage="visual.transformer.resblocks.0", batch=8, pairs=8)


def test_a_layer_outside_the_blocks_is_a_stage_of_its_own():
    names = ["visual.layers.0.blocks.1.fc1", "head", "visual.layers.0.blocks.1.fc2"]
    parts = Parts(("visual",), (), ("visual.layers.0",))
    assert stages(names, parts) == {"visual.layers.0": [names[0], names[2]], "head": ["head"]}
