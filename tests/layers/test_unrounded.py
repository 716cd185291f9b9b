import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins
from reliquant.layers.twins import StaticInput
from reliquant.layers.unrounded import unrounded

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Zeros(nn.Module):
    def forward(self, weight):
        return 0 * weight


def test_rounding_is_off_inside_the_block_and_on_after_it():
    model = nn.Sequential(nn.Linear(6, 5))
    exact = model(X)
    layer = insert_twins(model, ["0"], Grid(bits=4), Grid(bits=4))["0"]
    layer.input, layer.weight_rule = StaticInput(Grid(bits=4), 0.5), Zeros()
    rounded = model(X)
    with unrounded(model):
        assert torch.equal(model(X), exact)
    assert torch.equal(model(X), rounded)
    assert not torch.equal(rounded, exact)
