"""Blocks of the MX formats and NVFP4 against the text of their specifications, and against torchao where it is."""

import math

import pytest
import torch

from reliquant.grid import FORMATS, Grid
from reliquant.layers.arithmetic import dequantize, fitted, quantize, weight_affine
from reliquant.layers.twins import DynamicInput

BLOCKS = [name for name, words in FORMATS.items() if "group" in words]


def weight(rows=16, width=96, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator)
    return x * torch.exp(2 * torch.randn(rows, 1, generator=generator))


def on_grid(x, grid):
    scale, zero = weight_affine(x, grid)
    return dequantize(quantize(x, scale, zero, grid), scale, zero, grid), scale


def mx_by_the_letter(x, grid):
    """Follow section 6.3 of the MX specification v1.0, a block at a time in Python's own floats."""
    out = torch.empty_like(x)
    for row, target in zip(x.reshape(-1, grid.group), out.view(-1, grid.group), strict=True):
        largest = max(abs(v) for v in row.tolist())
        exponent = math.frexp(largest)[1] - 1 if largest else -127 + grid.top  # floor(log2)
        scale = 2.0 ** max(min(exponent - grid.top, 127), -127)
        table = sorted(_levels(grid))
        for i, value in enumerate(row.tolist()):
            target[i] = scale * _nearest_even(value / scale, table)
    return out


def _levels(grid):
    from reliquant.layers.floats import levels

    if not grid.is_float:
        return [float(code) for code in range(int(grid.low), int(grid.high) + 1)]
    return [v for v in levels(grid.element).tolist() if v == v]


def _nearest_even(value, table):
    """Return the nearest number of a sorted table; of two as near the one at an even place from zero."""
    zero = table.index(0.0)
    best = min(range(len(table)), key=lambda i: (abs(table[i] - value), abs(i - zero) % 2))
    return table[best]


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "nvfp4"])
def test_an_mx_block_is_what_the_specification_says(name):
    grid = Grid(**FORMATS[name])
    x = weight(2, 64)
    x[0, :32] = 0
    x[1, :32] *= 1e-3
    assert torch.equal(on_grid(x, grid)[0], mx_by_the_letter(x, grid))


def test_an_nvfp4_block_by_hand():
    """Largest value 12: tensor scale 12 / (6 * 448). A block up to 3 has scale 3/6 = 0.5 in 112 of those units."""
    grid = Grid(**FORMATS["nvfp4"])
    x = torch.zeros(1, 32)
    x[0, 0], x[0, 16:20] = 12.0, torch.tensor([3.0, 0.26, -1.2, 0.7])
    grid = fitted(x.abs().amax(), grid)
    assert grid.tensor_scale == pytest.approx(12 / 2688)
    rounded, scale = on_grid(x, grid)
    assert scale.flatten().tolist() == pytest.approx([2.0, 0.5])
    assert rounded[0, [0, 16, 17, 18, 19]].tolist() == pytest.approx([12, 3, 0.25, -1, 0.75])  # 0.52, -2.4, 1.4


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_on_a_grid_stays_there(name):
    grid = fitted(weight().abs().amax(), Grid(**FORMATS[name]))
    once, scale = on_grid(weight(), grid)
    if name != "mxint8":  # where -128 can make the next power of two
        assert torch.equal(on_grid(once, grid)[0], once)
    assert (scale > 0).all()


@pytest.mark.parametrize("name", BLOCKS)
def test_an_input_is_rounded_in_blocks_of_each_token_with_and_without_a_gradient(name):
    x = weight(12, 64).view(3, 4, 64)
    grid = fitted(x.abs().amax(), Grid(**FORMATS[name], dynamic=True))
    expected = on_grid(x.view(12, 64), grid)[0].view(x.shape)
    assert torch.equal(DynamicInput(grid)(x), expected)
    learned = x.clone().requires_grad_()
    out = DynamicInput(grid)(learned)
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=0)
    out.sum().backward()
    assert (learned.grad == 1).float().mean() > 0.9
    images = x.permute(0, 2, 1).reshape(3, 64, 2, 2)
    assert torch.equal(DynamicInput(grid, -3)(images), expected.permute(0, 2, 1).reshape(3, 64, 2, 2))


@pytest.mark.parametrize("name", BLOCKS)
def test_nan_and_infinity_do_not_become_numbers(name):
    x = weight(2, 64)
    x[0, 3], x[1, 5] = math.nan, math.inf
    grid = fitted(10.0, Grid(**FORMATS[name], dynamic=True))
    out = DynamicInput(grid)(x)
    assert not out[0, 3].isfinite()
    assert not out[1, 5].isfinite() or name == "nvfp4"  # there the block's scale saturates, as the hardware's does


@pytest.mark.parametrize(("name", "kind"), [("mxfp8", "float8_e4m3fn"), ("mxfp8e5m2", "float8_e5m2")])
def test_mxfp8_is_that_of_torchao(name, kind):
    mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor")
    x = weight(64, 256)
    scale, data = mx.to_mx(x, getattr(torch, kind), 32)
    theirs = mx.to_dtype(data, scale, getattr(torch, kind), 32, torch.float32)
    assert torch.equal(on_grid(x, Grid(**FORMATS[name]))[0], theirs)


def test_mxfp4_is_that_of_torchao():
    mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor")
    x = weight(64, 256)
    scale, data = mx.to_mx(x, torch.float4_e2m1fn_x2, 32)
    theirs = mx.to_dtype(data, scale, torch.float4_e2m1fn_x2, 32, torch.float32)
    assert torch.equal(on_grid(x, Grid(**FORMATS["mxfp4"]))[0], theirs)


def test_nvfp4_is_that_of_torchao():
    nv = pytest.importorskip("torchao.prototype.mx_formats.nvfp4_tensor")
    x = weight(64, 256)
    of_tensor = nv.per_tensor_amax_to_scale(x.abs().max())
    theirs = nv.NVFP4Tensor.to_nvfp4(x, per_tensor_scale=of_tensor).dequantize(torch.float32)
    ours, scale = on_grid(x, Grid(**FORMATS["nvfp4"]))
    normal = (scale >= of_tensor * 2.0**-6).expand(-1, 16).reshape(x.shape)  # torchao has no smaller scales
    assert normal.float().mean() > 0.9
    torch.testing.assert_close(ours[normal], theirs[normal], rtol=1e-6, atol=0)
