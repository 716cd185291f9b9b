import numpy as np
import pytest

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import by_cosine, by_logits, fitted_on, positive


def features(n=11, c=3, d=5, bias=0.0):
    rng = np.random.default_rng(0)
    image, text = (rng.normal(size=(k, d)) for k in (n, c))
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (image, text)]
    return Features(*unit, np.zeros(n, int), 7.0, bias)


@pytest.mark.parametrize("rows", [1, 4, 11, 4096])
def test_cosines_are_doubles_whatever_the_block(rows):
    f = features()
    expected = (f.image.astype(float) @ f.text.astype(float).T).max(axis=1)
    found = by_cosine(f, lambda cosine: cosine.max(axis=1), rows=rows)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_no_more_than_a_block_is_reduced_at_a_time():
    shapes = []

    def reduce(cosine):
        shapes.append(cosine.shape)
        return cosine[:, 0]

    by_cosine(features(), reduce, rows=4)
    assert shapes == [(4, 3), (4, 3), (3, 3)]


def test_logits_are_cosines_times_the_scale_plus_the_bias():
    f = features(bias=-2.0)
    cosine = by_cosine(f, lambda x: x.min(axis=1))
    np.testing.assert_allclose(by_logits(f, lambda x: x.min(axis=1)), 7 * cosine - 2, rtol=1e-14)


def test_no_images_have_no_scores():
    f = features()
    assert by_cosine(Features(f.image[:0], f.text, f.label[:0], 1.0), lambda x: x.max(axis=1)).shape == (0,)


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
def test_a_word_that_is_not_positive_is_named(value):
    assert positive("temperature", 0.5) == 0.5
    with pytest.raises(ValueError, match="temperature must be finite and above 0, got"):
        positive("temperature", value)


def test_a_score_without_training_features_is_named():
    f = features()
    assert fitted_on(f, "knn") is f
    for train in (None, Features(f.image[:0], f.text, f.label[:0], 1.0)):
        with pytest.raises(ValueError, match="score 'knn' fits on in-distribution training features, and there are"):
            fitted_on(train, "knn")
