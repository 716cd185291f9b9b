"""Generators that share nothing with the lab's world: far-OOD images, (n, 32, 32, 3) uint8."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZE = 32


def fractal(n: int, rng: np.random.Generator, /) -> NDArray[np.uint8]:
    """Draw coloured noise whose amplitude falls with frequency as f^-1 to f^-2."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None, :])
    frequency[0, 0] = 1
    spectrum = frequency ** -rng.uniform(1, 2, (n, 1, 1, 1))
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, 3, SIZE, SIZE))) * spectrum).real
    field = (field - field.mean((2, 3), keepdims=True)) / field.std((2, 3), keepdims=True)
    return _pixels(128 + 55 * field.transpose(0, 2, 3, 1))


def gratings(n: int, rng: np.random.Generator, /) -> NDArray[np.uint8]:
    """Add two sine gratings of random direction, frequency and colour."""
    y, x = np.mgrid[:SIZE, :SIZE]
    image = rng.uniform(70, 190, (n, 1, 1, 3)) * np.ones((SIZE, SIZE, 1))
    for _ in range(2):
        angle, phase = rng.uniform(0, 2 * np.pi, (2, n, 1, 1))
        wave = np.sin(rng.uniform(0.2, 1.6, (n, 1, 1)) * (np.cos(angle) * x + np.sin(angle) * y) + phase)
        image = image + wave[..., None] * rng.uniform(-70, 70, (n, 1, 1, 3))
    return _pixels(image)


def glyphs(n: int, rng: np.random.Generator, /) -> NDArray[np.uint8]:
    """Write four rows of five random 5 x 5 marks, mirrored about their axis, ink on paper."""
    half = rng.random((n, 4, 5, 5, 3)) < 0.5
    marks = np.concatenate([half, half[..., 1::-1]], axis=-1)  # (n, rows, columns, 5, 5)
    cells = np.pad(marks, [(0, 0)] * 3 + [(1, 2), (0, 1)])
    page = cells.transpose(0, 1, 3, 2, 4).reshape(n, 32, 30)
    page = np.pad(page, [(0, 0), (0, 0), (1, 1)])[..., None]
    ink, paper = rng.uniform(0, 110, (n, 1, 1, 3)), rng.uniform(150, 255, (n, 1, 1, 3))
    return _pixels(np.where(page, ink, paper) + rng.normal(0, 6, (n, SIZE, SIZE, 3)))


def rectangles(n: int, rng: np.random.Generator, /) -> NDArray[np.uint8]:
    """Drop 40 rectangles of random place, size and colour over one another (dead leaves)."""
    y, x = np.mgrid[:SIZE, :SIZE]
    image = rng.uniform(0, 255, (n, 1, 1, 3)) * np.ones((SIZE, SIZE, 1))
    for _ in range(40):
        cx, cy = rng.uniform(-2, SIZE + 2, (2, n, 1, 1))
        width, height = np.exp(rng.uniform(np.log(1.5), np.log(9), (2, n, 1, 1)))
        inside = (np.abs(x - cx) < width) & (np.abs(y - cy) < height)
        image[inside] = rng.uniform(0, 255, (n, 3))[np.nonzero(inside)[0]]
    return _pixels(image)


def _pixels(image: NDArray) -> NDArray[np.uint8]:
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


PATTERNS = {"fractal": fractal, "gratings": gratings, "glyphs": glyphs, "rectangles": rectangles}
