import pytest
import torch

from reliquant.grid import Grid
from reliquant.quantization.quantizers.statsq import StatisticWeight


def published(row: torch.Tensor, bits: int) -> torch.Tensor:
    """The rule of OFQ, a row at a time, in a plain loop."""
    scale, n = 2 * row.abs().mean().item(), 2 ** (bits - 1)
    clipped = [min(max(w / scale, -1), 1 - 1e-6) for w in row.tolist()]
    return torch.tensor([scale * (round(c * n - 0.5) + 0.5) / n for c in clipped])


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_are_those_of_the_paper(bits):
    weight = torch.randn(4, 30, generator=torch.Generator().manual_seed(bits))
    out = StatisticWeight(weight, Grid(bits=bits, granularity="channel", symmetric=False))(weight)
    torch.testing.assert_close(out, torch.stack([published(row, bits) for row in weight]))


def test_codes_lie_half_a_step_beside_zero():
    weight = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    rule = StatisticWeight(weight, Grid(bits=2, granularity="channel", symmetric=False))
    codes, scale, zero = rule.freeze(weight)
    assert sorted(codes.unique().tolist()) == [-2, -1, 0, 1]
    torch.testing.assert_close(scale * (codes - zero), rule(weight))
    assert (rule(weight) != 0).all()


def test_the_gradient_passes_clipped_weights_too_and_ignores_the_scale():
    weight = torch.tensor([[0.1, -0.2, 0.3, 1.4]], requires_grad=True)  # 2 mean|w| = 1
    rule = StatisticWeight(weight.detach(), Grid(bits=4, granularity="channel", symmetric=False))
    rule(weight).backward(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert weight.grad.tolist() == [[1, 2, 3, 4]]


def test_the_padding_of_a_group_does_not_shrink_its_scale():
    weight = torch.ones(2, 5)  # groups of 4 and 1
    _, scale, _ = StatisticWeight(weight, Grid(bits=4, granularity="group", group=4, symmetric=False)).freeze(weight)
    torch.testing.assert_close(scale, torch.full((4, 1), 2 / 8))
