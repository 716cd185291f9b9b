"""Let frost grow on the lens."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from reliquant.images.corrupting import each, level

SIDE = 500  # px of a texture, a multiple of 5
# mean and deviation of red, green, blue, as measured on the published photographs; length of the needles, px
LOOKS = (
    ((78, 149, 166), (27, 16, 15), 5.0),
    ((201, 205, 214), (21, 22, 23), 9.0),
    ((201, 205, 214), (21, 22, 23), 14.0),
    ((138, 153, 165), (28, 28, 30), 4.0),
    ((112, 123, 135), (44, 43, 42), 8.0),
)


def corruption(images: NDArray[np.uint8], seeds: NDArray[np.uint64], /, *, severity: int) -> NDArray[np.uint8]:
    """Overlay each image of (n, h, w, 3) with a random crop of one of five textures of frost: a x + b frost.

    The textures are computed (`texture`), with the colours of the five photographs of the published code, whose licence
    is not known; small images get every fifth pixel of them, as there.
    Parameters: CIFAR-10-C's (a, b) up to 64 px (shorter side), ImageNet-C's above.
    Raises ValueError as `level` and `each` do.
    """
    small = ((1.0, 0.2, 5), (1.0, 0.3, 5), (0.9, 0.4, 5), (0.85, 0.4, 5), (0.75, 0.45, 5))
    large = ((1.0, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1))
    a, b, step = level(images, severity, small=small, large=large)
    h, w = images.shape[1:3]

    def one(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        frost = texture(int(rng.integers(len(LOOKS))))[step // 2 :: step, step // 2 :: step]
        y, x = rng.integers(len(frost), size=2)
        rows = frost.take(np.arange(y, y + h), axis=0, mode="wrap")
        crop = rows.take(np.arange(x, x + w), axis=1, mode="wrap")
        return image * np.float32(a) + crop * np.float32(b)

    return each(images, seeds, one)


@cache
def texture(look: int, /) -> NDArray[np.uint8]:
    """Grow a periodic texture (side, side, 3) of ice: needles that shoot from seeds in twelve directions, over clouds.

    A direction's needles are spiky noise blurred along it, some long, some short and fine; where a direction prevails
    varies slowly over the plane. The brightest needle covers the others.
    """
    mean, deviation, length = LOOKS[look]
    rng = np.random.Generator(np.random.SFC64(look))
    v, u = np.float32(fft.fftfreq(SIDE))[:, None], np.float32(fft.rfftfreq(SIDE))

    def blurred(spikes: int, along: float, across: float, angle: float = 0.0) -> NDArray[np.float32]:
        turn = np.float32([np.cos(angle), np.sin(angle)])
        p, q = (u * turn[0] + v * turn[1]) * np.float32(along), (v * turn[0] - u * turn[1]) * np.float32(across)
        noise = rng.standard_normal((SIDE, SIDE), np.float32)
        square = noise * noise
        for _ in range(spikes):
            noise = noise * square
        field = fft.irfft2(fft.rfft2(noise) * np.exp((p * p + q * q) * np.float32(-2 * np.pi**2)), (SIDE, SIDE))
        return field / field.std()

    ice = np.full((SIDE, SIDE), -np.inf, np.float32)
    for angle in np.pi / 12 * np.arange(12):
        prevails = blurred(0, 1.5 * length, 1.5 * length)
        needles = blurred(2, length, 0.7, angle) + 0.7 * blurred(1, length / 3, 0.4, angle)
        ice = np.maximum(ice, needles + 0.8 * prevails)
    ice = np.tanh((ice - np.median(ice)) / (1.5 * ice.std())) + 0.4 * blurred(0, 30, 30) + 0.1 * blurred(0, 0.5, 0.5)
    colour = 0.15 * blurred(0, 40, 40)[..., None] * np.array([1.0, 0.0, -1.0])
    field = np.array(mean) + np.array(deviation) * (((ice - ice.mean()) / ice.std())[..., None] + colour)
    return np.clip(field, 0, 255).astype(np.uint8)
