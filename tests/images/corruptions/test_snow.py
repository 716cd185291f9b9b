import numpy as np
import pytest

from reliquant.images.corruptions.snow import LARGE, SMALL, corruption


@pytest.mark.parametrize(("side", "parameters"), [(32, SMALL), (80, LARGE)])
def test_snow_whitens_at_least_as_the_formula_without_flakes(side, parameters, photos, seeds):
    images = photos(4, side, side)
    x = images / 255
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    for severity, (*_, f) in enumerate(parameters, 1):
        bare = 255 * np.clip(f * x + (1 - f) * np.maximum(x, 1.5 * grey + 0.5), 0, 1)
        flakes = corruption(images, seeds(4), severity=severity) + 1.0 - bare
        assert flakes.min() > -0.01
        assert 0.001 < np.mean(flakes > 5) < 0.9
        on_black = corruption(np.zeros_like(images), seeds(4), severity=severity)
        np.testing.assert_array_equal(on_black[..., 0], on_black[..., 2])  # white


def test_snow_falls_once_more_upside_down(seeds):
    flakes = corruption(np.zeros((1, 80, 90, 3), np.uint8), seeds(1), severity=2)[0]
    np.testing.assert_array_equal(flakes, flakes[::-1, ::-1])


@pytest.mark.parametrize(("side", "severity", "share"), [(32, 1, 0.0062), (80, 3, 0.1217)])
def test_flakes_are_as_frequent_as_normal_noise_above_the_threshold(side, severity, share, seeds):
    # share of standard normal values above (threshold - mean) / deviation: 2.5 and 1.1667
    flakes = corruption(np.zeros((200, side, side, 3), np.uint8), seeds(200), severity=severity)[..., 0].astype(float)
    ground = (1 - (SMALL if side == 32 else LARGE)[severity - 1][-1]) * 127.5
    mean, deviation = (SMALL if side == 32 else LARGE)[severity - 1][:2]
    threshold = (SMALL if side == 32 else LARGE)[severity - 1][3]
    noise = np.random.default_rng(0).normal(mean, deviation, 1_000_000)
    assert np.mean(noise > threshold) == pytest.approx(share, rel=0.05)
    expected = 255 * np.mean(np.where(noise > threshold, np.minimum(noise, 1), 0))  # smearing keeps the mean
    if side == 32:  # zoom 1: no interpolation between flakes
        assert 0.7 * 2 * expected < flakes.mean() - ground < 2 * expected  # but its ends are rounded to 0
    else:
        assert flakes.mean() > ground
