"""Where energy and sensitivity lie in spatial frequency: of feature maps, and of input noise; free of torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RMS = 0.125  # per pixel and channel, images in [0, 1]: norm 4 at 32 x 32, as Yin et al. use for CIFAR-10


def radial_energy(maps: NDArray[np.floating], /) -> tuple[Array, Array]:
    """Return radii (r,) as shares of the Nyquist frequency and each image's share of energy at each, (n, r).

    Of feature maps (n, c, h, w): squared magnitudes of the orthonormal 2-D Fourier transform, summed over channels and
    over the frequencies whose radius rounds to r steps of the grid, as shares of their total. The mean (radius 0) is
    left out, because it says how large features are and not where they vary. Raises ValueError for maps below 2 x 2.
    """
    n, _, height, width = maps.shape
    if min(height, width) < 2:
        raise ValueError(f"feature maps of {height} x {width} have no spatial frequencies")
    energy = (np.abs(np.fft.fft2(maps.astype(np.float64), norm="ortho")) ** 2).sum(axis=1)  # (n, h, w)
    steps = min(height, width) / 2
    v, u = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    radius = np.rint(np.hypot(u, v) * 2 * steps).astype(int).ravel()
    sums = np.zeros((n, radius.max() + 1))
    for r in range(1, radius.max() + 1):
        sums[:, r] = energy.reshape(n, -1)[:, radius == r].sum(axis=1)
    present = np.unique(radius)[1:]
    total = sums[:, present].sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return present / steps, sums[:, present] / total


def low_share(radii: Array, shares: Array, /) -> Array:
    """Return each image's share of energy at or below half the Nyquist frequency, (n,)."""
    return shares[:, radii <= 0.5].sum(axis=1)


def frequencies(size: int, cells: int, /) -> list[tuple[int, int]]:
    """List distinct waves (u, v), in cycles per side across and down, on a grid of `cells` steps from 0 to Nyquist.

    (u, v) and (-u, -v) are the same wave, and so are v and -v at the Nyquist frequency of an even size: one is listed.

    >>> frequencies(32, 2)
    [(0, 16), (16, 0), (16, 16)]
    """
    steps = np.unique(np.rint(np.linspace(0, size // 2, cells)).astype(int)).tolist()
    nyquist = size // 2 if size % 2 == 0 else size
    signed = sorted({s * sign for s in steps for sign in (1, -1)} - {-nyquist})
    waves = []
    for u in steps:
        mirrored = u in (0, nyquist)  # here v and -v are the same wave
        waves += [(u, v) for v in signed if (v >= 0 or not mirrored) and (u, v) != (0, 0)]
    return waves


def wave(height: int, width: int, u: int, v: int, /) -> Array:
    """Return the real Fourier basis image of a frequency, (height, width), of root mean square 1 (Yin et al. 2019)."""
    x, y = np.arange(width) / width, np.arange(height) / height
    image = np.cos(2 * np.pi * (u * x[None, :] + v * y[:, None]) + np.pi / 4)  # the phase keeps Nyquist waves alive
    return image / np.sqrt((image**2).mean())


def with_wave(images: NDArray[np.uint8], u: int, v: int, rng: np.random.Generator, /) -> NDArray[np.uint8]:
    """Add a wave of RMS 0.125 with a random sign per channel to uint8 images (n, h, w, 3), clipped to [0, 255].

    Yin et al., "A Fourier Perspective on Model Robustness in Computer Vision" (2019), section 3: X + r v U.
    """
    n, height, width, _ = images.shape
    sign = rng.choice(np.array([-1, 1], np.float32), size=(n, 1, 1, 3))
    added = np.float32(255 * RMS) * wave(height, width, u, v).astype(np.float32)
    return np.clip(np.rint(images + sign * added[None, :, :, None]), 0, 255).astype(np.uint8)
