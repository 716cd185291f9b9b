"""Compress as JPEG."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Compress (n, h, w, 3) as JPEG of a quality, and read it back.

    Nothing is random; `seeds` only need to hold one per image.
    Parameters: CIFAR-10-C's quality up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    quality = level(images, severity, small=(80, 65, 58, 50, 40), large=(25, 18, 15, 10, 7))

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file, formats=("JPEG",)))

    return each(images, seeds, one)
