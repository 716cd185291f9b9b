import pytest
import torch

from reliquant.grid import ELEMENTS, FORMATS, Grid
from reliquant.layers.arithmetic import SMALLEST_SCALE, blocks
from reliquant.layers.floats import levels
from reliquant.layers.twins import StaticInput
from reliquant.quantization.rules import (
    AbsMaxWeight,
    Learned,
    LearnedInput,
    LearnedStep,
    LearnedWeight,
    StraightThrough,
)
from reliquant.quantization.train import EPS_OF_SCALES


def test_gradients_of_the_learned_step_by_hand():
    # s = 0.5, codes -2..1: x/s = -6 (below), -0.6, 0.4, 5 (above)
    x = torch.tensor([-3.0, -0.3, 0.2, 2.5], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    out = LearnedStep.apply(x, scale, None, Grid(bits=2))
    assert out.tolist() == [-1.0, -0.5, 0.0, 0.5]
    out.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    assert x.grad.tolist() == [0, 10, 100, 0]
    expected = (1 * -2 + 10 * (-1 + 0.6) + 100 * (0 - 0.4) + 1000 * 1) / (4 * 1) ** 0.5
    assert scale.grad.item() == pytest.approx(expected)


def test_gradients_of_the_learned_offset_by_hand():
    # s = 0.5, o = 1, codes 0..3: (x - o)/s = -8 (below), 0.4, 1.4, 6 (above)
    x = torch.tensor([-3.0, 1.2, 1.7, 4.0], requires_grad=True)
    scale, offset = torch.tensor(0.5, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    out = LearnedStep.apply(x, scale, offset, Grid(bits=2, symmetric=False, signed=False))
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
    LearnedStep.apply(x, scale, moved, Grid(bits=4)).sum().backward()
    eps = 1e-6

    def slope(*, of_scale, of_offset):
        sums = [
            LearnedStep.apply(
                x, scale + s * of_scale * eps, moved if offset is None else moved + s * of_offset * eps, Grid(bits=4)
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
    LearnedStep.apply(x, ours, None, Grid(bits=8)).square().sum().backward()
    zero = torch.zeros(1)
    torch._fake_quantize_learnable_per_tensor_affine(x, theirs, zero, -128, 127, 1.0).square().sum().backward()
    assert (ours.grad * (500 * 127) ** 0.5).item() == pytest.approx(theirs.grad.item(), rel=1e-3)


def test_a_row_with_its_own_scale_gets_the_gradients_of_a_tensor_with_one():
    generator = torch.Generator().manual_seed(0)
    x, grad = torch.randn(2, 3, 50, generator=generator)
    scales = torch.tensor([[0.05], [0.1], [0.2]])
    together, apart = scales.clone().requires_grad_(), scales.clone().requires_grad_()
    out = LearnedStep.apply(x, together, None, Grid(bits=4))
    out.backward(grad)
    for i in range(3):
        row = LearnedStep.apply(x[i], apart[i], None, Grid(bits=4))
        assert torch.equal(out[i], row)
        row.backward(grad[i])
    torch.testing.assert_close(together.grad, apart.grad, rtol=1e-4, atol=1e-4)


def test_the_scale_gradient_keeps_its_precision_on_a_large_tensor():
    generator = torch.Generator().manual_seed(0)
    x, grad = torch.randn(2, 64, 5000, generator=generator)
    single, double = (torch.tensor(0.03, dtype=d, requires_grad=True) for d in (torch.float32, torch.float64))
    LearnedStep.apply(x, single, None, Grid(bits=8)).backward(grad)
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


def test_a_learned_scale_starts_at_the_given_one_and_gets_the_gradient_of_its_logarithm():
    scale = Learned(torch.tensor([0.5, 2.0]))
    assert scale().tolist() == [0.5, 2.0]
    (scale() * torch.tensor([1.0, 10.0])).sum().backward()
    assert scale.log_ratio.grad.tolist() == [0.5, 20.0]  # s times the gradient of s


@pytest.mark.parametrize("start", [1e-5, 1.0])
def test_steps_of_adam_do_not_carry_a_learned_scale_across_zero_however_small_it_is(start):
    scale = Learned(torch.tensor(start))
    optimizer = torch.optim.AdamW(scale.parameters(), lr=1e-2, weight_decay=0.0, eps=EPS_OF_SCALES)
    for _ in range(100):
        optimizer.zero_grad()
        scale().backward()
        optimizer.step()
    assert scale.item() / start == pytest.approx(0.427, abs=0.001)  # the gradient, too, shrinks with the scale


def test_scales_that_have_fallen_to_the_smallest_are_counted_but_not_those_that_began_there():
    scale = Learned(torch.tensor([1.0, SMALLEST_SCALE, 0.5]))
    assert scale.fallen() == 0
    scale.log_ratio.data = torch.tensor([-30.0, 0.0, torch.nan])
    assert scale.fallen() == 2


FLOATS = {"e2m1": 7, "e2m3": 31, "e3m2": 31, "e5m2": 123, "e4m3": 126}


@pytest.mark.parametrize(("element", "count"), FLOATS.items())
def test_positive_levels_are_those_of_the_table(element, count):
    numbers = levels(element)
    assert ((numbers > 0) & numbers.isfinite()).sum() == count
    assert Grid(bits=ELEMENTS[element].bits, element=element).positive_levels == count


def test_gradients_of_the_learned_step_of_a_small_float_by_hand():
    # E2M1, s = 0.5: x/s = -8 (below -6), -0.6 (rounds to -0.5), 2.6 (to 3), 2.5 (a tie: to 2), 20 (above)
    x = torch.tensor([-4.0, -0.3, 1.3, 1.25, 10.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    out = LearnedStep.apply(x, scale, None, Grid(bits=4, element="e2m1"))
    assert out.tolist() == [-3.0, -0.25, 1.5, 1.0, 3.0]
    out.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0]))
    assert x.grad.tolist() == [0, 10, 100, 1000, 0]
    expected = 1 * -6 + 10 * (-0.5 + 0.6) + 100 * (3 - 2.6) + 1000 * (2 - 2.5) + 10000 * 6
    assert scale.grad.item() == pytest.approx(expected / (5 * 7) ** 0.5, rel=1e-5)


def test_learned_scales_of_weights_in_blocks_whose_scales_have_a_type_of_their_own_are_refused():
    grid = Grid(**FORMATS["mxfp4"])
    with pytest.raises(ValueError, match="takes no blocks of e8m0"):
        LearnedWeight(torch.ones(2, 1), grid)
