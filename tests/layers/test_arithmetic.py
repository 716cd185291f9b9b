import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import (
    affine,
    blocks,
    code_type,
    dequantize,
    divided,
    fake_quantize,
    nearest_codes,
    quantize,
    rounded,
    unblocks,
    weight_affine,
)


def test_symmetric_four_bits_by_hand():
    weight = torch.tensor([[-1.4, 0.2, 0.7], [0.0, 0.35, 3.5]])
    grid = Grid(bits=4, granularity="channel")
    scale, zero = weight_affine(weight, grid)
    assert scale.flatten().tolist() == pytest.approx([0.2, 0.5])  # absmax / 7
    codes = quantize(weight, scale, zero, grid)
    assert codes.tolist() == [[-7, 1, 4], [0, 1, 7]]  # 0.7 / 0.2 = 3.5 rounds to even, 0.35 / 0.5 = 0.7
    assert codes.dtype == torch.int8
    expected = torch.tensor([[-1.4, 0.2, 0.8], [0, 0.5, 3.5]])
    torch.testing.assert_close(dequantize(codes, scale, zero, grid), expected)


def test_a_tensor_on_its_grid_by_hand():
    grid, x = Grid(bits=2, symmetric=False), torch.tensor([-9.0, -0.3, 0.1, 0.2, 0.25, 9.0])  # codes -2..1
    assert nearest_codes(x, 0.5, 0.25, grid).tolist() == [-2, 0, 0, 1, 1, 1]  # x / 0.5 + 0.25, rounded and clipped
    assert rounded(x, 0.5, 0.25, grid).tolist() == [-1.125, -0.125, -0.125, 0.375, 0.375, 0.375]
    ties = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    assert nearest_codes(ties, 1.0, 0, Grid(bits=4)).tolist() == [-2, 0, 0, 2]  # to the even code
    assert x[0] == -9.0  # what came in stays


@pytest.mark.parametrize("grid", [Grid(bits=8), Grid(bits=9), Grid(bits=8, signed=False, symmetric=False)])
def test_the_type_of_codes_holds_the_ends_of_the_grid(grid):
    ends = torch.tensor([grid.low, grid.high])
    assert ends.to(code_type(grid)).tolist() == ends.tolist()


@pytest.mark.parametrize("number", [3, 7, 15, 127, 255, 7**0.5, 65535])
def test_division_by_a_number_is_that_of_ieee(number):
    x = torch.randn(10_000, 1, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(divided(x, number).numpy(), x.numpy() / np.float32(number))
    assert torch.equal(divided(x, number), x / number)  # what a CPU makes of a plain number
    assert not torch.equal(divided(x, number), x * (1 / torch.tensor(number)))  # what a GPU makes of it


def test_asymmetric_grid_holds_zero_exactly():
    grid = Grid(bits=8, symmetric=False, signed=False)
    scale, zero = affine(torch.tensor([[0.5]]), torch.tensor([[2.55]]), grid)
    assert scale.item() == pytest.approx(0.01)
    assert zero.item() == 0  # the range was widened down to 0
    scale, zero = affine(torch.tensor([[-1.0]]), torch.tensor([[1.55]]), grid)
    assert (scale.item(), zero.item()) == (pytest.approx(0.01), 100)
    assert dequantize(quantize(torch.zeros(1), scale, zero, grid), scale, zero, grid).item() == 0


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group", "token"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_error_is_at_most_half_a_step_inside_the_range(granularity, bits):
    x = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    grid = Grid(bits=bits, granularity=granularity, group=4, dynamic=granularity == "token")
    scale, zero = weight_affine(x, grid)
    error = blocks(fake_quantize(x, scale, zero, grid) - x, grid).abs()
    assert (error <= scale / 2 + 1e-6).all()
    levels = torch.unique(torch.round(blocks(fake_quantize(x, scale, zero, grid), grid) / scale))
    assert len(levels) <= 2**bits


def test_groups_that_do_not_divide_the_width_are_padded_and_cut_again():
    x = torch.arange(14.0).reshape(2, 7)
    grid = Grid(bits=4, granularity="group", group=4)
    assert blocks(x, grid).shape == (4, 4)
    assert torch.equal(unblocks(blocks(x, grid), x.shape, grid), x)


def test_an_all_zero_channel_stays_zero():
    weight = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    grid = Grid(bits=4, granularity="channel")
    assert fake_quantize(weight, *weight_affine(weight, grid), grid)[0].tolist() == [0, 0]


def test_the_gradient_passes_inside_the_range_and_stops_outside():
    grid = Grid(bits=2)  # codes -2..1
    x = torch.tensor([-9.0, -1.2, 0.3, 0.9, 5.0], requires_grad=True)
    fake_quantize(x, torch.ones(1, 1), torch.zeros(1, 1), grid).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_fake_quantization_equals_torch_own_operator():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 3
    grid = Grid(bits=8, symmetric=False)
    scale, zero = torch.full((1, 1), 2.0**-5), torch.full((1, 1), 7.0)
    own = fake_quantize(x, scale, zero, grid)
    assert torch.equal(own, torch.fake_quantize_per_tensor_affine(x, 2.0**-5, 7, -128, 127))


def test_codes_of_a_conv_weight_are_per_output_channel():
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3, 5, 5)).astype(np.float32))
    grid = Grid(bits=8, granularity="channel")
    scale, zero = weight_affine(weight, grid)
    assert scale.shape == (4, 1)
    assert quantize(weight, scale, zero, grid).flatten(1).abs().amax(1).tolist() == [127] * 4
