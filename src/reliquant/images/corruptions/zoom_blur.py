"""Blur by zooming during exposure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reliquant.images.corrupting import clipped_zoom, each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Average each image x of (n, h, w, 3) with its zooms by 1, 1 + step, ... below a limit.

    out = (x + sum_z zoom_z(x)) / (zooms + 1), zoomed into the middle (`corrupting.clipped_zoom`, 8 bits each).
    Nothing is random; `seeds` only need to hold one per image.
    Parameters: CIFAR-10-C's (limit, step) up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    small = ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))
    large = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
    limit, step = level(images, severity, small=small, large=large)
    factors = np.arange(1, limit, step)

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        total, picture = image.astype(np.uint16) * 2, Image.fromarray(image)  # itself, and its zoom by 1
        for factor in factors[1:]:
            total += np.asarray(clipped_zoom(picture, factor))
        return total / np.float32(len(factors) + 1) + np.float32(1e-3)  # 3.9999 is meant to be 4

    return each(images, seeds, one)
