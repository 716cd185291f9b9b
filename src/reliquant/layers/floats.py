"""Rounding to small floating-point types, and their codes: the bits of a number, sign first.

All is computed in float32, which holds each type's numbers, and their products with powers of two, exactly. Rounding is
to the nearest, ties to the even mantissa, saturating: as OFP8 v1.0 and MX v1.0 ask for.
"""

from __future__ import annotations

from functools import cache

import torch

from reliquant.grid import ELEMENTS

EXPONENT = 0x7F800000  # the bits of a float32 that hold its exponent


def nearest_float_(x: torch.Tensor, element: str, /) -> torch.Tensor:
    """Replace float32 numbers, in place, by the nearest that an element type has; NaN stays NaN.

    Between 2^e and 2^(e+1) those numbers are 2^(e-m) apart. Adding 1.5 * 2^23 times that distance and taking it away
    again rounds to a multiple of it, ties to even, because float32 keeps 24 bits.
    """
    if x.is_meta:  # a plan by shapes alone: views of bits have no fast way there
        return x
    kind = ELEMENTS[element]
    x.clamp_(-kind.largest, kind.largest)
    magic = (x.view(torch.int32) & EXPONENT).view(torch.float32)
    magic.mul_(1.5 * 2.0 ** (23 - kind.mantissa)).clamp_(min=1.5 * 2.0**23 * kind.smallest)
    return x.add_(magic).sub_(magic).clamp_(-kind.largest, kind.largest)


def power_of_two(x: torch.Tensor, /) -> torch.Tensor:
    """Return the largest power of two that is not above |x|, as float32; 0 of subnormal numbers, NaN of NaN and inf."""
    powers = (x.float().contiguous().view(torch.int32) & EXPONENT).view(torch.float32)
    return powers.masked_fill(torch.isinf(powers), torch.nan)


@cache
def levels(element: str, /) -> torch.Tensor:
    """Return the number of each code, (2^bits,), in the order of the codes."""
    kind = ELEMENTS[element]
    numbers = []
    for code in range(2 ** (kind.bits - 1)):
        exponent, mantissa = divmod(code, 2**kind.mantissa)
        if exponent == 0:
            numbers.append(mantissa * kind.smallest)
        else:
            numbers.append((1 + mantissa / 2**kind.mantissa) * 2.0 ** (exponent - kind.bias))
    numbers = [number if number <= kind.largest else float("nan") for number in numbers]
    return torch.tensor(numbers + [-number for number in numbers], dtype=torch.float32)


def codes_of(numbers: torch.Tensor, element: str, /) -> torch.Tensor:
    """Return the codes, as int64, of numbers that an element type has; -0 has the code of 0."""
    table = levels(element)
    half = len(table) // 2
    positive = table[:half][~table[:half].isnan()].to(numbers.device)
    return torch.searchsorted(positive, numbers.abs().contiguous()) + half * (numbers < 0)
