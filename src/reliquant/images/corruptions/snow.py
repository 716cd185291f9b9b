"""Let it snow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reliquant.images.corrupting import clipped_zoom, crop_side, each, level, motion

SMALL = (
    (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
)
LARGE = (
    (0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8),
    (0.2, 0.3, 2.0, 0.5, 12, 4.0, 0.7),
    (0.55, 0.3, 4.0, 0.9, 12, 8.0, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
)


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Whiten each image x of (n, h, w, 3), and add flakes that fall at an angle, and once more upside down.

    Flakes are normal noise, zoomed, cut below a threshold and smeared by motion;
    out = f x + (1 - f) max(x, 1.5 grey + 0.5) + flakes + turned flakes, of 1 = white.
    Parameters (mean, deviation, zoom, threshold, radius, sigma, f): CIFAR-10-C's up to 64 px (shorter
    side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    mean, deviation, zoom, threshold, radius, sigma, f = level(images, severity, small=SMALL, large=LARGE)
    h, w = images.shape[1:3]

    def flakes(rng: np.random.Generator) -> NDArray[np.float32]:
        noise = rng.standard_normal((crop_side(h, zoom), crop_side(w, zoom)), np.float32)
        crop = Image.fromarray(noise * np.float32(deviation) + np.float32(mean))
        layer = np.array(clipped_zoom(crop, zoom, size=(w, h)))
        layer[layer < threshold] = 0
        layer = np.floor(np.clip(layer, 0, 1) * np.float32(255))
        return np.rint(motion(layer, radius=radius, sigma=sigma, angle=rng.uniform(-135, -45)))

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        x, layer = image.astype(np.float32), flakes(rng)
        grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
        out = np.maximum(x, (grey * np.float32(1.5) + np.float32(127.5))[..., None]) * np.float32(1 - f)
        out += x * np.float32(f)
        out += (layer + layer[::-1, ::-1])[..., None]
        return out

    return each(images, seeds, one)
