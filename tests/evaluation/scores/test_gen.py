import numpy as np
import pytest

from reliquant.evaluation.features import Features
from reliquant.evaluation.scores.gen import score


def test_gen_equals_the_formula_written_as_loops(world):
    features = world(30)
    for gamma, top in ((0.1, 100), (0.5, 3), (1.0, 1)):
        slow = []
        for logits in 20.0 * features.image.astype(float) @ features.text.T.astype(float):
            p = sorted(np.exp(logits) / np.exp(logits).sum(), reverse=True)[:top]
            slow.append(-sum(q**gamma * (1 - q) ** gamma for q in p))
        np.testing.assert_allclose(score(features, None, gamma=gamma, top=top), slow, rtol=1e-6)


def test_gen_at_gamma_one_is_the_gini_impurity_with_its_sign_turned(world):
    features = world()
    logits = 20.0 * features.image.astype(float) @ features.text.T.astype(float)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(score(features, None, gamma=1.0), (p**2).sum(1) - 1, rtol=1e-9)


def test_gen_ranks_confident_above_uniform():
    text = np.eye(4, dtype=np.float32)
    image = np.array([[1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]], np.float32)
    confident, uniform = score(Features(image, text, np.array([0, -1]), 100.0), None)
    assert confident > uniform


@pytest.mark.parametrize(
    ("given", "message"), [({"gamma": 0.0}, "gamma must be"), ({"top": 0}, "top must be at least 1")]
)
def test_gen_refuses_words_out_of_range(world, given, message):
    with pytest.raises(ValueError, match=message):
        score(world(3), None, **given)
