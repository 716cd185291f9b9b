import numpy as np
import pytest

from reliquant.images.corruptions.speckle_noise import corruption


@pytest.mark.parametrize(("side", "sigmas"), [(64, (0.06, 0.1, 0.12, 0.16, 0.2)), (65, (0.15, 0.2, 0.35, 0.45, 0.6))])
def test_speckle_noise_deviates_in_proportion_to_brightness(side, sigmas, seeds):
    for level in (50, 100):
        grey = np.full((20, side, side, 3), level, np.uint8)
        for severity, sigma in enumerate(sigmas, 1):
            noise = corruption(grey, seeds(20), severity=severity).astype(float) + 0.5 - level
            assert np.mean(np.abs(noise) < sigma * level) == pytest.approx(0.6827, abs=0.04)


def test_speckle_noise_leaves_black_black(seeds):
    assert not corruption(np.zeros((1, 70, 70, 3), np.uint8), seeds(1), severity=5).any()
