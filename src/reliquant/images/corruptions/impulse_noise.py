"""Add salt and pepper: bit errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Set each value of (n, h, w, 3) to 0 or to 255, half each, with the probability of the severity.

    Parameters: CIFAR-10-C's probability up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    share = level(images, severity, small=(0.01, 0.02, 0.03, 0.05, 0.07), large=(0.03, 0.06, 0.09, 0.17, 0.27))
    half = int(share / 2 * 2**32)

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        draw = rng.integers(2**32, size=image.shape, dtype=np.uint32)
        hit = np.where(draw < half, np.uint8(0), np.uint8(255))
        return np.where(draw < 2 * half, hit, image)

    return each(images, seeds, one)
