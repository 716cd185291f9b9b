import colorsys

import numpy as np
import pytest

from reliquant.images.corruptions.saturate import corruption

SMALL = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))
LARGE = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))


@pytest.mark.parametrize(("side", "parameters"), [(16, SMALL), (65, LARGE)])
def test_saturate_equals_the_formula_in_hsv_grey_pixels_included(side, parameters, photos, seeds):
    images = photos(1, side, side)
    images[0, :6, :6] = np.arange(6)[:, None, None] * 51  # greys, black and white
    for severity, (a, b) in enumerate(parameters, 1):
        slow = []
        for pixel in images[0, ::5, ::5].reshape(-1, 3) / 255:
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            slow.append([255 * x for x in colorsys.hsv_to_rgb(h, min(a * s + b, 1), v)])
        ours = corruption(images, seeds(1), severity=severity)[0, ::5, ::5].reshape(-1, 3)
        assert np.abs(ours + 0.5 - slow).max() <= 0.5 + 2e-3
