"""Blur by a Gaussian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Blur (n, h, w, 3) by a Gaussian of standard deviation sigma px, cut at 4 sigma, edges repeated.

    Nothing is random; `seeds` only need to hold one per image.
    Parameters: CIFAR-10-C's sigma up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    sigma = level(images, severity, small=(0.4, 0.6, 0.7, 0.8, 1.0), large=(1.0, 2.0, 3.0, 4.0, 6.0))

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        blurred = gaussian_filter(image.astype(np.float32), (sigma, sigma, 0), mode="nearest")
        return blurred + np.float32(1e-3)  # 3.9999 is meant to be 4

    return each(images, seeds, one)
