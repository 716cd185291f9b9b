import numpy as np
import pytest

from reliquant.evaluation.features import Features
from reliquant.evaluation.scores.residual import score


def test_residual_by_hand():
    # training features span x and y; what is left of any other feature is its z
    known = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0]], np.float32)
    asked = np.array([[0, 0, 1], [0.8, 0, 0.6], [0.6, 0.8, 0]], np.float32)
    train = Features(known, known, np.array([0, 1, 2]), 100.0)
    ours = score(Features(asked, known, np.full(3, -1), 100.0), train, dimension=2)
    np.testing.assert_allclose(ours, [-1, -0.6, 0], atol=1e-6)


def test_residual_equals_projection_by_svd(world):
    features, train = world(seed=1), world(500, seed=2)
    _, _, directions = np.linalg.svd(train.image.astype(float))
    major = directions[:16]  # half of the width of 32
    left = features.image - features.image @ major.T @ major
    np.testing.assert_allclose(score(features, train), -np.linalg.norm(left, axis=1), atol=1e-5)


def test_residual_of_a_sigmoid_model_is_measured_from_where_the_bias_vanishes(world):
    features = world(seed=1, logit_bias=-10.0)
    train = world(500, seed=2, logit_bias=-10.0)
    origin = np.linalg.lstsq(20.0 * train.text.astype(float), np.full(10, 10.0), rcond=None)[0]
    _, vector = np.linalg.eigh((train.image - origin).T @ (train.image - origin))
    wanted = -np.linalg.norm((features.image - origin) @ vector[:, :16], axis=1)
    np.testing.assert_allclose(score(features, train), wanted, rtol=1e-4)


@pytest.mark.parametrize("dimension", [0, 32])
def test_residual_refuses_a_dimension_that_leaves_nothing(world, dimension):
    with pytest.raises(ValueError, match=f"dimension must be from 1 to 31, .*, got {dimension}"):
        score(world(3), world(50), dimension=dimension)


def test_residual_says_that_training_features_are_missing(world):
    with pytest.raises(ValueError, match="'residual' fits on in-distribution training features"):
        score(world(3), None)
