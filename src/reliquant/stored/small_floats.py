"""Floats that numpy does not know, made float32 exactly: bfloat16 and the two common formats of 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def from_bfloat16(halves: NDArray[np.uint16], /) -> NDArray[np.float32]:
    """Return bfloat16 numbers, the upper halves of float32, as float32.

    >>> from_bfloat16(np.array([0x3F80, 0xC000], np.uint16)).tolist()
    [1.0, -2.0]
    """
    return (halves.astype(np.uint32) << 16).view(np.float32)


def from_e5m2(codes: NDArray[np.uint8], /) -> NDArray[np.float32]:
    """Return E5M2 numbers (Micikevicius et al. 2022, FP8), the upper bytes of float16, as float32.

    >>> from_e5m2(np.array([0x3C, 0xC0], np.uint8)).tolist()
    [1.0, -2.0]
    """
    return (codes.astype(np.uint16) << 8).view(np.float16).astype(np.float32)


def from_e4m3(codes: NDArray[np.uint8], /) -> NDArray[np.float32]:
    """Return E4M3 numbers (Micikevicius et al. 2022, FP8: no infinities, NaN where all bits are set) as float32.

    >>> from_e4m3(np.array([0x38, 0x01, 0x7E], np.uint8)).tolist()  # 1, the least 2^-9, the largest
    [1.0, 0.001953125, 448.0]
    """
    return _e4m3()[codes]


def _e4m3() -> NDArray[Any]:
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    size = np.where(exponent > 0, (1 + mantissa / 8) * 2.0 ** (exponent - 7), mantissa * 2.0**-9)
    size[(code & 127) == 127] = np.nan
    return np.where(code > 127, -size, size).astype(np.float32)
