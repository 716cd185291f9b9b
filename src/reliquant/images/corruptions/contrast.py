"""Lower the contrast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Draw each value x of (n, h, w, 3) towards its channel's mean m over the image: (x - m) c + m.

    Nothing is random; `seeds` only need to hold one per image.
    Parameters: CIFAR-10-C's c up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    c = level(images, severity, small=(0.75, 0.5, 0.4, 0.3, 0.15), large=(0.4, 0.3, 0.2, 0.1, 0.05))

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        x = image.reshape(-1, 3).astype(np.float32)
        mean = np.ones(len(x), np.float32) @ x / len(x)  # (3,)
        return (x * np.float32(c) + (mean * np.float32(1 - c) + np.float32(1e-4))).reshape(image.shape)  # 3.9999 is 4

    return each(images, seeds, one)
