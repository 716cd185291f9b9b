import numpy as np
import pytest
from scipy.stats import entropy

from reliquant.evaluation.scores.entropy import score


def test_entropy_equals_scipys_with_its_sign_turned(world):
    features = world()
    logits = 20.0 * features.image.astype(float) @ features.text.T.astype(float)
    for temperature in (1.0, 3.0):
        power = np.exp(logits / temperature)
        ours = score(features, None, temperature=temperature)
        np.testing.assert_allclose(ours, -entropy(power, axis=1), rtol=1e-10)


def test_entropy_lies_between_minus_log_c_and_zero(world):
    assert score(world(logit_scale=1e6), None).max() == 0  # certain: p log p is 0 where p is
    assert score(world(logit_scale=1e-6), None).min() == pytest.approx(-np.log(10))


def test_entropy_refuses_a_temperature_of_zero(world):
    with pytest.raises(ValueError, match="temperature must be finite and above 0, got 0"):
        score(world(3), None, temperature=0.0)
