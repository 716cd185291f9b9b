import numpy as np
import polars as pl
import pytest
from scipy.special import log_softmax, rel_entr

from reliquant.measures.divergence import divergences, kl_divergence, top_of


def pair(classes, moved=0.3, n=200):
    rng = np.random.default_rng(0)
    a = log_softmax(4 * rng.normal(size=(n, classes)), axis=1)
    return a, log_softmax(a + moved * rng.normal(size=(n, classes)), axis=1)


def records(log_p):
    return pl.DataFrame(top_of(log_p))


@pytest.mark.parametrize("classes", [2, 7, 16])
def test_up_to_16_classes_the_divergence_is_exact(classes):
    a, b = pair(classes)
    expected = rel_entr(np.exp(a), np.exp(b)).sum(axis=1)
    np.testing.assert_allclose(divergences(records(a), records(b)), expected, atol=1e-6)


@pytest.mark.parametrize("moved", [0.3, 8.0])
def test_of_more_classes_it_is_a_lower_bound(moved):
    a, b = pair(60, moved)
    found, expected = divergences(records(a), records(b)), rel_entr(np.exp(a), np.exp(b)).sum(axis=1)
    assert (found <= expected + 1e-6).all()
    if moved < 1:
        assert found.mean() > 0.9 * expected.mean()


def test_equal_distributions_and_no_images_have_no_divergence():
    a, _ = pair(40)
    assert divergences(records(a), records(a)).max() < 1e-6
    assert divergences(records(a[:0]), records(a[:0])).shape == (0,)


def test_certainty_of_other_classes_stays_finite():
    a, b = (np.log(np.maximum(x, 1e-300)) for x in (np.eye(40)[[0]], np.eye(40)[[1]]))
    assert np.isfinite(divergences(records(a), records(b))).all()


def test_kl_is_zero_for_the_same_infinite_for_an_excluded_class_and_nonnegative():
    p = np.random.default_rng(2).dirichlet(np.ones(5), 50)
    q = np.random.default_rng(3).dirichlet(np.ones(5), 50)
    assert np.allclose(kl_divergence(p, p), 0)
    assert (kl_divergence(p, q) > 0).all()
    assert kl_divergence(p, q) == pytest.approx((p * np.log(p / q)).sum(axis=1))
    assert kl_divergence(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]]))[0] == np.inf
    with pytest.raises(ValueError, match="do not match"):
        kl_divergence(p, q[:3])
