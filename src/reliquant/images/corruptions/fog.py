"""Add fog."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Add a cloud of strength c to each image x of (n, h, w, 3), and scale so that its brightest value stays.

    out = (x + c p) m / (m + c), of 1 = white; m = max x, p the image's own plasma fractal (`plasma`).
    Parameters: CIFAR-10-C's (c, decay) up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    small = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
    large = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
    c, decay = level(images, severity, small=small, large=large)
    h, w = images.shape[1:3]
    side = 1 << (max(h, w) - 1).bit_length()

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        brightest = image.max() / 255
        shrink = np.float32(brightest / (brightest + c))
        return image * shrink + plasma(side, decay, rng)[:h, :w, None] * (np.float32(255 * c) * shrink)

    return each(images, seeds, one)


def plasma(side: int, decay: float, rng: np.random.Generator, /) -> NDArray[np.float32]:
    """Return a periodic height map (side, side), side a power of two, from 0 to 1, by the diamond-square algorithm.

    Each new point is the mean of its four neighbours plus a uniform deviation, which `decay`^2 divides at each level.
    """
    field, step, reach = np.zeros((side, side), np.float32), side, np.float32(1)

    def deviated(total: NDArray[np.float32]) -> NDArray[np.float32]:
        return total * np.float32(0.25) + (rng.random(total.shape, np.float32) * 2 - 1) * reach

    while step >= 2:
        half = step // 2
        corner = field[::step, ::step].copy()
        below, right = np.roll(corner, -1, axis=0), np.roll(corner, -1, axis=1)
        centre = deviated(corner + below + right + np.roll(below, -1, axis=1))
        field[half::step, half::step] = centre
        field[::step, half::step] = deviated(centre + np.roll(centre, 1, axis=0) + corner + right)
        field[half::step, ::step] = deviated(centre + np.roll(centre, 1, axis=1) + corner + below)
        step, reach = half, reach / np.float32(decay**2)
    field -= field.min()
    return field / field.max()
