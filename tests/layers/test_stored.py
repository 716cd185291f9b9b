"""What a quantized weight takes on disk, and that it comes back to the bit."""

import numpy as np
import pytest
import torch
from torch import nn

from reliquant.grid import FORMATS, Grid
from reliquant.layers.arithmetic import quantize, weight_affine
from reliquant.layers.stored import arrays, bits_per_weight, codes_of, pack
from reliquant.layers.twins import twin

GRIDS = {name: Grid(**{"granularity": "channel", **words}) for name, words in FORMATS.items()} | {
    "int4": Grid(bits=4, granularity="channel"),
    "uint3 with zero points": Grid(bits=3, granularity="channel", symmetric=False, signed=False),
    "int4 in groups": Grid(bits=4, granularity="group", group=32),
    "uint4 in groups with zero points": Grid(bits=4, granularity="group", group=16, symmetric=False, signed=False),
    "int12": Grid(bits=12, granularity="tensor"),
}


def layer(grid, width=96):
    torch.manual_seed(0)
    made = twin(nn.Linear(width, 8), grid, Grid(bits=8))
    made.freeze_absmax()
    return made


@pytest.mark.parametrize("name", GRIDS)
def test_what_is_stored_gives_the_same_weight_to_the_bit(name):
    made = layer(GRIDS[name])
    kept = arrays("a", made)
    again = twin(nn.Linear(96, 8), made.weight_grid, Grid(bits=8))
    again.freeze(*codes_of("a", again, kept))
    assert torch.equal(again.weight, made.weight)
    assert len(again.weight.unique()) > 2


def test_scales_of_nvfp4_come_back_whatever_the_scale_of_the_tensor():
    for number in torch.linspace(1e-5, 2e-3, 300).tolist():  # of some, u * number / number is not u
        grid = Grid(**FORMATS["nvfp4"], tensor_scale=number)
        made = twin(nn.Linear(96, 8), grid, Grid(bits=8))
        made.freeze_absmax()
        again = twin(nn.Linear(96, 8), grid, Grid(bits=8))
        again.freeze(*codes_of("a", again, arrays("a", made)))
        assert torch.equal(again.weight, made.weight)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("int4", 4 + 32 / 96),
        ("uint3 with zero points", 3 + (32 + 3) / 96),  # a zero point is a code of 3 bits
        ("int4 in groups", 4 + 16 / 32),
        ("uint4 in groups with zero points", 4 + (16 + 4) / 16),
        ("mxfp4", 4 + 8 / 32),
        ("mxfp6", 6 + 8 / 32),
        ("nvfp4", 4 + 8 / 16 + 32 / (8 * 96)),
        ("fp8", 8 + 32 / 96),
    ],
)
def test_stored_bits_are_those_of_codes_scales_and_zero_points(name, bits):
    made = layer(GRIDS[name])
    assert bits_per_weight(arrays("a", made), {"a": made}) == pytest.approx(bits, abs=8 / (8 * 96))  # whole bytes


def test_weights_in_floating_point_count_with_their_32_bits():
    made = layer(GRIDS["int4"])
    own = bits_per_weight(arrays("a", made), {"a": made})
    left = twin(nn.Linear(96, 8), Grid(bits=16), Grid(bits=8))  # as many weights
    assert bits_per_weight(arrays("a", made), {"a": made, "b": left}) == (own + 32) / 2
    assert bits_per_weight(arrays("a", made), {"a": made}, 96 * 8) == (own + 32) / 2


def test_half_steps_are_one_number():
    grid = Grid(bits=4, granularity="channel", symmetric=False)
    made = twin(nn.Linear(96, 8), grid, Grid(bits=8))
    scale = weight_affine(made.weight.detach(), Grid(bits=4, granularity="channel"))[0]
    zero = torch.full_like(scale, -0.5)
    made.freeze(quantize(made.weight.detach(), scale, zero, grid), scale, zero)
    kept = arrays("a", made)
    assert kept["a.zero"].tolist() == [[-0.5]]
    assert torch.equal(codes_of("a", made, kept)[2], zero)


def test_a_scale_of_another_type_than_the_grid_stores_is_refused():
    made = twin(nn.Linear(64, 8), Grid(bits=4, granularity="group", group=32), Grid(bits=8))
    scale = torch.full((16, 1), 0.1)
    with pytest.raises(ValueError, match="scales are not those of fp16"):
        made.freeze(torch.zeros(8, 64, dtype=torch.int8), scale, torch.zeros_like(scale))


def test_scales_of_another_layer_are_refused():
    made = layer(GRIDS["int4"])
    kept = arrays("a", made) | {"a.scale": np.ones((7, 1), np.float32)}
    with pytest.raises(ValueError, match="cannot be those of 8 rows"):
        codes_of("a", made, kept)


def test_codes_start_at_the_first_of_the_grid():
    assert pack(np.array([0, 15, 1, 2]), GRIDS["mxfp4"].first_code, 4).tolist() == [0x0F, 0x12]
