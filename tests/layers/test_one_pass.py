"""The kernel itself runs in test_cuda.py; here its text, which is C++, is compiled for the CPU."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers import one_pass
from reliquant.layers.integer import integer_twin
from reliquant.layers.twins import StaticInput, twin

COMPILER = shutil.which("g++") or shutil.which("clang++")
ON_CPU = """
extern "C" void run(const float *x, float *y, long n, double inverse, double low, double high, double scale,
                    double move) {
    for (long i = 0; i < n; i++) y[i] = on_grid<float>(x[i], inverse, low, high, scale, move);
}
"""
GRIDS = [(8, True, 0), (4, True, 0), (2, True, 0), (8, False, 17), (8, False, -128), (8, False, 127), (6, False, -3)]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A function like `on_grid`, of a tensor on the CPU."""
    if not COMPILER:
        pytest.skip("needs a C++ compiler")
    folder = tmp_path_factory.mktemp("kernel")
    source, library = folder / "kernel.cpp", folder / "kernel.so"
    source.write_text(f"#include <cmath>\nusing std::rint;\n{one_pass.KERNEL}{ON_CPU}")
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    run = ctypes.CDLL(library).run

    def on_grid(x, inverse, low, high, /, *, scale=1.0, move=one_pass.NOTHING):
        x = np.ascontiguousarray(x.numpy())
        y = np.empty_like(x)
        numbers = (ctypes.c_double(number) for number in (inverse, low, high, scale, move))
        run(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), ctypes.c_long(x.size), *numbers)
        return torch.from_numpy(y)

    return on_grid


def inputs(scale):
    """Return numbers inside and outside of a grid, all the middles between two codes, and what is no number."""
    usual = torch.randn(50_000, generator=torch.Generator().manual_seed(0)) * scale * 60
    special = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 0.0, -0.0, -0.1 * scale])
    return torch.cat([usual, (torch.arange(-400, 400) + 0.5) * scale, special])


@pytest.mark.parametrize("scale", [0.1, 0.03, 1 / 3, 1e-8, 7.7])
@pytest.mark.parametrize(("bits", "symmetric", "zero"), GRIDS)
def test_a_layers_input_is_rounded_to_the_bits_of_the_cpu(compiled, scale, bits, symmetric, zero):
    grid, x = Grid(bits=bits, symmetric=symmetric), inputs(scale)
    rounding = StaticInput(grid, scale, zero)
    inverse = (1 / torch.tensor(scale)).item()
    found = compiled(x, inverse, grid.low - zero, grid.high - zero, scale=scale)
    expected = rounding(x)
    assert torch.equal(found.view(torch.int32), expected.view(torch.int32))  # NaN and -0.0 too
    assert found.isnan().sum() == 1


@pytest.mark.parametrize(("bits", "symmetric", "zero"), GRIDS)
def test_codes_are_those_of_the_integer_layer(compiled, bits, symmetric, zero):
    grid, x = Grid(bits=bits, symmetric=symmetric), inputs(0.1)[:-8].reshape(-1, 8)
    layer = twin(torch.nn.Linear(8, 4), Grid(bits=8, granularity="channel"), grid)
    layer.input = StaticInput(grid, 0.1, zero)
    layer.freeze_absmax()
    integer = integer_twin(layer)
    inverse = 1 / torch.tensor(0.1)
    found = compiled(x, inverse.item(), grid.low - zero, grid.high - zero, move=zero + integer.shift)
    expected = integer.codes(x, inverse, zero)
    assert (found == expected).float().mean() > 0.98  # the CPU multiplies and adds in one, the kernel does not
    assert (found - expected).abs().max() <= 1
    on_codes = (torch.round(x * inverse) + zero).clamp(grid.low, grid.high) + integer.shift
    assert torch.equal(found, on_codes)


def test_the_kernel_is_what_torch_can_compile():
    function = one_pass._compiled()
    assert function.kernel_name == "on_grid"
    assert list(function.kwargs_dict) == ["inverse", "low", "high", "scale", "move"]
