import numpy as np
import pytest

from reliquant.images.corruptions.impulse_noise import corruption


@pytest.mark.parametrize(
    ("side", "shares"), [(64, (0.01, 0.02, 0.03, 0.05, 0.07)), (65, (0.03, 0.06, 0.09, 0.17, 0.27))]
)
def test_impulse_noise_turns_the_published_share_black_or_white_half_each(side, shares, seeds):
    grey = np.full((50, side, side, 3), 100, np.uint8)
    for severity, share in enumerate(shares, 1):
        noisy = corruption(grey, seeds(50), severity=severity)
        assert set(np.unique(noisy)) == {0, 100, 255}
        error = 4 * np.sqrt(share / 2 / noisy.size)  # four standard errors
        assert np.mean(noisy == 0) == pytest.approx(share / 2, abs=error)
        assert np.mean(noisy == 255) == pytest.approx(share / 2, abs=error)
