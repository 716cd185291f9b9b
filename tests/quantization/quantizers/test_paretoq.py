import pytest
import torch

from reliquant.grid import Grid
from reliquant.quantization.quantizers.paretoq import Stretched, StretchedWeight, _by_bits
from reliquant.quantization.rules import LearnedWeight


def published(weight: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Equation 5 of the paper at 2 bits, k = 4 levels."""
    k = 4
    return alpha * (torch.round((weight / alpha).clamp(-0.99, 0.99) * k / 2 - 0.5) + 0.5) / k * 2


def test_two_bit_weights_are_those_of_the_paper():
    weight = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    rule = _by_bits(weight, Grid(bits=2, granularity="channel", symmetric=False))
    assert isinstance(rule, StretchedWeight)
    alpha = weight.abs().amax(1, keepdim=True)
    torch.testing.assert_close(rule(weight).detach(), published(weight, alpha))
    codes, scale, zero = rule.freeze(weight)
    torch.testing.assert_close(scale * (codes - zero), published(weight, alpha))


def test_gradients_by_hand():
    # alpha = 1, n = 2: levels -.75 -.25 .25 .75; w = -3 (below), -.6, .1, 2 (above)
    rows = torch.tensor([[-3.0, -0.6, 0.1, 2.0]], requires_grad=True)
    alpha = torch.ones(1, 1, requires_grad=True)
    out = Stretched.apply(rows, alpha, 2)
    assert out.tolist() == [[-0.75, -0.75, 0.25, 0.75]]
    out.backward(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
    assert rows.grad.tolist() == [[0, 10, 100, 0]]
    expected = (1 * -0.75 + 10 * (-0.75 + 0.6) + 100 * (0.25 - 0.1) + 1000 * 0.75) / (4 * 1) ** 0.5
    assert alpha.grad.item() == pytest.approx(expected)


def test_the_alpha_gradient_is_the_true_slope_outside_the_range():
    rows = torch.tensor([[5.0, -7.0, 6.0]], dtype=torch.float64)
    alpha = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    Stretched.apply(rows, alpha, 2).sum().backward()
    eps = 1e-6
    with torch.no_grad():
        slope = (Stretched.apply(rows, alpha + eps, 2).sum() - Stretched.apply(rows, alpha - eps, 2).sum()) / (2 * eps)
    assert alpha.grad.item() * 3**0.5 == pytest.approx(slope.item(), rel=1e-6)


def test_three_bits_and_more_take_learned_steps_from_absmax():
    weight = torch.tensor([[1.0, -3.0], [0.5, 0.2]])
    rule = _by_bits(weight, Grid(bits=3, granularity="channel"))
    assert isinstance(rule, LearnedWeight)
    torch.testing.assert_close(rule.scale().detach(), torch.tensor([[1.0], [0.5 / 3]]))
