import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from reliquant.images.corruptions.glass_blur import corruption, origins


def copied_pixel_by_pixel(pixels, d, offsets):
    h, w = pixels.shape[:2]
    pixels = pixels.copy()
    for y in range(h - d, d, -1):
        for x in range(w - d, d, -1):
            down, right = offsets[:, y - d - 1, x - d - 1]
            pixels[y, x] = pixels[y + down, x + right]
    return pixels


@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(12, 12), (31, 17)])
def test_origins_equal_copying_pixel_by_pixel(d, size):
    rng = np.random.default_rng(d)
    offsets = rng.integers(-d, d, size=(2, size[0] - 2 * d, size[1] - 2 * d), dtype=np.int8)
    numbered = np.arange(size[0] * size[1]).reshape(size)
    np.testing.assert_array_equal(origins(*size, d, offsets).reshape(size), copied_pixel_by_pixel(numbered, d, offsets))


def test_glass_blur_equals_blurring_copying_and_blurring(photos):
    images = photos(1, 66, 70)
    ours = corruption(images, np.array([9], np.uint64), severity=4)[0]
    rng = np.random.Generator(np.random.SFC64(9))
    pixels = (gaussian_filter(images[0].astype(float), (1.1, 1.1, 0), mode="nearest") + 1e-3).astype(np.uint8)
    for _ in range(2):
        pixels = copied_pixel_by_pixel(pixels, 3, rng.integers(-3, 3, size=(2, 60, 64), dtype=np.int8))
    wanted = gaussian_filter(pixels.astype(float), (1.1, 1.1, 0), mode="nearest")
    assert np.abs(ours + 0.5 - wanted).max() <= 0.52
