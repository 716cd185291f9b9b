"""What corruptions share: severity by image size, one seeded generator per image, zoom, motion, warping; no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SMALL = 64  # px; up to here the parameters of CIFAR-10-C (32 px), above those of ImageNet-C (224 px)
Pixels = NDArray[np.float32] | NDArray[np.uint8]
Level = TypeVar("Level")


def level(images: NDArray[np.uint8], severity: int, /, *, small: tuple[Level, ...], large: tuple[Level, ...]) -> Level:
    """Choose a corruption's parameters by severity (1 to 5) and by the shorter side of the images (n, h, w, 3).

    `small` holds those of CIFAR-10-C, for a shorter side of at most 64 px, `large` those of ImageNet-C
    (Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", 2019).
    Raises ValueError for images that are not (n, h, w, 3) uint8 with sides of at least 8, and for another severity.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or min(images.shape[1:3]) < 8:
        raise ValueError(f"images must be (n, h, w, 3) uint8 with h, w >= 8, got {images.shape} {images.dtype}")
    if severity not in (1, 2, 3, 4, 5):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, got {severity!r}")
    return (small if min(images.shape[1:3]) <= SMALL else large)[severity - 1]


def each(
    images: NDArray[np.uint8],
    seeds: NDArray[np.uint64],
    one: Callable[[NDArray[np.uint8], np.random.Generator], Pixels],
    /,
) -> NDArray[np.uint8]:
    """Corrupt each image (h, w, 3) by `one`, which gets a generator of the image's own seed and returns 0 to 255.

    One image is corrupted at a time, because it then stays in the cache, and because its bytes cannot depend on its
    neighbours. Values are clipped and truncated, not rounded, as those of the published arrays are. Raises ValueError
    unless there is one seed per image.
    """
    if len(seeds) != len(images):
        raise ValueError(f"{len(seeds)} seeds for {len(images)} images")
    out = np.empty_like(images)
    for i, (image, seed) in enumerate(zip(images, seeds, strict=True)):
        pixels = one(image, np.random.Generator(np.random.SFC64(int(seed))))
        if pixels.dtype != np.uint8:
            pixels = np.clip(pixels, 0, 255, out=pixels)
        out[i] = pixels  # to uint8 by truncation
    return out


def clipped_zoom(image: Image.Image, factor: float, /, *, size: tuple[int, int] | None = None) -> Image.Image:
    """Zoom into the middle of an image of mode RGB or F by linear interpolation; the size stays.

    The crop has ceil(side / factor) pixels per side and is stretched to round(crop * factor), from the centres of the
    corners to the centres of the corners; the middle of that is kept. Pillow resizes in one pass what the published
    code zooms and then trims: the box, in continuous coordinates, is placed so that both sample the same points. With
    `size` (w, h) the given image is only the crop of an image of that size.
    """
    full = size or image.size
    spans = [_span(n, held, factor) for n, held in zip(full, image.size, strict=True)]
    (left, right), (top, bottom) = spans
    return image.resize(full, Image.Resampling.BILINEAR, box=(left, top, right, bottom))


def crop_side(n: int, factor: float, /) -> int:
    """Return how many of n pixels a zoom by a factor shows."""
    return int(np.ceil(n / factor))


def _span(n: int, held: int, factor: float, /) -> tuple[float, float]:
    """Return where Pillow's box begins and ends along a side of n pixels, of which the image holds `held`."""
    crop = crop_side(n, factor)
    stretched = round(crop * factor)
    step = (crop - 1) / (stretched - 1)  # input pixels per output pixel
    first = (held - crop) // 2 + (stretched - n) // 2 * step  # centre of the first output pixel
    return first + 0.5 - step / 2, first + 0.5 - step / 2 + n * step


def motion(image: NDArray[np.float32], /, *, radius: int, sigma: float, angle: float) -> NDArray[np.float32]:
    """Smear an image (h, w) or (h, w, c) along a direction in degrees, with a one-sided Gaussian of 2 radius + 1 taps.

    out(p) = sum_i k_i in(p + o_i), k_i ~ exp(-i^2 / (2 sigma^2)), o_i = ceil(i (sin, cos) - 1/2), edges repeated:
    ImageMagick's MotionBlurImage, with which CIFAR-10-C and ImageNet-C were made.
    """
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    rows = np.ceil(taps * np.sin(np.deg2rad(angle)) - 0.5).astype(int)
    columns = np.ceil(taps * np.cos(np.deg2rad(angle)) - 0.5).astype(int)
    h, w = image.shape[:2]
    up, left = max(0, -rows.min()), max(0, -columns.min())
    widths = [(up, max(0, rows.max())), (left, max(0, columns.max()))] + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image, widths, mode="edge")
    out, term = np.zeros_like(image), np.empty_like(image)
    for weight, y, x in zip(weights, rows + up, columns + left, strict=True):
        np.multiply(padded[y : y + h, x : x + w], weight, out=term)
        out += term
    return out


def sample(
    image: NDArray[np.float32],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    /,
    *,
    border: Literal["symmetric", "reflect"],
) -> NDArray[np.float32]:
    """Read an image (3, h, w) at real coordinates y, x (h, w), linearly; borders fold as numpy.pad names them."""
    planes, (h, w) = image.reshape(3, -1), image.shape[1:]
    top, left = np.floor(y), np.floor(x)
    down, right = (y - top).astype(np.float32), (x - left).astype(np.float32)
    (above, below), (before, after) = _folded(top, h, border), _folded(left, w, border)
    above, below = above * w, below * w
    corners = (
        (above + before, (1 - down) * (1 - right)),
        (above + after, (1 - down) * right),
        (below + before, down * (1 - right)),
        (below + after, down * right),
    )
    out = np.zeros((3, *y.shape), np.float32)
    for index, weight in corners:
        for plane, total in zip(planes, out, strict=True):
            total += plane.take(index) * weight
    return out


def _folded(floor: NDArray[np.float32], n: int, border: str, /) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the pixel index of each floor and of the one after it, folded back into 0 .. n - 1."""
    low, high = int(floor.min()), int(floor.max()) + 1
    index = floor.astype(np.intp)
    if low >= 0 and high < n:
        return index, index + 1
    before, after = max(0, -low), max(0, high - n + 1)
    table = np.pad(np.arange(n), (before, after), mode=border)
    index += before
    return table.take(index), table.take(index + 1)


def image_seeds(indices: NDArray[np.int64], corruption: str, /) -> NDArray[np.uint64]:
    """Return one seed per image, (n,), which depends on its index (n,) and on the corruption only."""
    salt = int.from_bytes(hashlib.sha256(corruption.encode()).digest()[:8], "little")
    mixed = np.random.SeedSequence(salt).generate_state(1, np.uint64)
    return (indices.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ mixed
