from dataclasses import replace

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance

from reliquant.evaluation.features import Features
from reliquant.evaluation.scores.mahalanobis import score


def slow(features, train, relative):
    known = [train.image[train.label == c].astype(float) for c in np.unique(train.label) if c >= 0]
    shared = EmpiricalCovariance(assume_centered=True).fit(np.concatenate([x - x.mean(0) for x in known]))
    every = np.concatenate(known)
    whole = EmpiricalCovariance(assume_centered=True).fit(every - every.mean(0))
    out = []
    for x in features.image.astype(float):
        near = min((x - own.mean(0)) @ shared.precision_ @ (x - own.mean(0)) for own in known)
        far = (x - every.mean(0)) @ whole.precision_ @ (x - every.mean(0))
        out.append(far - near if relative else -near)
    return out


@pytest.mark.parametrize("relative", [False, True])
def test_mahalanobis_equals_sklearns_precision_class_by_class(world, relative):
    features, train = world(40, seed=1), world(600, seed=2)
    np.testing.assert_allclose(score(features, train, relative=relative), slow(features, train, relative), rtol=1e-5)


def test_mahalanobis_by_hand():
    # class 0 at x = 0, class 1 at x = 4, both with variance 1 in x and 4 in y (not unit rows: nothing asks for them)
    image = np.array([[-1, -2], [1, 2], [-1, 2], [1, -2]], np.float32)
    train = Features(np.concatenate([image, image + np.float32([4, 0])]), image[:2], np.repeat([0, 1], 4), 1.0)
    asked = Features(np.array([[0, 0], [0, 2], [2, 0], [6, 2]], np.float32), image[:2], np.full(4, -1), 1.0)
    np.testing.assert_allclose(score(asked, train), [0, -1, -4, -5], atol=1e-6)
    whole = [4 / 5, 4 / 5 + 1, 0, 16 / 5 + 1]  # variance 5 about x = 2
    np.testing.assert_allclose(score(asked, train, relative=True), np.array(whole) - [0, 1, 4, 5], atol=1e-6)


def test_mahalanobis_ignores_unlabelled_training_images(world):
    train, strange = world(300, seed=2), world(300, spread=100.0, seed=3)
    both = replace(
        train,
        image=np.concatenate([train.image, strange.image]),
        label=np.concatenate([train.label, np.full(300, -1)]),
    )
    np.testing.assert_array_equal(score(world(seed=1), both), score(world(seed=1), train))


def test_mahalanobis_with_fewer_images_than_dimensions_is_finite(world):
    for relative in (False, True):
        assert np.isfinite(score(world(), world(12, seed=2), relative=relative)).all()


def test_mahalanobis_ranks_images_of_the_classes_above_others(world):
    train = world(600, spread=0.1, seed=2)
    for relative in (False, True):
        inside = score(world(spread=0.1, seed=1), train, relative=relative)
        outside = score(world(spread=100.0, seed=3), train, relative=relative)
        assert np.mean(inside[:, None] > outside) > 0.95


def test_mahalanobis_says_what_is_missing(world):
    with pytest.raises(ValueError, match="'mahalanobis' fits on in-distribution training features"):
        score(world(3), None)
    with pytest.raises(ValueError, match="needs labelled training images, and all labels are -1"):
        score(world(3), replace(world(5), label=np.full(5, -1)))
