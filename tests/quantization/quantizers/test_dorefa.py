import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.twins import StaticInput
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantizers.dorefa import FixedRange, TanhWeight, quantizer


def published(w: torch.Tensor, bits: int) -> torch.Tensor:
    """Equation 9 of the paper, times the largest weight."""
    steps = 2**bits - 1
    unit = w.tanh() / (2 * w.tanh().abs().max()) + 0.5
    return (2 * torch.round(steps * unit) / steps - 1) * w.abs().max()


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("spread", [0.05, 2.0])
def test_weights_are_those_of_the_paper_rescaled(bits, spread):
    w = torch.randn(5, 40, generator=torch.Generator().manual_seed(bits)) * spread
    whole = TanhWeight(w, Grid(bits=bits, symmetric=False))(w)
    torch.testing.assert_close(whole, published(w, bits), rtol=1e-4, atol=1e-5)
    rows = TanhWeight(w, Grid(bits=bits, granularity="channel", symmetric=False))(w)
    torch.testing.assert_close(rows, torch.stack([published(row, bits) for row in w]), rtol=1e-4, atol=1e-5)


def test_codes_fill_the_grid_and_give_the_same_weight():
    w = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    rule = TanhWeight(w, Grid(bits=3, granularity="channel", symmetric=False))
    codes, scale, zero = rule.freeze(w)
    assert (zero == -0.5).all()
    assert sorted(codes.unique().tolist()) == list(range(-4, 4))
    torch.testing.assert_close(scale * (codes - zero), rule(w))


def test_the_gradient_is_the_slope_of_the_unrounded_rule():
    w = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    rule = TanhWeight(w.detach(), Grid(bits=4, symmetric=False))
    rule(w).sum().backward()
    largest = w.detach().abs().max()

    def smooth(v):
        return (largest * v.tanh() / largest.tanh()).sum(), None

    eps = 1e-6
    moved = torch.eye(18, dtype=torch.float64).reshape(18, 3, 6) * eps
    slopes = torch.stack([(smooth(w.detach() + m)[0] - smooth(w.detach() - m)[0]) / (2 * eps) for m in moved])
    torch.testing.assert_close(w.grad.flatten(), slopes, rtol=1e-6, atol=1e-8)


def test_inputs_are_clipped_to_the_calibrated_range():
    rule = FixedRange(StaticInput(Grid(bits=8, symmetric=False), 1 / 255, -128))  # the paper's [0, 1]
    x = torch.tensor([-0.5, 0.3, 2.0], requires_grad=True)
    out = rule(x)
    torch.testing.assert_close(out, torch.round(255 * x.clamp(0, 1)) / 255)
    out.sum().backward()
    assert x.grad.tolist() == [0, 1, 0]


def test_a_dynamic_activation_grid_is_refused(vit, proxy):
    with pytest.raises(ValueError, match="dorefa learns one range per tensor"):
        quantizer(vit, [], proxy, Checkpoints(), weight=Grid(bits=8), activation=Grid(bits=8, dynamic=True))
