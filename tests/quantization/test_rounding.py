import itertools

import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import dequantize, quantize, rounded, unblocks, weight_affine
from reliquant.layers.twins import DynamicInput, StaticInput
from reliquant.quantization import rounding
from reliquant.quantization.rounding import AdaptiveRounding, DroppedInput, RoundedInPart, drawn, neighbours, parts

GRIDS = [
    Grid(bits=3, granularity="channel"),
    Grid(bits=4, granularity="channel", symmetric=False),
    Grid(bits=2, granularity="group", group=4),
    Grid(bits=4, element="e2m1", granularity="channel"),
    Grid(bits=4, element="e2m1", granularity="group", group=4, scale_type="e8m0"),
]


@pytest.fixture(params=[2**16, 7], autouse=True)
def few(request, monkeypatch):
    """Work on small tensors whole, and part by part."""
    monkeypatch.setattr(rounding, "FEW", request.param)


def weight(o=5, d=8, seed=0):
    return torch.randn(o, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("grid", GRIDS)
def test_it_starts_as_the_weight_itself_inside_the_range_and_rounds_to_nearest_then(grid):
    w = weight()
    scale, zero = weight_affine(w, grid)
    rule = AdaptiveRounding(w, scale, zero, grid)
    value = rule(w)
    beyond = (dequantize(quantize(w, scale, zero, grid), scale, zero, grid) - w).abs()
    inside = (value - w).abs() < 1e-5
    assert (inside | ((value - w).abs() <= beyond + 1e-6)).all()
    assert inside.float().mean() > 0.8
    codes, _, _ = rule.freeze(w)
    nearest = quantize(w, scale, zero, grid)
    error = [(dequantize(c, scale, zero, grid) - w).abs() for c in (codes, nearest)]
    torch.testing.assert_close(*error)  # ties may fall to either side


@pytest.mark.parametrize("grid", GRIDS)
def test_up_and_down_are_the_two_neighbours_on_the_grid(grid):
    w = weight()
    scale, zero = weight_affine(w, grid)
    rule = AdaptiveRounding(w, scale, zero, grid)
    values = []
    for v in (-20.0, 20.0):
        rule.v.data.fill_(v)
        values.append(rule(w))
        torch.testing.assert_close(dequantize(*rule.freeze(w), grid), values[-1])
    down, up = values
    nearest = dequantize(quantize(w, scale, zero, grid), scale, zero, grid)
    assert ((nearest - down).abs() < 1e-6).logical_or((nearest - up).abs() < 1e-6).all()
    between = (down <= w + 1e-6) & (w <= up + 1e-6)
    assert (between | (down == up)).all()
    assert (up > down).float().mean() > 0.5


def test_the_rectified_sigmoid_by_hand():
    grid = Grid(bits=4, granularity="channel")
    w = torch.tensor([[7.0, 2.25, -3.5]])  # the scale is 1
    rule = AdaptiveRounding(w, torch.ones(1, 1), torch.zeros(1, 1), grid)
    torch.testing.assert_close(rule.share(), torch.tensor([[0.0, 0.25, 0.5]]))
    assert rule.v[0, 2].item() == pytest.approx(0, abs=1e-6)  # sigmoid(0) 1.2 - 0.1 = 0.5
    assert rule.penalty(2.0).item() == pytest.approx(1 - 0.25 + 1)  # 1 - |2 h - 1|^2; 7 has no choice
    rule.v.data.fill_(1.0)
    assert rule.share()[0, 1].item() == pytest.approx(1.2 / (1 + 2.718281828**-1) - 0.1, abs=1e-5)
    rule.v.data.fill_(-3.0)
    assert rule.share().tolist() == [[0.0] * 3]  # rectified


@pytest.mark.parametrize("grid", GRIDS)
def test_gradients_are_those_of_autograd(grid):
    w = weight()
    scale, zero = weight_affine(w, grid)
    rule = AdaptiveRounding(w, scale, zero, grid)
    rule.v.data.add_(torch.randn(rule.v.shape, generator=torch.Generator().manual_seed(2)))
    v = rule.v.detach().double().requires_grad_()
    share = (torch.sigmoid(v) * 1.2 - 0.1).clamp(0, 1)
    value = unblocks((rule.lower + share * rule.span - zero) * scale, w.shape, grid)
    torch.testing.assert_close(rule(w), value.float())
    along = weight(seed=5)
    penalty = ((1 - (2 * share - 1).abs().pow(3.5)) * (rule.span > 0)).sum()
    ((value * along).sum() + 0.7 * penalty).backward()
    (rule(w) * along).sum().backward()
    rule.add_penalty_gradient(3.5, 0.7)
    torch.testing.assert_close(rule.v.grad, v.grad.float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rule.penalty(3.5), penalty.detach().float())


def test_what_it_learns_on_a_tiny_layer_lies_between_the_best_of_all_roundings_and_half_the_error_of_nearest():
    grid = Grid(bits=3, granularity="channel")
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(200, 3, generator=rng) @ torch.randn(3, 8, generator=rng)
    w = weight(o=6, seed=4)
    scale, zero = weight_affine(w, grid)
    rule = AdaptiveRounding(w, scale, zero, grid)
    optimizer = torch.optim.Adam(rule.parameters(), lr=1e-2)
    for step in range(1000):
        optimizer.zero_grad()
        (x @ (rule(w) - w).T).square().sum(1).mean().backward()
        if step > 200:
            rule.add_penalty_gradient(20 - 18 * (step - 200) / 800, 1.0)
        optimizer.step()
    assert rule.penalty(2.0) < 1.0  # of 48 weights: each is at one of its neighbours, or all but one
    assert rule.undecided() <= 2

    def error(value):
        return (x @ (value - w).T).square().sum(0)

    low, high = (side * scale for side in neighbours(w / scale, grid))
    choices = [torch.where(torch.tensor(up), high, low) for up in itertools.product((False, True), repeat=8)]
    best = torch.stack([error(choice) for choice in choices]).amin(0).sum()
    found, nearest = error(dequantize(*rule.freeze(w), grid)).sum(), error(rounded(w, scale, 0, grid)).sum()
    assert best <= found * (1 + 1e-5)
    assert found < 0.5 * nearest


@pytest.mark.parametrize("element", ["e2m1", "e4m3", "e2m3"])
def test_neighbours_of_a_level_are_itself(element):
    grid = Grid(bits={"e2m1": 4, "e4m3": 8, "e2m3": 6}[element], element=element)
    x = torch.linspace(-1.2, 1.2, 501) * grid.high
    low, high = neighbours(x, grid)
    nearest = rounded(x, 1.0, 0, grid)
    assert ((low == nearest) | (high == nearest)).all()
    again = neighbours(nearest, grid)
    assert torch.equal(again[0], nearest)
    assert torch.equal(again[1], nearest)


@pytest.mark.parametrize("symmetric", [True, False])
def test_half_of_an_input_is_rounded_and_the_step_gets_lsqs_gradient(symmetric):
    grid, zero = Grid(bits=4, symmetric=symmetric), 0 if symmetric else -3
    calibrated = StaticInput(grid, 0.3, zero)
    x = torch.randn(4000, generator=torch.Generator().manual_seed(0)).mul_(2).requires_grad_()
    rule = DroppedInput(calibrated, 0.5, torch.Generator().manual_seed(1))
    out = rule(x)
    with torch.no_grad():
        nearest = calibrated(x)
    kept, on_grid = out == x, (out - nearest).abs() < 1e-5
    assert (kept | on_grid).all()
    assert 0.45 < on_grid.float().mean() < 0.55
    assert not torch.equal(rule(x) == x, kept)  # drawn anew
    rule.drop = 0.0
    rule(x).sum().backward()
    ratio = x.detach() / 0.3 + zero
    inside = (ratio.round() >= grid.low) & (ratio.round() <= grid.high)
    slope = torch.where(inside, ratio.round() - ratio, ratio.clamp(grid.low, grid.high) - zero)
    assert rule.scale.log_ratio.grad.item() == pytest.approx(0.3 * slope.sum().item(), rel=1e-3)
    assert torch.equal(x.grad != 0, inside)
    frozen = rule.freeze()
    assert (frozen.scale, frozen.zero) == (pytest.approx(0.3), zero)


def test_dynamic_inputs_have_no_step_and_small_floats_learn_one():
    rng = torch.Generator().manual_seed(0)
    dynamic = DynamicInput(Grid(bits=8, granularity="token", dynamic=True))
    assert not list(DroppedInput(dynamic, 0.5, rng).parameters())
    assert DroppedInput(dynamic, 0.5, rng).freeze() is dynamic
    rule = DroppedInput(StaticInput(Grid(bits=8, element="e4m3"), 0.01), 0.0, rng)
    x = torch.randn(100, generator=rng)
    rule(x).square().sum().backward()
    assert rule.scale.log_ratio.grad != 0
    torch.testing.assert_close(rule(x), rule.calibrated(x), rtol=0.07, atol=1e-5)


def test_a_share_is_drawn():
    assert drawn(torch.zeros(10000), 0.25, torch.Generator().manual_seed(0)).float().mean().item() == pytest.approx(
        0.25, abs=0.02
    )


def test_rounding_in_part_has_the_values_and_gradients_of_its_formula():
    rng = torch.Generator().manual_seed(3)
    x, above = torch.randn(3, 11, generator=rng) * 4, torch.randn(3, 11, generator=rng)
    kept, zero, low, high = drawn(x, 0.5, rng), 3.0, 0, 15
    found, wanted = [], []
    for values, own in ((found, True), (wanted, False)):
        some, scale = x.clone().requires_grad_(), torch.tensor(0.37, requires_grad=True)
        ratio = some / scale
        straight = ratio + (ratio.round() - ratio).detach()
        formula = torch.where(kept, some, ((straight + zero).clamp(low, high) - zero) * scale)
        out = RoundedInPart.apply(some, scale, kept, zero, low, high) if own else formula
        (out * above).sum().backward()
        values += [out.detach(), some.grad, scale.grad]
    assert kept.any()
    assert ((x / 0.37).round() + zero > high).any()
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_parts_cover_each_row_once(few):
    first, one = torch.arange(30).view(10, 3), torch.ones(1, 1)
    cut = list(parts(first, first + 1, one))
    torch.testing.assert_close(torch.cat([part[0] for part in cut]), first)
    torch.testing.assert_close(torch.cat([part[1] for part in cut]), first + 1)
    assert all(part[2] is one for part in cut)
