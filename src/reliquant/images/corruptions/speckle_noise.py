"""Add speckle: noise that grows with brightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Add to each value x of (n, h, w, 3) independent normal noise of standard deviation sigma x.

    Parameters: CIFAR-10-C's sigma up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    sigma = np.float32(level(images, severity, small=(0.06, 0.1, 0.12, 0.16, 0.2), large=(0.15, 0.2, 0.35, 0.45, 0.6)))
    return each(images, seeds, lambda image, rng: (rng.standard_normal(image.shape, np.float32) * sigma + 1) * image)
