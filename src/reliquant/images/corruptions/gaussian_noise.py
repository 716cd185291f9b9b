"""Add Gaussian noise: a sensor in low light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Add independent normal noise of standard deviation sigma (of 1 = white) to each value of (n, h, w, 3).

    Parameters: CIFAR-10-C's sigma up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    sigma = level(images, severity, small=(0.04, 0.06, 0.08, 0.09, 0.10), large=(0.08, 0.12, 0.18, 0.26, 0.38))
    scale = np.float32(255 * sigma)
    return each(images, seeds, lambda image, rng: rng.standard_normal(image.shape, np.float32) * scale + image)
