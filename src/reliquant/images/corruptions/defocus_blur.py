"""Blur by a lens out of focus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import correlate1d

from reliquant.images.corrupting import each, level


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Average each pixel of (n, h, w, 3) over a disk of a radius, its rim softened by a Gaussian; borders reflect.

    Nothing is random; `seeds` only need to hold one per image.
    Parameters: CIFAR-10-C's (radius, softening) up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    small = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
    large = ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5))
    kernel = disk(*level(images, severity, small=small, large=large))
    r = len(kernel) // 2
    h, w = images.shape[1:3]
    shape = tuple(fft.next_fast_len(n + 2 * r, real=True) for n in (h, w))
    response = fft.rfft2(kernel, shape)

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        planes = np.pad(image.transpose(2, 0, 1).astype(np.float32), ((0, 0), (r, r), (r, r)), mode="reflect")
        blurred = fft.irfft2(fft.rfft2(planes, shape) * response, shape)
        return blurred[:, 2 * r : 2 * r + h, 2 * r : 2 * r + w].transpose(1, 2, 0) + np.float32(1e-3)  # 3.9999 is 4

    return each(images, seeds, one)


def disk(radius: float, softening: float, /) -> NDArray[np.float32]:
    """Return the kernel: a disk of mass 1, blurred by a Gaussian, reflected at the frame of the kernel.

    The Gaussian has 3 taps along each axis, and 5 for radii above 8 px.
    """
    side = max(8, int(radius))
    line = np.arange(-side, side + 1)
    inside = (line[:, None] ** 2 + line**2 <= radius**2).astype(float)
    reach = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    taps = np.exp(-(reach**2) / (2 * softening**2))
    soft = inside / inside.sum()
    for axis in (0, 1):
        soft = correlate1d(soft, taps / taps.sum(), axis=axis, mode="mirror")
    used = np.abs(line) <= radius + len(reach) // 2  # the frame is mostly empty
    return soft[np.ix_(used, used)].astype(np.float32)
