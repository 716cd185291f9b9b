import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

from reliquant.measures.intervals import of_difference, of_ratio, p_of_side, stretched
from reliquant.measures.stats import percentile_interval


def test_two_shares_apart_get_newcombes_published_interval():
    """Newcombe (1998, Statistics in Medicine 17:873, table II, method 10, 56/70 and 48/80): 0.0524 to 0.3339."""
    first, second = (binomtest(k, n).proportion_ci(method="wilson") for k, n in ((56, 70), (48, 80)))
    low, high = of_difference(56 / 70, (first.low, first.high), 48 / 80, (second.low, second.high), 0.0)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)


def test_symmetric_intervals_give_the_textbook_variance_of_a_difference():
    low, high = of_difference(5.0, (2.0, 8.0), 1.0, (-3.0, 5.0), 0.6)
    half = np.sqrt(3**2 + 4**2 - 2 * 0.6 * 3 * 4)
    assert (low, high) == pytest.approx((4 - half, 4 + half))


def test_a_ratio_has_the_ends_of_the_one_that_is_not_certain():
    assert of_ratio(0.4, (0.2, 0.6), 0.8, (0.8, 0.8)) == pytest.approx((0.25, 0.75))
    assert of_ratio(0.4, (0.4, 0.4), 0.8, (0.5, 0.9)) == pytest.approx((0.4 / 0.9, 0.8))
    assert of_ratio(0.0, (0.0, 0.2), 0.8, (0.8, 0.8)) == pytest.approx((0.0, 0.25))
    low, high = of_ratio(0.4, (0.3, 0.5), 0.1, (0.0, 0.3))
    assert low > 0
    assert high == np.inf
    assert np.isnan(of_ratio(0.4, (0.3, 0.5), 0.0, (0.0, 0.2))).all()


@pytest.mark.parametrize(("top", "n"), [(0.03, 20), (0.9, 20), (0.5, 200)])
def test_intervals_of_a_ratio_of_two_shares_hold_it(top, n):
    rng, held = np.random.default_rng(1), 0
    for _ in range(1000):
        shares = []
        for true, size in ((top, n), (0.8, 500)):
            k = rng.binomial(size, true)
            ends = binomtest(k, size).proportion_ci(method="wilson")
            shares += [k / size, (ends.low, ends.high)]
        low, high = of_ratio(*shares)
        held += low <= top / 0.8 <= high
    assert 0.93 < held / 1000 < 0.99


def test_what_moves_together_differs_by_the_difference_of_the_sides():
    assert of_difference(5.0, (3.0, 9.0), 1.0, (0.0, 2.0), 1.0) == pytest.approx((3.0, 7.0))


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_p_is_below_one_in_20_just_where_the_interval_leaves_0_out(value):
    ends = (0.0, 5.0) if value > 0 else (-5.0, 0.0)
    assert p_of_side(value, *ends) == pytest.approx(0.05)
    assert p_of_side(value, value - 2, value + 2) == pytest.approx(2 * ndtr(-ndtri(0.975) / 2))
    assert p_of_side(0.0, -1.0, 2.0) == 1
    assert p_of_side(0.0, 0.0, 0.0) == 1
    assert np.isnan(p_of_side(1.0, np.nan, np.nan))


def test_stretched_replicates_have_the_interval_asked_for_and_their_old_order():
    rng = np.random.default_rng(0)
    before = rng.gamma(2.0, size=(3, 501))
    value, low, high = np.array([0.0, 1.0, 2.0]), np.array([-1.0, 0.9, 0.0]), np.array([4.0, 1.2, 3.0])
    after = stretched(before, value, low, high)
    assert np.transpose(percentile_interval(after)) == pytest.approx(np.transpose([low, high]))
    assert np.median(after, axis=1) == pytest.approx(value)
    assert (np.argsort(after, axis=1) == np.argsort(before, axis=1)).all()


def test_replicates_that_do_not_vary_only_move():
    assert stretched(np.full((1, 9), 5.0), np.array([1.0]), np.array([0.0]), np.array([2.0])).tolist() == [[1.0] * 9]
