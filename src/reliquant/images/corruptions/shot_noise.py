"""Add shot noise: few photons."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Replace each value x (of 1 = white) of (n, h, w, 3) by Poisson(c x) / c, at most 1.

    Drawn by Walker's alias method, with a table for each of the 256 values (`alias`).
    Parameters: CIFAR-10-C's photons c up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    c = level(images, severity, small=(500, 250, 100, 75, 50), large=(60, 25, 12, 5, 3))
    keep, other, bits = alias(c)
    shown = np.minimum(np.arange(2**bits) / c * 255 + 1e-9, 255).astype(np.uint8)  # of each count

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        draw = rng.integers(2**32, size=image.shape, dtype=np.uint32)
        column = draw >> np.uint32(32 - bits)
        cell = (image.astype(np.uint32) << np.uint32(bits)) | column
        count = np.where(draw << np.uint32(bits) < keep.take(cell), column, other.take(cell))
        return shown.take(count)

    return each(images, seeds, one)


@cache
def alias(c: int, /) -> tuple[NDArray[np.uint32], NDArray[np.uint32], int]:
    """Return alias tables of min(Poisson(c v / 255), c) for v = 0 .. 255, each flat (256 * 2^bits,), and bits.

    A column, uniform among 2^bits, is kept with probability keep / 2^32 and otherwise gives way to the other one.
    """
    bits = int(c).bit_length()  # 2^bits columns for counts 0 .. c
    size, rows = 2**bits, np.arange(256)
    mean = rows * (c / 255)
    mass = np.zeros((256, size))
    mass[:, :c] = poisson.pmf(np.arange(c), mean[:, None])
    mass[:, c] = poisson.sf(c - 1, mean)
    mass *= size
    low, high = mass.copy(), mass.copy()  # columns already filled are infinite
    keep, other = np.ones((256, size)), np.zeros((256, size), np.uint32)
    for _ in range(size - 1):
        least, most = low.argmin(axis=1), high.argmax(axis=1)
        share = low[rows, least]
        keep[rows, least], other[rows, least] = share, most
        low[rows, most] -= 1 - share
        high[rows, most] -= 1 - share
        low[rows, least], high[rows, least] = np.inf, -np.inf
    return np.clip(np.rint(keep * 2**32), 0, 2**32 - 1).astype(np.uint32).ravel(), other.ravel(), bits
