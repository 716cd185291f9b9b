import numpy as np
import pytest

from reliquant.images.corruptions.contrast import corruption


@pytest.mark.parametrize(("side", "factors"), [(32, (0.75, 0.5, 0.4, 0.3, 0.15)), (65, (0.4, 0.3, 0.2, 0.1, 0.05))])
def test_contrast_equals_the_formula_truncated(side, factors, photos, seeds):
    images = photos(2, side, side)
    for severity, c in enumerate(factors, 1):
        x = images / 255
        mean = x.mean(axis=(1, 2), keepdims=True)
        wanted = np.clip((x - mean) * c + mean, 0, 1) * 255
        ours = corruption(images, seeds(2), severity=severity)
        assert np.abs(ours + 0.5 - wanted).max() <= 0.5 + 1e-3


def test_contrast_of_one_colour_changes_nothing(seeds):
    flat = np.full((1, 40, 40, 3), 37, np.uint8)
    np.testing.assert_array_equal(corruption(flat, seeds(1), severity=5), flat)
