import numpy as np
import pytest

from reliquant.images.corruptions.gaussian_blur import corruption


@pytest.mark.parametrize(("side", "sigmas"), [(24, (0.4, 0.6, 0.7, 0.8, 1.0)), (65, (1.0, 2.0, 3.0, 4.0, 6.0))])
def test_gaussian_blur_equals_the_sum_of_weighted_neighbours(side, sigmas, photos, seeds):
    images = photos(1, side, side)
    for severity, sigma in enumerate(sigmas, 1):
        reach = int(4 * sigma + 0.5)
        taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        window = np.outer(taps, taps) / taps.sum() ** 2
        ours = corruption(images, seeds(1), severity=severity)[0]
        for y, x in ((0, 0), (3, 20), (side - 1, 7)):
            rows = np.clip(np.arange(y - reach, y + reach + 1), 0, side - 1)
            columns = np.clip(np.arange(x - reach, x + reach + 1), 0, side - 1)
            wanted = np.einsum("ij,ijc->c", window, images[0][np.ix_(rows, columns)])
            assert np.abs(ours[y, x] + 0.5 - wanted).max() <= 0.5 + 2e-3
