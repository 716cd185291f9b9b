from dataclasses import replace

import numpy as np
import pytest

from reliquant.plugins import load, names

EVERY = names("score")


def furnished(features):
    """Add one patch, the image itself, and 300 negative words."""
    field = np.random.default_rng(5).normal(size=(300, features.image.shape[1]))
    words = (field / np.linalg.norm(field, axis=1, keepdims=True)).astype(np.float32)
    return replace(features, patches=features.image[:, None], negatives=words)


@pytest.mark.parametrize("name", EVERY)
def test_every_score_binds_without_words_and_ranks_images_of_the_classes_above_others(name, world):
    score, train = load("score", {"score": name}), furnished(world(2000, spread=0.1, seed=2))
    inside = score(furnished(world(spread=0.1, seed=1)), train)
    outside = score(furnished(world(spread=100.0, seed=3)), train)
    assert inside.shape == (200,)
    assert inside.dtype == np.float64
    assert np.mean(inside[:, None] > outside) > 0.9


@pytest.mark.parametrize("name", EVERY)
def test_every_score_of_an_image_is_the_same_alone_and_among_others(name, world):
    score, train, features = load("score", {"score": name}), furnished(world(300, seed=2)), furnished(world(60, seed=1))
    few = replace(features, image=features.image[7:9], label=features.label[7:9], patches=features.patches[7:9])
    np.testing.assert_allclose(score(few, train), score(features, train)[7:9], rtol=1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_every_score_of_no_image_is_empty(name, world):
    train = furnished(world(300, seed=2))
    assert load("score", {"score": name})(furnished(world(0)), train).shape == (0,)


@pytest.mark.parametrize("name", EVERY)
def test_no_score_needs_the_labels_of_what_it_scores(name, world):
    score, train, features = load("score", {"score": name}), furnished(world(300, seed=2)), furnished(world(60, seed=1))
    unlabelled = replace(features, label=np.full(60, -1))
    np.testing.assert_array_equal(score(unlabelled, train), score(features, train))
