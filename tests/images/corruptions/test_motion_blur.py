import math

import numpy as np
import pytest

from reliquant.images.corrupting import motion
from reliquant.images.corruptions.motion_blur import corruption


@pytest.mark.parametrize("angle", [0.0, 30.0, -45.0, -100.0])
def test_motion_equals_the_sum_over_taps_pixel_by_pixel(angle, photos):
    image = photos(1, 14, 19)[0].astype(np.float32)
    ours = motion(image, radius=6, sigma=2.0, angle=angle)
    weights = [math.exp(-(i**2) / 8) for i in range(13)]
    for y, x in ((0, 0), (7, 9), (13, 18), (2, 17)):
        wanted = np.zeros(3)
        for i, weight in enumerate(weights):
            row = y + math.ceil(i * math.sin(math.radians(angle)) - 0.5)
            column = x + math.ceil(i * math.cos(math.radians(angle)) - 0.5)
            wanted += weight / sum(weights) * image[min(max(row, 0), 13), min(max(column, 0), 18)]
        np.testing.assert_allclose(ours[y, x], wanted, rtol=1e-5)


def test_motion_blur_leaves_one_colour_alone(seeds):
    for side in (32, 70):
        flat = np.full((2, side, side, 3), 201, np.uint8)
        for severity in (1, 5):
            np.testing.assert_array_equal(corruption(flat, seeds(2), severity=severity), flat)


def test_motion_blur_smears_across_more_than_down(photos, seeds):
    points = np.zeros((40, 64, 64, 3), np.uint8)
    points[:, 32, 32] = 255
    lit = corruption(points, seeds(40), severity=3)[..., 0] > 0
    heights, widths = lit.any(axis=2).sum(axis=1), lit.any(axis=1).sum(axis=1)
    assert (heights <= widths).all()  # within 45 degrees of the horizontal
    assert heights.min() < 3 < heights.max()
