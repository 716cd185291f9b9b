import numpy as np
import pytest

from reliquant.measures.smooth_ece import smooth_ece


def test_smooth_ece_is_the_fixed_point_of_the_written_out_integral():
    rng = np.random.default_rng(5)
    confidence = (rng.integers(300, 1000, 400) + 0.5) / 1000  # cell centres of the grid
    correct = rng.random(400) < confidence**2
    s = smooth_ece(confidence, correct)[0]
    t = (np.arange(1000) + 0.5) / 1000
    kernel = np.zeros((1000, 400))
    for shifted in (confidence + 2 * m for m in (-1, 0, 1)):
        for centre in (shifted, -shifted):
            kernel += np.exp(-0.5 * ((t[:, None] - centre) / s) ** 2) / (s * np.sqrt(2 * np.pi))
    assert np.abs(kernel @ (correct - confidence) / 400).mean() == pytest.approx(s, rel=1e-3)


def test_smooth_ece_of_a_constant_gap_is_the_gap():
    assert smooth_ece(np.full(100, 0.9), np.arange(100) < 60)[0] == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("power", [0.5, 1.5, 3.0])
def test_influences_give_the_spread_of_a_plain_bootstrap_where_the_model_is_not_calibrated(power):
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.3, 1, 600)
    correct = rng.random(600) < confidence**power
    value, influence = smooth_ece(confidence, correct)
    boot = [smooth_ece(confidence[i], correct[i])[0] for i in rng.integers(0, 600, (400, 600))]
    assert np.sqrt(influence.var() / 600) == pytest.approx(np.std(boot), rel=0.2)
    assert value == pytest.approx(np.mean(boot), rel=0.1)


def test_no_image_and_impossible_confidences():
    assert np.isnan(smooth_ece(np.zeros(0), np.zeros(0, bool))[0])
    assert smooth_ece(np.array([0.75]), np.array([True]))[0] == pytest.approx(0.25, abs=1e-3)
    assert smooth_ece(np.ones(5), np.ones(5, bool))[0] == 0
    assert smooth_ece(np.ones(5), np.zeros(5, bool))[0] == pytest.approx(1)
    with pytest.raises(ValueError, match="1 of 1 confidences are NaN"):
        smooth_ece(np.array([np.nan]), np.array([True]))
