import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.twins import DynamicInput, StaticInput
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantizers.ste import MovingRange, quantizer


def test_the_range_moves_in_training_and_stands_still_after():
    rule = MovingRange(StaticInput(Grid(bits=8), 1 / 127), momentum=0.1)
    rule(torch.tensor([-3.0, 2.0]))
    assert rule.high.item() == pytest.approx(0.9 * 1 + 0.1 * 3)
    rule.eval()(torch.tensor([100.0]))
    assert rule.freeze().scale == pytest.approx(1.2 / 127)


def test_an_asymmetric_range_follows_both_ends():
    grid = Grid(bits=8, symmetric=False)
    rule = MovingRange(StaticInput(grid, 4 / 255, -64), momentum=0.5)
    assert (rule.low.item(), rule.high.item()) == pytest.approx((-1.004, 2.996), abs=1e-3)
    rule(torch.tensor([-2.0, 6.0]))
    assert (rule.low.item(), rule.high.item()) == pytest.approx((-1.502, 4.498), abs=1e-3)
    x = torch.linspace(-1.4, 4.4, 50)
    torch.testing.assert_close(rule.eval()(x), rule.freeze()(x))


def test_the_gradient_passes_inside_the_range_only():
    rule = MovingRange(StaticInput(Grid(bits=4), 0.5), momentum=0.1).eval()
    x = torch.tensor([-9.0, -1.0, 3.0, 5.0], requires_grad=True)  # range -4 .. 3.5
    rule(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_dynamic_inputs_are_trained_through_too(vit, proxy):
    unpack_attention(vit.model)
    grids = {"weight": Grid(bits=4), "activation": Grid(bits=8, granularity="token", dynamic=True)}
    quantizer(vit, targets(vit, "image"), proxy, Checkpoints(), **grids, iterations=2, batch=16)
    assert all(isinstance(layer.input, DynamicInput) for layer in twins(vit.model).values())
