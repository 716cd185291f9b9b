import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from reliquant.grid import Grid
from reliquant.layers.plain import linear_of, plain, timm
from reliquant.layers.surgery import insert_twins
from reliquant.layers.twins import QuantConv2d, QuantLinear, twin

FLOATING = Grid(bits=16)
IMAGES = torch.randn(2, 4, 9, 10, generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrized():
    layer = nn.Linear(6, 3)
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


def old_spectral_norm():
    layer = torch.nn.utils.spectral_norm(nn.Linear(6, 3))
    layer(ROWS)  # one step of its power iteration
    return layer.eval()


LINEAR = {
    "its own": lambda: nn.Linear(6, 3),
    "that of attention": lambda: nn.modules.linear.NonDynamicallyQuantizableLinear(6, 3),
    "timm's": lambda: timm.Linear(6, 3, bias=False),
    "parametrized": parametrized,
    "weight norm": lambda: weight_norm(nn.Linear(6, 3)),
    "spectral norm": lambda: spectral_norm(nn.Linear(6, 3)).eval(),
    "weight norm by a hook": lambda: torch.nn.utils.weight_norm(nn.Linear(6, 3)),
    "spectral norm by a hook": old_spectral_norm,
}
CONVOLUTIONS = {
    "its own": lambda: nn.Conv2d(4, 6, 3, 2, 1, groups=2),
    "padded": lambda: timm.Conv2dSame(4, 6, 3, stride=2),
    "padded and dilated": lambda: timm.Conv2dSame(4, 6, 3, stride=1, dilation=2, bias=False),
    "standardised": lambda: timm.StdConv2d(4, 6, 3, stride=2),
    "standardised and padded": lambda: timm.StdConv2dSame(4, 6, 3, stride=2),
    "standardised, padded by a number": lambda: timm.StdConv2dSame(4, 6, 3, stride=1),
    "scaled": lambda: timm.ScaledStdConv2d(4, 6, 3, stride=2),
    "scaled and padded": lambda: timm.ScaledStdConv2dSame(4, 6, 3, stride=2),
}


@pytest.mark.parametrize("make", LINEAR.values(), ids=LINEAR)
def test_the_twin_of_a_linear_computes_what_it_computes(make):
    layer = make()
    with torch.no_grad():
        made, exact = twin(layer, FLOATING, FLOATING), layer(ROWS)
        assert type(made) is QuantLinear
        torch.testing.assert_close(made(ROWS), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_the_twin_of_a_convolution_computes_what_it_computes(make):
    layer = make()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.rand_like(parameter))
        made = twin(layer, FLOATING, FLOATING)
        assert type(made) is QuantConv2d
        torch.testing.assert_close(made(IMAGES), layer(IMAGES), rtol=1e-6, atol=1e-6)


def test_plain_layers_share_their_parameters_and_folded_ones_do_not():
    layer = nn.Linear(6, 3)
    assert plain(layer).weight is layer.weight
    assert plain(layer).bias is layer.bias
    standardised = timm.StdConv2d(4, 6, 3)
    assert not torch.equal(plain(standardised).weight, standardised.weight)


def test_a_standardised_weight_is_rounded_after_it_is_standardised():
    layer = timm.ScaledStdConv2d(4, 6, 3)
    made = twin(layer, Grid(bits=8, granularity="channel"), FLOATING)
    made.freeze_absmax()
    rows, own = made.weight.flatten(1), layer.weight.flatten(1)
    exact = (own - own.mean(1, keepdim=True)) / (own.var(1, keepdim=True, unbiased=False) + layer.eps).sqrt()
    exact = exact * layer.scale * layer.gain.flatten(1)
    assert (rows - exact).abs().max() <= exact.abs().amax(1).max() / 127 / 2 * 1.0001


class Adapted(nn.Linear):
    """An adapter as loralib has it: a Linear whose forward adds to its product."""

    def forward(self, x):
        return super().forward(x) + x.sum(-1, keepdim=True)


class OwnConvolution(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight.abs(), bias)


class OnlySetUp(nn.Linear):
    def __init__(self):
        super().__init__(6, 3)


def patched():
    layer = nn.Linear(6, 3)
    layer.forward = lambda x: x
    return layer


@pytest.mark.parametrize(
    "make", [lambda: Adapted(6, 3), lambda: OwnConvolution(4, 6, 3), patched, lambda: nn.Conv1d(4, 6, 3)]
)
def test_a_layer_with_a_forward_of_its_own_is_refused_by_its_class(make):
    layer = make()
    with pytest.raises(ValueError, match=rf"a \S*{type(layer).__name__} has a forward of its own.*merge adapters"):
        plain(layer)


def test_a_subclass_that_only_sets_up_otherwise_is_not_refused():
    layer = OnlySetUp()
    assert plain(layer).weight is layer.weight


def test_the_layer_without_a_twin_is_named():
    model = nn.Sequential(nn.Linear(6, 6), Adapted(6, 3))
    with pytest.raises(ValueError, match=r"^1: a \S*Adapted has a forward"):
        insert_twins(model, ["0", "1"], FLOATING, FLOATING)


def test_a_layer_that_stands_in_two_places_gets_one_twin_in_both():
    model = nn.ModuleDict({"a": nn.Sequential(nn.Linear(6, 6)), "b": nn.Sequential(nn.ReLU())})
    model["b"].append(model["a"][0])
    made = insert_twins(model, ["a.0"], FLOATING, FLOATING)
    assert model["a"][0] is model["b"][1] is made["a.0"]


class Conv1D(nn.Module):
    """As transformers has it: a Linear whose weight is transposed."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x):
        return x @ self.weight + self.bias


def test_a_transposed_linear_becomes_a_linear():
    layer = Conv1D(3, 6)
    torch.testing.assert_close(linear_of(layer)(ROWS), layer(ROWS))
    assert linear_of(nn.Linear(6, 3)) is None
    assert linear_of(nn.Conv1d(4, 6, 3)) is None
