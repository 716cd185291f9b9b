"""What photographs add in both roles: against sets drawn anew."""

import numpy as np
import pytest

from reliquant.measures.answering import Answering, added, counted_once


def two_roles(n, rng, own, pairs):
    """Draw what n photographs do as queries and answers, alone and together; return the mean and its parts."""
    alone = rng.normal(size=n) * own
    rise = alone[None, :] + pairs * rng.normal(size=(n, n))  # how far the query of the row rises without the column
    np.fill_diagonal(rise, 0)
    value = -rise.sum(axis=1)
    shared = (rise + rise.T)[np.triu_indices(n, 1)]
    low, high = np.triu_indices(n, 1)
    answering = Answering(rise.sum(axis=0) / n, low * n + high, shared / n)
    return value.mean(), (value - value.mean()) / n, answering


def variance(parts):
    return len(parts) * np.var(parts, ddof=1)


@pytest.mark.parametrize(("own", "pairs"), [(0.0, 1.0), (0.1, 1.0), (1.0, 0.1)])
def test_what_two_photographs_do_together_is_counted_once(own, pairs):
    rng, n = np.random.default_rng(0), 40
    drawn = [two_roles(n, rng, own, pairs) for _ in range(2000)]
    true = np.var([value for value, _, _ in drawn])
    stratum = np.zeros(n, np.int64)
    once = [variance(counted_once(asking, answering, stratum, variance)) for _, asking, answering in drawn[:300]]
    assert 0.9 < np.mean(once) / true < 1.2  # the least that is allowed makes it a little larger
    if own < pairs:
        twice = [variance(asking - answering.rise) for _, asking, answering in drawn[:300]]
        assert np.mean(twice) > 1.5 * true


def test_where_pairs_are_not_known_both_roles_are_added():
    asking, answering = np.array([-1.0, 0, 1]), Answering(np.array([3.0, 1, -1]))
    found = counted_once(asking, answering, np.zeros(3, np.int64), variance)
    np.testing.assert_allclose(found, [-3, 0, 3])
    assert answering.less(answering.times(0.5)).rise.tolist() == [1.5, 0.5, -0.5]


def test_answers_never_make_an_interval_narrower_than_queries_alone():
    asking, answering = np.array([-1.0, 0, 1]), Answering(np.array([-0.5, 0, 0.5]))
    np.testing.assert_array_equal(counted_once(asking, answering, np.zeros(3, np.int64), variance), asking)


def test_the_pairs_of_a_difference_are_those_of_both_sides():
    one = Answering(np.ones(3), np.array([1, 2]), np.array([0.5, 0.25]))
    other = Answering(np.ones(3), np.array([2, 5]), np.array([0.25, 1.0]))
    found = one.less(other)
    assert (found.pair.tolist(), found.shared.tolist()) == ([1, 5], [0.5, -1])
    pair, shared = added([(np.array([7, 3, 7]), np.array([1.0, 2, 3]))])
    assert (pair.tolist(), shared.tolist()) == ([3, 7], [2, 4])


def test_what_is_done_alike_by_all_of_a_stratum_is_not_together():
    n = 12
    stratum = np.arange(n) % 2
    low, high = np.triu_indices(n, 1)
    alike = np.where(stratum[low] == stratum[high], 3.0, -1.0)
    same = Answering(np.zeros(n), low * n + high, alike)
    assert same.together(stratum) == pytest.approx(0, abs=1e-9)
    assert same.together(np.zeros(n, np.int64)) > 100
