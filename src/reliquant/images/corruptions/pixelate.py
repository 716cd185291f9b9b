"""Pixelate: enlarge a low resolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Shrink (n, h, w, 3) to int(side c) pixels per side and enlarge it again, both by box averages.

    Nothing is random; `seeds` only need to hold one per image.
    Parameters: CIFAR-10-C's c up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    c = level(images, severity, small=(0.95, 0.9, 0.85, 0.75, 0.65), large=(0.6, 0.5, 0.4, 0.3, 0.25))
    h, w = images.shape[1:3]

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        coarse = Image.fromarray(image).resize((int(w * c), int(h * c)), Image.Resampling.BOX)
        return np.asarray(coarse.resize((w, h), Image.Resampling.BOX))

    return each(images, seeds, one)
