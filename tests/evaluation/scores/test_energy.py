import numpy as np
import pytest

from reliquant.evaluation.features import Features
from reliquant.evaluation.scores.energy import score


def test_energy_equals_the_formula_written_out(world):
    features = world()
    logits = 20.0 * features.image.astype(float) @ features.text.T.astype(float)
    np.testing.assert_allclose(score(features, None), np.log(np.exp(logits).sum(1)), rtol=1e-12)
    at_four = 4 * np.log(np.exp(logits / 4).sum(1))
    np.testing.assert_allclose(score(features, None, temperature=4.0), at_four, rtol=1e-12)


def test_energy_ranks_confident_above_uniform():
    text = np.eye(4, dtype=np.float32)
    image = np.array([[1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]], np.float32)
    confident, uniform = score(Features(image, text, np.array([0, -1]), 100.0), None)
    assert confident > uniform


def test_energy_at_the_logit_scale_orders_as_the_energy_of_cosines(world):
    features = world()
    cosine = np.log(np.exp(features.image.astype(float) @ features.text.T.astype(float)).sum(1))
    np.testing.assert_allclose(score(features, None, temperature=20.0), 20 * cosine, rtol=1e-12)


def test_energy_falls_by_the_bias(world):
    np.testing.assert_allclose(score(world(logit_bias=-10.0), None), score(world(), None) - 10, rtol=1e-9)


def test_energy_of_huge_logits_is_finite(world):
    assert np.isfinite(score(world(logit_scale=1e6), None)).all()


def test_energy_refuses_a_negative_temperature(world):
    with pytest.raises(ValueError, match="temperature must be finite and above 0, got -1"):
        score(world(3), None, temperature=-1.0)
