"""Change the saturation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Replace the saturation S of each pixel of (n, h, w, 3) by a S + b, between 0 and 1; hue and value stay.

    Each channel x becomes V - (V - x) S' / S, V = max of the channels. A grey pixel has no hue; as in the published
    code it is taken as red, so that b > 0 tints it. Nothing is random; `seeds` only need to hold one per image.
    Parameters: CIFAR-10-C's (a, b) up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    small = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))
    large = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))
    a, b = level(images, severity, small=small, large=large)

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        planes = image.transpose(2, 0, 1).astype(np.float32)
        value = planes.max(axis=0)
        chroma = value - planes.min(axis=0)  # S V
        goal = np.clip(np.float32(a) * chroma + np.float32(b) * value, 0, value)  # S' V
        out = value - (value - planes) * (goal / np.maximum(chroma, 1))
        out[1:, chroma == 0] -= goal[chroma == 0]
        return out.transpose(1, 2, 0) + np.float32(1e-3)  # 3.9999 is meant to be 4

    return each(images, seeds, one)
