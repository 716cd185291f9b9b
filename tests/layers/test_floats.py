"""Small floats against ml_dtypes, torch's own float8 types and numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from reliquant.grid import ELEMENTS
from reliquant.layers.floats import codes_of, levels, nearest_float_, power_of_two

ml_dtypes = pytest.importorskip("ml_dtypes")
THEIRS = {
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
}


def numbers(element):
    """Return numbers of all sizes, all midpoints between neighbours, and what lies just beside those."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(200_000, generator=generator) * torch.exp(torch.randn(200_000, generator=generator) * 4)
    known = levels(element)
    known = known[~known.isnan()].sort().values.unique()
    middle = (known[1:] + known[:-1]) / 2
    beside = [torch.nextafter(middle, torch.full_like(middle, end)) for end in (-math.inf, math.inf)]
    return torch.cat([spread, known, middle, *beside, torch.tensor([0.0, -0.0, 1e-40, -1e-40, math.inf, -math.inf])])


@pytest.mark.parametrize("element", ELEMENTS)
def test_rounding_is_that_of_ml_dtypes_after_saturation(element):
    x = numbers(element)
    largest = ELEMENTS[element].largest
    expected = x.clamp(-largest, largest).numpy().astype(THEIRS[element]).astype(np.float32)
    assert np.array_equal(nearest_float_(x.clone(), element).numpy(), expected)


@pytest.mark.parametrize(("element", "kind"), [("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)])
def test_rounding_is_that_of_torch_after_saturation(element, kind):
    x = numbers(element)
    largest = ELEMENTS[element].largest
    assert torch.equal(nearest_float_(x.clone(), element), x.clamp(-largest, largest).to(kind).float())


@pytest.mark.parametrize("element", ELEMENTS)
def test_codes_are_the_bits_of_ml_dtypes(element):
    expected = np.arange(len(levels(element)), dtype=np.uint8).view(THEIRS[element]).astype(np.float32)
    finite = np.abs(expected) <= ELEMENTS[element].largest
    assert np.array_equal(levels(element).numpy()[finite], expected[finite])
    known = np.flatnonzero(finite & ((expected != 0) | ~np.signbit(expected)))  # -0 takes the code of 0
    assert codes_of(torch.from_numpy(expected[known]), element).tolist() == known.tolist()


def test_four_bit_floats_by_hand():
    x = torch.tensor([0.24, 0.25, 0.26, 0.75, 1.75, 2.5, 3.5, 5.0, 5.1, 100.0, -5.0])
    assert nearest_float_(x.clone(), "e2m1").tolist() == [0, 0, 0.5, 1, 2, 2, 4, 4, 6, 6, -4]  # ties to even mantissas


def test_nan_stays_nan():
    assert all(nearest_float_(torch.tensor([math.nan]), element).isnan().all() for element in ELEMENTS)


def test_a_power_of_two_is_the_largest_below():
    x = torch.tensor([1.0, 1.99, -2.0, 3.9, 0.7, 2.0**-126, math.inf, math.nan])
    assert power_of_two(x)[:6].tolist() == [1, 1, 2, 2, 0.5, 2.0**-126]
    assert power_of_two(x)[6:].isnan().all()
