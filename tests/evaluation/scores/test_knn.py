import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from reliquant.evaluation.scores.knn import score


def test_knn_equals_sklearns_brute_force(world):
    features, train = world(100, seed=1), world(400, seed=2)
    known = NearestNeighbors(algorithm="brute").fit(train.image.astype(float))
    for k in (1, 50, 400):
        distance, _ = known.kneighbors(features.image.astype(float), n_neighbors=k)
        np.testing.assert_allclose(score(features, train, k=k), -distance[:, -1], atol=1e-6)


def test_knn_ranks_images_of_the_classes_above_others(world):
    train = world(400, spread=0.1, seed=2)
    inside = score(world(spread=0.1, seed=1), train, k=10)
    outside = score(world(spread=100.0, seed=3), train, k=10)
    assert np.mean(inside[:, None] > outside) > 0.99


def test_knn_of_the_training_images_themselves_is_zero_for_one_neighbour(world):
    np.testing.assert_array_equal(score(world(), world(), k=1), 0)


@pytest.mark.parametrize("k", [0, 41])
def test_knn_refuses_more_neighbours_than_training_images(world, k):
    with pytest.raises(ValueError, match=f"k must be from 1 to the number of training images 40, got {k}"):
        score(world(3), world(40), k=k)


def test_knn_says_that_training_features_are_missing(world):
    with pytest.raises(ValueError, match="'knn' fits on in-distribution training features, and there are none"):
        score(world(3), None)
    with pytest.raises(ValueError, match="'knn' fits on in-distribution training features, and there are none"):
        score(world(3), world(0))
