"""The numbers that a quantized tensor may take. Free of torch, so that a config can be checked without it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

SHARES = {"weight": ("tensor", "channel", "group"), "activation": ("tensor", "token")}  # what may share a scale
FLOAT_BITS = 16  # `w4a16`: activations stay in floating point
Bits = Annotated[int, Field(ge=2, le=FLOAT_BITS)]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Describe an integer grid: bits, signed or not, symmetric or with a zero point, and what shares one scale.

    granularity `tensor`: one scale in all; `channel`: one per output channel (row) of a weight (o, i); `group`: one per
    run of `group` inputs within a row; `token`: one per row of an activation (..., d). `dynamic` activations take their
    range from the batch at hand instead of from calibration.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    bits: int
    granularity: Literal["tensor", "channel", "group", "token"] = "tensor"
    symmetric: bool = True
    signed: bool = True
    group: int = 64
    dynamic: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= FLOAT_BITS:
            raise ValueError(f"bits must be from 2 to {FLOAT_BITS}, not {self.bits}")
        if self.group < 1:
            raise ValueError(f"group must be at least 1, not {self.group}")
        if self.symmetric and not self.signed:
            raise ValueError("an unsigned grid has a zero point: say symmetric: false")
        if self.granularity == "token" and not self.dynamic:
            raise ValueError("granularity token needs dynamic: true; tokens have no calibrated range")

    @property
    def low(self) -> int:
        """Smallest code: -(2^(b-1)) signed, else 0."""
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest code: 2^(b-1) - 1 signed, else 2^b - 1."""
        return self.low + 2**self.bits - 1

    @property
    def wide(self) -> bool:
        """Whether codes are kept in 16-bit integers, because int8 does not hold all of them."""
        return self.bits > 8 or not self.signed

    @property
    def floating(self) -> bool:
        """Whether this grid means that the tensor stays in floating point."""
        return self.bits >= FLOAT_BITS


def parse_precision(precision: str, /) -> tuple[int, int]:
    """Return (weight bits, activation bits) of `w4a8`; 16 means floating point.

    >>> parse_precision("w4a16")
    (4, 16)
    """
    match = re.fullmatch(r"w(0|[1-9][0-9]{0,8})a(0|[1-9][0-9]{0,8})", precision)  # no word for one precision twice
    if not match:
        raise ValueError(f"precision {precision!r} must read w<bits>a<bits>, like w4a8 (a16: floating point)")
    bits = tuple(int(b) for b in match.groups())
    for b in bits:
        if not 2 <= b <= FLOAT_BITS:
            raise ValueError(f"precision {precision!r}: bits must be from 2 to {FLOAT_BITS}, not {b}")
    return bits  # type: ignore[return-value]
