import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.covariance import EmpiricalCovariance

from reliquant.evaluation.features import Features
from reliquant.evaluation.scores.vim import score


@pytest.mark.parametrize("bias", [0.0, -10.0])
def test_vim_equals_the_published_recipe_step_by_step(world, bias):
    features, train = world(seed=1, logit_bias=bias), world(500, seed=2, logit_bias=bias)
    w, b = 20.0 * train.text.astype(float), np.full(10, bias)
    known, asked = train.image.astype(float), features.image.astype(float)
    u = -np.linalg.pinv(w) @ b
    covariance = EmpiricalCovariance(assume_centered=True).fit(known - u).covariance_
    value, vector = np.linalg.eig(covariance)
    null = vector.T[np.argsort(-value)[12:]].T
    alpha = (known @ w.T + b).max(1).mean() / np.linalg.norm((known - u) @ null, axis=1).mean()
    wanted = logsumexp(asked @ w.T + b, axis=1) - alpha * np.linalg.norm((asked - u) @ null, axis=1)
    np.testing.assert_allclose(score(features, train, dimension=12), wanted, rtol=1e-4, atol=1e-4)


def test_vim_ranks_images_of_the_classes_above_others(world):
    train = world(500, spread=0.1, seed=2)
    inside, outside = score(world(spread=0.1, seed=1), train), score(world(spread=100.0, seed=3), train)
    assert np.mean(inside[:, None] > outside) > 0.95


def test_vim_says_that_training_features_have_no_residual():
    plane = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    features = Features(plane, plane, np.array([0, 1]), 1.0)
    with pytest.raises(ValueError, match="training features have no residual"):
        score(features, features, dimension=2)


def test_vim_says_that_training_features_are_missing(world):
    with pytest.raises(ValueError, match="'vim' fits on in-distribution training features"):
        score(world(3), None)
