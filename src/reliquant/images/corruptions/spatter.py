"""Spatter the lens with water or mud."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reliquant.images.corrupting import each, level

SMALL = ((0.62, 0.1, 0.7, 0.7, 0.5), (0.65, 0.1, 0.8, 0.7, 0.5), (0.65, 0.3, 1.0, 0.69, 0.5))
SMALL += ((0.65, 0.1, 0.7, 0.69, 0.6), (0.65, 0.1, 0.5, 0.68, 0.6))
LARGE = ((0.65, 0.3, 4.0, 0.69, 0.6), (0.65, 0.3, 3.0, 0.68, 0.6), (0.65, 0.3, 2.0, 0.68, 0.5))
LARGE += ((0.65, 0.3, 1.0, 0.65, 1.5), (0.67, 0.4, 1.0, 0.65, 1.5))
WATER, MUD = np.float32([175, 238, 238]), np.float32([63, 42, 20])


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Add to each image of (n, h, w, 3) drops of water (severity 1 to 3) or cover parts of it with mud (4 and 5).

    The liquid is normal noise, blurred and cut below a threshold. Water gets its relief from the distance to the edges
    of the drops, equalized and embossed; mud is opaque, with a soft rim (for it, strength is the rim's blur).
    Parameters (mean, deviation, blur, threshold, strength): CIFAR-10-C's up to 64 px (shorter side), else ImageNet-C's.
    Raises ValueError as `level` and `each` do.
    """
    mean, deviation, blur, threshold, strength = level(images, severity, small=SMALL, large=LARGE)

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        noise = rng.standard_normal(image.shape[:2], np.float32) * np.float32(deviation) + np.float32(mean)
        liquid = ndimage.gaussian_filter(noise, blur, mode="nearest")
        liquid[liquid < threshold] = 0
        if severity <= 3:
            relief = drops(np.clip(liquid * 255, 0, 255).astype(np.uint8))[..., None]
            return image + relief * (WATER * np.float32(strength))
        cover = ndimage.gaussian_filter((liquid > threshold).astype(np.float32), strength, mode="nearest")[..., None]
        cover[cover < 0.8] = 0
        return image * (1 - cover) + MUD * cover

    return each(images, seeds, one)


def drops(liquid: NDArray[np.uint8], /) -> NDArray[np.float32]:
    """Return how much light (0 to 1) drops of a thickness (h, w) add."""
    rim = edges(liquid)
    far = np.minimum(ndimage.distance_transform_edt(~rim), 20) if rim.any() else np.full(liquid.shape, 20.0)
    near = ndimage.uniform_filter(far, 3, mode="mirror").astype(np.uint8)
    below = np.cumsum(np.bincount(near.ravel(), minlength=256))
    first = below[near.min()]
    spread = np.rint((below - first) * (255 / max(1, near.size - first)))[near]  # equalized histogram, 0 to 255
    embossed = np.clip(ndimage.correlate(spread, [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], mode="mirror"), 0, 255)
    light = liquid * np.rint(ndimage.uniform_filter(embossed, 3, mode="mirror"))
    return (light / max(1, light.max())).astype(np.float32)


def edges(grey: NDArray[np.uint8], /) -> NDArray[np.bool_]:
    """Find the edges of an image (h, w) by Canny's algorithm (1986) with L1 gradients, thresholds 50 and 150."""
    right, down = (ndimage.sobel(grey.astype(np.int32), axis=axis, mode="nearest") for axis in (1, 0))
    across, along = np.abs(right), np.abs(down)
    size = across + along
    h, w = size.shape
    frame = np.pad(size, 1)

    def at(y: int, x: int) -> NDArray[np.int32]:
        return frame[1 + y : 1 + y + h, 1 + x : 1 + x + w]

    flat, steep = along < across * np.tan(np.pi / 8), along > across * np.tan(3 * np.pi / 8)
    rising = (right < 0) != (down < 0)
    peak = np.where(rising, (size > at(-1, 1)) & (size > at(1, -1)), (size > at(-1, -1)) & (size > at(1, 1)))
    peak = np.where(steep, (size > at(-1, 0)) & (size >= at(1, 0)), peak)
    peak = np.where(flat, (size > at(0, -1)) & (size >= at(0, 1)), peak)
    lines, count = ndimage.label(peak & (size > 50), structure=np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[lines[peak & (size > 150)]] = True
    strong[0] = False
    return strong[lines]
