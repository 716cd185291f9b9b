import pytest
import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.arithmetic import weight_affine
from reliquant.layers.int8 import takes_unsigned
from reliquant.layers.integer import _added, integer_twin, unfit
from reliquant.layers.transforms import Smoothing
from reliquant.layers.twins import DynamicInput, StaticInput, Twin, twin

EIGHT = Grid(bits=8)
CHANNEL = Grid(bits=8, granularity="channel")


def generator():
    return torch.Generator().manual_seed(0)


def layer(inner: nn.Module, weight: Grid = CHANNEL, rounding: nn.Module | None = None) -> Twin:
    made = twin(inner, weight, rounding.grid if rounding else EIGHT)
    made.input = rounding or StaticInput(EIGHT, 0.03)
    made.freeze_absmax()
    return made.eval().requires_grad_(False)


def agree(simulated: Twin, x: torch.Tensor) -> None:
    expected, found = simulated(x), integer_twin(simulated)(x)
    assert found.dtype == x.dtype
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("kernel", ["onednn", "int_mm"])
@pytest.mark.parametrize("weight_bits", [8, 6, 4, 3, 2])
@pytest.mark.parametrize("zero", [0, 7.0, -0.4])
def test_a_static_linear_agrees_with_its_simulation(monkeypatch, kernel, weight_bits, zero):
    if kernel == "int_mm":
        monkeypatch.setattr("reliquant.layers.int8.fast_on", lambda device: "as on a CPU without VNNI")
    grid = Grid(bits=8, symmetric=not zero)
    made = layer(nn.Linear(37, 21), Grid(bits=weight_bits, granularity="channel"), StaticInput(grid, 0.03, zero))
    agree(made, torch.randn(3, 11, 37, generator=generator()))


@pytest.mark.parametrize("granularity", ["tensor", "token"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [8, 5])
@pytest.mark.parametrize("bias", [True, False])
def test_a_dynamic_linear_agrees_with_its_simulation(granularity, symmetric, bits, bias):
    rounding = DynamicInput(Grid(bits=bits, granularity=granularity, symmetric=symmetric, dynamic=True))
    x = torch.randn(2, 9, 24, generator=generator()) * torch.linspace(0.1, 4, 9).reshape(1, 9, 1) + 1
    agree(layer(nn.Linear(24, 16, bias=bias), CHANNEL, rounding), x)


@pytest.mark.parametrize("rounding", [None, DynamicInput(Grid(bits=8, granularity="token", dynamic=True))])
def test_spared_columns_stay_in_floating_point(rounding):
    made = layer(nn.Linear(24, 16), CHANNEL, rounding)
    columns = torch.tensor([3, 20])
    made.spare(columns, torch.randn(16, 2, generator=generator()))
    x = torch.randn(5, 24, generator=generator())
    x[:, columns] *= 100
    agree(made, x)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.skipif(not takes_unsigned(torch.device("cpu")), reason="needs a CPU with VNNI")
def test_codes_become_outputs_of_the_layers_type(kind):
    made = layer(nn.Linear(24, 16).to(kind))
    integer, x = integer_twin(made), torch.randn(2, 5, 24, generator=generator()).to(kind)
    codes = integer.codes(x.float(), 1 / torch.tensor(integer.rounding.scale), integer.rounding.zero)
    assert codes.dtype == torch.uint8
    assert integer(codes).dtype == kind
    assert torch.equal(integer(codes), integer(x))


def test_what_comes_before_rounding_is_applied():
    made = layer(nn.Linear(24, 16))
    made.transform = Smoothing(torch.linspace(0.2, 5, 24))
    agree(made, torch.randn(5, 24, generator=generator()))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (3, 2, 0), (4, 4, (0, 2))])
def test_a_convolution_agrees_with_its_simulation(kernel, stride, padding):
    rounding = StaticInput(Grid(bits=8, symmetric=False), 0.03, -9)
    made = layer(nn.Conv2d(5, 8, kernel, stride, padding), CHANNEL, rounding)
    agree(made, torch.randn(2, 5, 12, 14, generator=generator()))


@pytest.mark.parametrize("zero", [-0.5, 3.0])
def test_zero_points_of_weights_are_absorbed_where_they_fit(zero):
    made = layer(nn.Linear(24, 16), Grid(bits=4, granularity="channel"))
    made.freeze(made.codes, made.weight_scale, torch.full_like(made.weight_scale, zero))
    agree(made, torch.randn(5, 24, generator=generator()))


def test_bfloat16_comes_back_as_bfloat16():
    made = layer(nn.Linear(24, 16)).to(torch.bfloat16)
    x = torch.randn(5, 24, generator=generator()).to(torch.bfloat16)
    found = integer_twin(made)(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), made(x).float(), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weight": Grid(bits=9, granularity="channel")}, "codes of 9 bits do not fit int8"),
        ({"weight": Grid(bits=4, granularity="group", group=8)}, "weights have one scale per group"),
        ({"zero": 0.37}, "less their zero point do not fit"),
        ({"zero": -100.0}, "less their zero point do not fit"),
        ({"activation": Grid(bits=16)}, "activations stay in floating point"),
        ({"inner": nn.Conv2d(24, 24, 3, groups=24)}, "a grouped convolution"),
        ({"inner": nn.Conv2d(24, 24, 3, dilation=2)}, "dilation"),
    ],
)
def test_what_has_no_integer_twin_says_why(change, reason):
    made = layer(change.get("inner", nn.Linear(24, 16)), change.get("weight", CHANNEL))
    made.activation_grid = change.get("activation", EIGHT)
    if "zero" in change:
        scale, _ = weight_affine(made.weight, made.weight_grid)
        made.freeze(made.codes, scale, torch.full_like(scale, change["zero"]))
    assert reason in unfit(made)
    with pytest.raises(ValueError, match=reason):
        integer_twin(made)


@pytest.mark.parametrize("zero", [2.0**22 - 300, 2.0**22, -1e6, 40_000.0])
def test_a_zero_point_far_from_the_codes_is_kept(zero):
    grid, scale = Grid(bits=8, symmetric=False), 2.0**-10
    twin_of = integer_twin(layer(nn.Linear(4, 2), CHANNEL, StaticInput(grid, scale, zero)))
    x = (torch.arange(-128.0, 128).reshape(64, 4) - zero) * scale  # each code once, without rounding
    codes = twin_of.codes(x, 1 / torch.tensor(scale), zero).long() - twin_of.shift
    assert codes.flatten().tolist() == list(range(-128, 128))


def test_halves_go_to_the_even_code():
    twin_of = integer_twin(layer(nn.Linear(4, 2), CHANNEL, StaticInput(EIGHT, 0.5)))
    x = torch.tensor([0.25, 0.75, -0.25, -0.75])
    assert (twin_of.codes(x, torch.tensor(2.0), 0).long() - twin_of.shift).tolist() == [0, 2, 0, -2]


def test_codes_at_the_ends_of_the_range_do_not_overflow():
    made = layer(nn.Linear(4096, 8, bias=False))
    made.freeze(torch.full((8, 4096), -128, dtype=torch.int8), made.weight_scale, made.weight_zero)
    x = torch.full((17, 4096), 1e9)
    x[1] = -1e9
    torch.testing.assert_close(integer_twin(made)(x), made(x), rtol=1e-4, atol=0)


@pytest.mark.parametrize("kernel", ["onednn", "int_mm"])
@pytest.mark.parametrize(
    "rounding", ["static", "between codes", "far zero", "tensor", "token", "spared", "convolution"]
)
def test_nan_in_an_input_is_seen_where_the_simulation_shows_it(monkeypatch, kernel, rounding):
    if kernel == "int_mm":
        monkeypatch.setattr("reliquant.layers.int8.fast_on", lambda device: "as on a CPU without VNNI")
    inputs = {
        "between codes": StaticInput(Grid(bits=8, symmetric=False), 0.03, -0.4),
        "far zero": StaticInput(Grid(bits=8, symmetric=False), 0.03, 1e7),
        "tensor": DynamicInput(Grid(bits=8, dynamic=True)),
        "token": DynamicInput(Grid(bits=8, granularity="token", symmetric=False, dynamic=True)),
    }
    if rounding == "convolution":
        made, x = layer(nn.Conv2d(3, 16, 4, 4)), torch.randn(5, 3, 8, 8, generator=generator())
    else:
        made = layer(nn.Linear(24, 16), CHANNEL, inputs.get(rounding))
        x = torch.randn(5, 7, 24, generator=generator())
    if rounding == "spared":
        made.spare(torch.tensor([3, 20]), torch.randn(16, 2, generator=generator()))
    x[3, 2, 3] = torch.nan
    expected, found = made(x).isnan(), integer_twin(made)(x).isnan()
    assert expected.any()
    assert torch.equal(found, expected)


def test_what_a_gpu_adds_leaves_rows_without_nan_as_they_are():
    codes, out = torch.tensor([[1.0, -127.0], [torch.nan, 3.0], [-1.0, 1.0]]), torch.tensor([[-0.0], [5.0], [0.0]])
    added = _added(codes)
    assert added.shape == (3, 1)
    assert (out + added).isnan().flatten().tolist() == [False, True, False]
    assert torch.signbit(out + added)[[0, 2]].flatten().tolist() == [True, False]


@pytest.mark.skipif(not takes_unsigned(torch.device("cpu")), reason="needs a CPU with VNNI")
def test_nan_that_would_become_codes_is_a_stop():
    first = integer_twin(layer(nn.Linear(24, 16)))
    first.product.then("gelu", 0.05, 128)
    x = torch.randn(5, 24, generator=generator())
    assert first(x).dtype == torch.uint8
    x[3, 2] = torch.nan
    with pytest.raises(ValueError, match="1 of 5 rows that a quantized layer reads hold NaN"):
        first(x)
