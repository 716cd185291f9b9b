import numpy as np
import pytest

from reliquant.evaluation.features import Features
from reliquant.evaluation.subspace import length, residual


def features(image, scale=10.0, bias=0.0):
    image = np.asarray(image, np.float32)
    text = np.eye(image.shape[1], dtype=np.float32)[:2]
    return Features(image, text, np.zeros(len(image), int), scale, bias)


def test_the_minor_directions_are_those_that_training_features_use_least():
    train = features([[0.8, 0.6, 0.0, 0.0], [-0.6, 0.8, 0.0, 0.0], [0.9, 0.0, 0.1, 0.0]])
    origin, basis = residual(train, 2)
    assert origin.tolist() == pytest.approx([0, 0, 0, 0])
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-12)
    test = features([[0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert length(test, origin, basis).tolist() == pytest.approx([0, 1], abs=0.06)
    assert length(test, origin, residual(train, 3)[1]).tolist() == pytest.approx([0, 1], abs=1e-6)


def test_the_bias_of_a_sigmoid_model_vanishes_at_the_origin():
    train = features(np.random.default_rng(0).normal(size=(20, 4)), scale=5.0, bias=-10.0)
    origin, _ = residual(train, None)
    np.testing.assert_allclose(5.0 * train.text @ origin - 10.0, [0, 0], atol=1e-6)


def test_half_of_the_width_is_kept_by_default():
    train = features(np.random.default_rng(0).normal(size=(20, 6)))
    assert residual(train, None)[1].shape == (6, 3)


@pytest.mark.parametrize("dimension", [0, 4, 5])
def test_a_dimension_that_leaves_nothing_is_refused(dimension):
    train = features(np.random.default_rng(0).normal(size=(20, 4)))
    with pytest.raises(ValueError, match=f"dimension must be from 1 to 3, below the width .*, got {dimension}"):
        residual(train, dimension)
