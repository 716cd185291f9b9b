"""Look through frosted glass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Blur, copy each pixel of (n, h, w, 3) from a random neighbour at most d px away, in rounds, and blur.

    Pixels are visited from the last row and column to the first and take what their neighbour holds by then. (The
    published code means to swap the two, but swaps views of one array, which copies: its images hold copies.)
    Parameters: CIFAR-10-C's (sigma, d, rounds) up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    small = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
    large = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
    sigma, d, rounds = level(images, severity, small=small, large=large)
    h, w = images.shape[1:3]

    def blurred(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        out = gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0), mode="nearest")
        return np.clip(out + np.float32(1e-3), 0, 255)  # 3.9999 is meant to be 4

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        pixels = blurred(image).astype(np.uint8).reshape(-1, 3)
        for _ in range(rounds):
            offsets = rng.integers(-d, d, size=(2, h - 2 * d, w - 2 * d), dtype=np.int8)
            pixels = pixels.take(origins(h, w, d, offsets), axis=0)
        return blurred(pixels.reshape(h, w, 3))

    return each(images, seeds, one)


def origins(h: int, w: int, d: int, offsets: NDArray[np.int8], /) -> NDArray[np.int32]:
    """Return from which pixel (flat index) of (h, w) each one has its colour after one round of copies; (h w,).

    offsets (2, h - 2d, w - 2d), in -d .. d - 1, are the rows and columns from pixels d + 1 .. h - d, d + 1 .. w - d to
    their neighbours. A neighbour that was visited before holds another's colour: such chains are followed by doubling.
    """
    index = np.arange(h * w, dtype=np.int32).reshape(h, w)
    inner = slice(d + 1, h - d + 1), slice(d + 1, w - d + 1)
    taken, visited = index.copy(), np.zeros((h, w), bool)
    taken[inner] += offsets[0] * np.int32(w) + offsets[1]
    visited[inner] = True
    index, taken = index.ravel(), taken.ravel()
    shared = np.where((taken > index) & visited.ravel().take(taken), taken, index)  # visits go from last to first
    while not np.array_equal(further := shared.take(shared), shared):
        shared = further
    return taken.take(shared)
