"""Blur by motion of the camera."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.images.corrupting import each, level, motion


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Smear each image of (n, h, w, 3) along a line, its angle uniform within 45 degrees of the horizontal.

    The line is one-sided: 2 radius + 1 taps that fall as a Gaussian of sigma px (`corrupting.motion`).
    Parameters: CIFAR-10-C's (radius, sigma) up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    small = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))
    large = ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0))
    radius, sigma = level(images, severity, small=small, large=large)

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        smeared = motion(image.astype(np.float32), radius=radius, sigma=sigma, angle=rng.uniform(-45, 45))
        return smeared + np.float32(0.5)  # ImageMagick hands out 8 bits, rounded

    return each(images, seeds, one)
