import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import SMALLEST_SCALE, blocks
from reliquant.layers.twins import StaticInput
from reliquant.quantization.rules import (
    AbsMaxWeight,
    LearnedInput,
    LearnedStep,
    LearnedWeight,
    StraightThrough,
    positive,
)


def test_gradients_of_the_learned_step_by_hand():
    # s = 0.5, codes -2..1: x/s = -6 (below), -0.6, 0.4, 5 (above)
    x = torch.tensor([-3.0, -0.3, 0.2, 2.5], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    out = LearnedStep.apply(x, scale, None, -2, 1)
    assert out.tolist() == [-1.0, -0.5, 0.0, 0.5]
    out.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    assert x.grad.tolist() == [0, 10, 100, 0]
    expected = (1 * -2 + 10 * (-1 + 0.6) + 100 * (0 - 0.4) + 1000 * 1) / (4 * 1) ** 0.5
    assert scale.grad.item() == pytest.approx(expected)


def test_gradients_of_the_learned_offset_by_hand():
    # s = 0.5, o = 1, codes 0..3: (x - o)/s = -8 (below), 0.4, 1.4, 6 (above)
    x = torch.tensor([-3.0, 1.2, 1.7, 4.0], requires_grad=True)
    scale, offset = torch.tensor(0.5, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    out = LearnedStep.apply(x, scale, offset, 0, 3)
    assert out.tolist() == [1.0, 1.0, 1.5, 2.5]
    out.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    assert x.grad.tolist() == [0, 10, 100, 0]
    assert offset.grad.item() == 1 + 1000
    expected = (1 * 0 + 10 * (0 - 0.4) + 100 * (1 - 1.4) + 1000 * 3) / (4 * 3) ** 0.5
    assert scale.grad.item() == pytest.approx(expected)


@pytest.mark.parametrize("offset", [None, 0.3])
def test_the_gradients_are_the_true_slopes_outside_the_range(offset):
    x = torch.tensor([40.0, -40.0, 33.0], dtype=torch.float64)
    scale = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    moved = None if offset is None else torch.tensor(offset, dtype=torch.float64, requires_grad=True)
    LearnedStep.apply(x, scale, moved, -8, 7).sum().backward()
    eps = 1e-6

    def slope(*, of_scale, of_offset):
        sums = [
            LearnedStep.apply(
                x, scale + s * of_scale * eps, moved if offset is None else moved + s * of_offset * eps, -8, 7
            )
            for s in (1, -1)
        ]
        return ((sums[0] - sums[1]).sum() / (2 * eps)).item()

    assert scale.grad.item() * (3 * 7) ** 0.5 == pytest.approx(slope(of_scale=1, of_offset=0), rel=1e-6)
    if offset is not None:
        assert moved.grad.item() == pytest.approx(slope(of_scale=0, of_offset=1), rel=1e-6)


def test_the_inside_gradient_agrees_with_torch_where_both_rules_do():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-100, 100, (500,), generator=generator)  # far from the ends of the range
    x = (
        codes + torch.rand(500, generator=generator) * 0.9 - 0.45
    ) * 0.02  # and from ties, where rounding errors decide
    ours, theirs = torch.tensor([0.02], requires_grad=True), torch.tensor([0.02], requires_grad=True)
    LearnedStep.apply(x, ours, None, -128, 127).square().sum().backward()
    zero = torch.zeros(1)
    torch._fake_quantize_learnable_per_tensor_affine(x, theirs, zero, -128, 127, 1.0).square().sum().backward()
    assert (ours.grad * (500 * 127) ** 0.5).item() == pytest.approx(theirs.grad.item(), rel=1e-3)


def test_a_row_with_its_own_scale_gets_the_gradients_of_a_tensor_with_one():
    generator = torch.Generator().manual_seed(0)
    x, grad = torch.randn(2, 3, 50, generator=generator)
    scales = torch.tensor([[0.05], [0.1], [0.2]])
    together, apart = scales.clone().requires_grad_(), scales.clone().requires_grad_()
    out = LearnedStep.apply(x, together, None, -8, 7)
    out.backward(grad)
    for i in range(3):
        row = LearnedStep.apply(x[i], apart[i], None, -8, 7)
        assert torch.equal(out[i], row)
        row.backward(grad[i])
    torch.testing.assert_close(together.grad, apart.grad, rtol=1e-4, atol=1e-4)


def test_the_scale_gradient_keeps_its_precision_on_a_large_tensor():
    generator = torch.Generator().manual_seed(0)
    x, grad = torch.randn(2, 64, 5000, generator=generator)
    single, double = (torch.tensor(0.03, dtype=d, requires_grad=True) for d in (torch.float32, torch.float64))
    LearnedStep.apply(x, single, None, -128, 127).backward(grad)
    ratio = x.double() / double
    inside = (ratio > -128) & (ratio < 127)
    slope = torch.where(inside, ratio.clamp(-128, 127).round() - ratio, ratio.clamp(-128, 127))
    expected = (grad.double() * slope).sum() / (x.numel() * 127) ** 0.5
    assert single.grad.item() == pytest.approx(expected.item(), rel=2e-3)


GRIDS = [
    Grid(bits=4),
    Grid(bits=4, granularity="channel"),
    Grid(bits=3, granularity="group", group=5),
    Grid(bits=4, granularity="channel", symmetric=False),
]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_an_absmax_weight_gives_what_it_freezes_to_and_passes_the_gradient(grid):
    weight = torch.randn(6, 12, generator=torch.Generator().manual_seed(0), requires_grad=True)
    rule = AbsMaxWeight(weight.detach(), grid)
    out = rule(weight)
    codes, scale, zero = rule.freeze(weight.detach())
    assert codes.min() >= grid.low
    assert codes.max() <= grid.high
    by_hand = scale * (blocks(codes.float(), grid) - zero)
    torch.testing.assert_close(blocks(out.detach(), grid), by_hand)
    assert (out - weight).abs().max() <= scale.max() / 2 + 1e-6
    out.backward(torch.ones_like(out) * 3)
    assert (weight.grad == 3).all()


@pytest.mark.parametrize("grid", GRIDS[:3], ids=str)
def test_a_learned_weight_gives_what_it_freezes_to(grid):
    weight = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))
    rule = LearnedWeight(torch.full((len(blocks(weight, grid)), 1), 0.2), grid)
    codes, scale, _ = rule.freeze(weight)
    torch.testing.assert_close(blocks(rule(weight).detach(), grid), scale * blocks(codes.float(), grid))


def test_a_learned_input_gives_what_it_freezes_to():
    x = torch.randn(100, generator=torch.Generator().manual_seed(0))
    rule = LearnedInput(StaticInput(Grid(bits=4), 0.21))
    torch.testing.assert_close(rule(x), rule.freeze()(x))


def test_straight_through_stops_the_gradient_outside():
    x = torch.ones(3, requires_grad=True)
    StraightThrough.apply(x, torch.zeros(3), torch.tensor([True, False, True])).sum().backward()
    assert x.grad.tolist() == [1, 0, 1]


def test_a_scale_that_fell_below_zero_gets_a_gradient_and_comes_back():
    scale = torch.tensor([-1e-3, 0.5], requires_grad=True)
    seen = positive(scale)
    assert seen.tolist() == [pytest.approx(SMALLEST_SCALE), 0.5]
    seen.sum().backward()
    assert scale.grad.tolist() == [1.0, 1.0]
