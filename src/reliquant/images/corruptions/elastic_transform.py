"""Stretch and contract locally."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from reliquant.images.corrupting import each, level, sample

SMALL = ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
LARGE = tuple(  # of sides of 224 px, published as shares of 244 px
    tuple(share * 244 / 224 for share in shares)
    for shares in ((2.0, 0.7, 0.1), (2.0, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
)


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Move three anchor points of each image of (n, h, w, 3) (an affine map), then each pixel by a smooth field.

    Anchors move by up to `shift`; the field is uniform noise in -1 .. 1, blurred by sigma (cut at 3 sigma) and
    multiplied by alpha. All three are shares of the shorter side. Linear interpolation twice, as published.
    Parameters: CIFAR-10-C's (alpha, sigma, shift) up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    h, w = images.shape[1:3]
    alpha, sigma, shift = (min(h, w) * share for share in level(images, severity, small=SMALL, large=LARGE))
    down, across = smoothing(h, sigma) * np.float32(alpha), smoothing(w, sigma).T
    rows, columns = np.mgrid[:h, :w].astype(np.float32)

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        planes = image.transpose(2, 0, 1).astype(np.float32)
        a, b, c, d, e, f = inverse_affine(h, w, rng.uniform(-shift, shift, size=(3, 2)))
        planes = sample(planes, d * columns + e * rows + f, a * columns + b * rows + c, border="reflect")
        if alpha:
            x, y = down @ (rng.random((2, h, w), np.float32) * 2 - 1) @ across
            planes = sample(planes, rows + y, columns + x, border="symmetric")
        return planes.transpose(1, 2, 0) + np.float32(1e-3)  # 3.9999 is meant to be 4

    return each(images, seeds, one)


def smoothing(n: int, sigma: float, /) -> NDArray[np.float32]:
    """Return the Gaussian filter of a line of n values as a matrix (n, n): one product is faster than 700 taps."""
    lines = np.eye(n)
    if sigma:
        lines = gaussian_filter1d(lines, sigma, axis=0, mode="reflect", truncate=3)
    return lines.astype(np.float32)


def inverse_affine(h: int, w: int, moves: NDArray[np.float64], /) -> NDArray[np.float32]:
    """Return (a, ..., f) of source x = a x + b y + c, y = d x + e y + f, for anchors (x, y) that move by (3, 2).

    The anchors lie around (h // 2, w // 2) as (x, y): for images that are not square the published code mixes the axes.
    """
    middle, reach = np.array([h, w]) // 2, min(h, w) // 3
    anchors = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = np.column_stack([anchors + moves, np.ones(3)])
    return np.linalg.solve(moved, anchors).T.ravel().astype(np.float32)
