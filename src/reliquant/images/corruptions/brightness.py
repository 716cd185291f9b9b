"""Brighten."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Add c (of 1 = white) to the value V of each pixel in hue, saturation and value; images (n, h, w, 3).

    Hue and saturation stay, so each channel x becomes x V' / V, V = max of the channels, V' = min(V + c, 1): one
    look-up in a table of all (V, x). Nothing is random; `seeds` only need to hold one per image.
    Parameters: CIFAR-10-C's c up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    c = level(images, severity, small=(0.05, 0.1, 0.15, 0.2, 0.3), large=(0.1, 0.2, 0.3, 0.4, 0.5))
    value = np.arange(256)[:, None] / 255
    share = np.arange(256) / 255 / np.maximum(value, 1 / 255)  # x / V
    table = np.clip(np.minimum(value + c, 1) * share * 255, 0, 255)
    table[0] = c * 255  # black has no saturation: it becomes grey
    table = (table + 1e-9).astype(np.uint8).ravel()  # 0.2 * 255 is meant to be 51

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        largest = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])
        return table.take((largest.astype(np.uint16) << 8)[..., None] | image)

    return each(images, seeds, one)
