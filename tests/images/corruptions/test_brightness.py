import colorsys

import numpy as np
import pytest

from reliquant.images.corruptions.brightness import corruption


@pytest.mark.parametrize(("side", "steps"), [(16, (0.05, 0.1, 0.15, 0.2, 0.3)), (65, (0.1, 0.2, 0.3, 0.4, 0.5))])
def test_brightness_equals_adding_to_the_value_of_hsv(side, steps, photos, seeds):
    images = photos(1, side, side)
    images[0, :4, :4] = 0
    for severity, c in enumerate(steps, 1):
        slow = []
        for pixel in images[0, ::5, ::5].reshape(-1, 3) / 255:
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            slow.append([255 * x for x in colorsys.hsv_to_rgb(h, s, min(v + c, 1))])
        ours = corruption(images, seeds(1), severity=severity)[0, ::5, ::5].reshape(-1, 3)
        assert np.abs(ours + 0.5 - slow).max() <= 0.5 + 1e-6  # the formula, truncated
