import numpy as np
import pytest

from reliquant.report.posterior import ENOUGH, Estimates, _solved, draws, errors, groups

B = 200


def estimates(value, deviation=None, alone=None, group=None, change=False):
    value = np.asarray(value, float)
    none = np.zeros((len(value), B))
    deviation = none if deviation is None else deviation
    alone = np.zeros(len(value)) if alone is None else np.asarray(alone, float)
    group = np.zeros(len(value), int) if group is None else np.asarray(group)
    return Estimates(value, deviation, alone, group, np.full(len(value), change))


def drawn(found, number=4000, seed=0):
    return draws(found, np.random.default_rng(seed), number=number)


def test_exact_estimates_are_kept():
    found = drawn(estimates([1.0, 2.0, 4.0], alone=[1e-12] * 3))
    assert found.shape == (4000, 3)
    assert found.mean(axis=0) == pytest.approx([1, 2, 4], abs=1e-3)
    assert found.std(axis=0).max() < 1e-3


def test_the_best_of_values_that_are_mostly_luck_is_drawn_to_the_rest():
    rng = np.random.default_rng(0)
    value = rng.normal(0, 1, 30)
    found = drawn(estimates(value, alone=np.ones(30))).mean(axis=0)
    best = value.argmax()
    assert abs(found[best] - value.mean()) < 0.5 * abs(value[best] - value.mean())


def test_values_far_apart_are_hardly_drawn_together():
    value = np.linspace(-100, 100, 20)
    found = drawn(estimates(value, alone=np.ones(20)))
    assert found.mean(axis=0) == pytest.approx(value, abs=0.3)
    assert found.std(axis=0) == pytest.approx(np.ones(20), rel=0.1)


def test_luck_that_is_shared_does_not_blur_which_is_better():
    rng = np.random.default_rng(0)
    shared = np.repeat(rng.normal(0, 1, (1, B)), 8, axis=0) + 0.01 * rng.normal(0, 1, (8, B))
    value = np.arange(8) * 0.2
    found = drawn(estimates(value, deviation=shared))
    assert (np.diff(found, axis=1) > 0).mean() > 0.8
    assert found.std(axis=0).min() > 0.5  # while each is as uncertain as its replicates say
    alone = drawn(estimates(value, alone=np.ones(8)))
    assert (np.diff(alone, axis=1) > 0).mean() < 0.7


def test_groups_have_their_own_means():
    value = np.concatenate([np.zeros(10), np.full(10, 50.0)]) + np.random.default_rng(0).normal(0, 1, 20)
    found = drawn(estimates(value, alone=np.ones(20), group=[0] * 10 + [1] * 10)).mean(axis=0)
    assert found[:10].std() < 0.7 * value[:10].std()
    assert found[10:].mean() == pytest.approx(value[10:].mean(), abs=0.3)


def test_changes_that_share_their_luck_are_drawn_to_zero_and_large_ones_stay():
    shared = np.repeat(np.random.default_rng(0).normal(0, 1, (1, B)), 10, axis=0)
    small, large = (drawn(estimates(np.full(10, m), deviation=shared, change=True)).mean() for m in (1.0, 8.0))
    level = drawn(estimates(np.full(10, 1.0), deviation=shared)).mean()
    assert 0 < small < 0.6
    assert large > 7.5
    assert abs(level - 1.0) < 0.1


def test_draws_are_those_of_the_normal_posterior_with_known_spread():
    # a dense solution of the same model by its formulas: prior N(m, t^2 I), errors with covariance S
    rng = np.random.default_rng(0)
    n, spread = 40, 2.0
    common = rng.normal(0, 1, (n, 3))
    deviation = common @ rng.normal(0, 1, (3, B)) + 0.3 * rng.normal(0, 1, (n, B))
    deviation -= deviation.mean(axis=1, keepdims=True)
    truth = rng.normal(5, spread, n)
    value = truth + deviation[:, 0]
    cov = np.cov(deviation)
    found = drawn(estimates(value, deviation=deviation), number=8000)
    weight = np.linalg.inv(spread**2 * np.eye(n) + cov)
    centre = (weight.sum(axis=0) @ value) / weight.sum()
    expected = centre + spread**2 * weight @ (value - centre)
    assert np.abs(found.mean(axis=0) - expected).mean() < 0.4 * np.abs(value - expected).mean()
    assert np.corrcoef(found.mean(axis=0), expected)[0, 1] > 0.99


def test_the_inverse_is_that_of_the_whole_matrix():
    rng = np.random.default_rng(0)
    diagonal, low, right = rng.uniform(1, 2, 30), rng.normal(0, 1, (30, 4)), rng.normal(0, 1, (30, 5))
    expected = np.linalg.solve(np.diag(diagonal) + low @ low.T, right)
    assert _solved(diagonal, low, right) == pytest.approx(expected)


def test_nine_in_ten_truths_lie_in_intervals_of_nine_tenths():
    rng, inside = np.random.default_rng(0), []
    for seed in range(60):
        truth = rng.normal(rng.normal(), 0.7, 12)
        shared = 0.6 * rng.normal(0, 1, (1, B + 1)) + 0.8 * rng.normal(0, 1, (12, B + 1))
        deviation = shared[:, 1:] - shared[:, 1:].mean(axis=1, keepdims=True)
        found = drawn(estimates(truth + shared[:, 0], deviation=deviation), number=400, seed=seed)
        low, high = np.quantile(found, [0.05, 0.95], axis=0)
        inside.append(((low < truth) & (truth < high)).mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.05)


def test_an_estimate_without_an_interval_errs_as_much_as_the_one_that_errs_most():
    low, high = np.array([-1.96, 0.0, np.nan]), np.array([1.96, 1.96, np.nan])
    replicates = np.full((3, B), np.nan)
    replicates[1] = 5 + np.random.default_rng(0).normal(0, 0.5, B)
    deviation, alone = errors(low, high, replicates)
    assert alone == pytest.approx([1.0, 0.0, 1.0], rel=1e-3)
    assert np.abs(deviation[[0, 2]]).max() == 0
    assert deviation[1].mean() == pytest.approx(0.0, abs=1e-9)


def test_precisions_of_few_variants_share_a_group():
    many, few = ["w8a8"] * ENOUGH, ["w4a8"] * (ENOUGH - 3) + ["w2a8"] * 3
    assert groups(np.array(many + few)).tolist() == [2] * ENOUGH + [3] * ENOUGH
    assert len(set(groups(np.array([*many, "w4a8"])))) == 1  # one alone cannot have a prior
