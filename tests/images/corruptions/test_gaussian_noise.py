import numpy as np
import pytest

from reliquant.images.corruptions.gaussian_noise import corruption


@pytest.mark.parametrize(
    ("side", "sigmas"), [(64, (0.04, 0.06, 0.08, 0.09, 0.10)), (65, (0.08, 0.12, 0.18, 0.26, 0.38))]
)
def test_gaussian_noise_on_grey_is_normal_with_the_published_deviation(side, sigmas, seeds):
    grey = np.full((20, side, side, 3), 128, np.uint8)
    for severity, sigma in enumerate(sigmas, 1):
        noise = (
            corruption(grey, seeds(20), severity=severity).astype(float) + 0.5 - 128
        )  # truncation takes half a level
        inside = np.abs(noise) < 100  # of the part that is not clipped
        if sigma < 0.13:
            assert noise[inside].std() == pytest.approx(255 * sigma, rel=0.01)
            assert noise.mean() == pytest.approx(0, abs=0.5)
        within = np.mean(np.abs(noise) < 255 * sigma)
        assert within == pytest.approx(0.6827, abs=0.01)


def test_gaussian_noise_is_independent_between_channels_and_pixels(seeds):
    noise = corruption(np.full((50, 64, 64, 3), 128, np.uint8), seeds(50), severity=1).astype(float) - 128
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.01
