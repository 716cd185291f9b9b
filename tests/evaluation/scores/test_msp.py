import numpy as np
import pytest

from reliquant.evaluation.scores.msp import score


def test_msp_is_the_largest_probability_of_the_features(world):
    features = world()
    np.testing.assert_allclose(score(features, None), features.probabilities.max(1), rtol=1e-4)


def test_msp_tends_to_one_over_c_as_temperature_grows(world):
    np.testing.assert_allclose(score(world(), None, temperature=1e9), 0.1, rtol=1e-6)


def test_msp_does_not_change_with_a_bias_common_to_all_classes(world):
    np.testing.assert_allclose(score(world(), None), score(world(logit_bias=-10.0), None), rtol=1e-12)


def test_msp_of_huge_logits_is_finite(world):
    assert np.isfinite(score(world(logit_scale=1e6), None)).all()


def test_msp_refuses_a_temperature_of_zero(world):
    with pytest.raises(ValueError, match="temperature must be finite and above 0, got 0"):
        score(world(3), None, temperature=0.0)
