import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t

from reliquant.measures import stats


def total(sums):
    return sums


def rao_wu(x, rng):
    """The total of a stratum of m values by m - 1 that are drawn from it."""
    return rng.choice(x, len(x) - 1).mean() * len(x)


@pytest.mark.parametrize("columns", [1, 60])  # the two ways the sums are taken
def test_bootstrap_of_a_mean_agrees_with_resampling_written_out(columns):
    rng = np.random.default_rng(0)
    label, x = rng.integers(0, 3, 90), rng.gamma(1.0, size=90) + rng.integers(0, 3, 90)
    table = np.repeat(x[:, None], columns, axis=1)
    found = stats.replicates(table, total, stats.strata(label), np.random.default_rng(1), resamples=4000)[0] / 90
    slow = [np.sum([rao_wu(x[label == k], rng) for k in range(3)]) / 90 for _ in range(4000)]
    assert found.mean() == pytest.approx(np.mean(slow), abs=0.01)
    assert found.std() == pytest.approx(np.std(slow), rel=0.06)
    assert np.quantile(found, [0.025, 0.975]) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.03)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=9),
    seed=st.integers(0, 99),
    budget=st.sampled_from([30, 500, 10**6]),
)
def test_every_stratum_keeps_its_size_in_every_resample(sizes, seed, budget):
    stratum = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    onehot = np.eye(len(sizes))[stratum]
    rng = np.random.default_rng(seed)
    found = stats.replicates(onehot, total, stratum, rng, resamples=40, budget=budget)
    assert found.shape == (len(sizes), 40)
    assert found == pytest.approx(np.broadcast_to(np.array(sizes)[:, None], found.shape), rel=1e-5)


@pytest.mark.parametrize("columns", [0, 60])
def test_strata_that_share_draws_are_independent_of_each_other(columns):
    stratum = np.repeat(np.arange(4), 30)
    x = np.tile(np.linspace(0, 1, 30), 4)  # equal values at equal places: shared draws would correlate fully
    table = np.zeros((120, 4 + columns))
    table[np.arange(120), stratum] = x
    found = stats.replicates(table, total, stratum, np.random.default_rng(0), resamples=10_000)[:4]
    assert np.abs(np.corrcoef(found) - np.eye(4)).max() < 0.04
    spread = np.sqrt(30) * x[:30].std(ddof=1)
    assert found.std(axis=1) == pytest.approx(spread, rel=0.03)
    assert found.sum(axis=0).std() == pytest.approx(2 * spread, rel=0.03)


def test_draws_are_multinomial_with_one_image_fewer():
    counts = stats.draws(7, np.random.default_rng(0), resamples=50_000)
    assert counts.sum(axis=1) == pytest.approx(7, abs=1e-5)
    assert counts.mean(axis=0) == pytest.approx(1, abs=0.02)
    assert (counts * 6 / 7).round(4).max() % 1 == 0
    assert counts.var(axis=0) == pytest.approx((7 / 6) ** 2 * 6 * (1 / 7) * (6 / 7), abs=0.03)
    assert (stats.draws(1, np.random.default_rng(0), resamples=3) == 1).all()


@pytest.mark.parametrize("m", [2, 3, 5])
def test_classes_of_few_images_lose_none_of_their_variance(m):
    rng = np.random.default_rng(0)
    x, stratum = rng.normal(size=(60, m)), np.repeat(np.arange(60), m)
    found = stats.replicates(x.reshape(-1, 1), total, stratum, rng, resamples=20_000)[0] / x.size
    assert found.var() == pytest.approx((x.var(axis=1, ddof=1) / m).sum() / 60**2, rel=0.05)


def test_the_same_generator_gives_the_same_replicates():
    args = np.arange(20.0)[:, None], total, np.zeros(20, int)
    a, b = (stats.replicates(*args, np.random.default_rng(5), resamples=50) for _ in range(2))
    assert np.array_equal(a, b)


def test_about_95_of_100_intervals_of_an_accuracy_hold_the_truth():
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        label = np.arange(200) % 5
        right = rng.random((200, 1)) < 0.6 + 0.05 * label[:, None]
        boot = stats.replicates(right, total, stats.strata(label), rng, resamples=800)[0] / 200
        low, high = stats.percentile_interval(boot)
        held += low <= 0.7 <= high
    assert 0.90 < held / 200 < 0.99


def test_classes_of_one_image_share_a_stratum_and_others_keep_their_own():
    found = stats.strata(np.array([0, 0, 0, 1, 2, 3, 3]))
    assert found.tolist() == [1, 1, 1, 0, 0, 2, 2]
    assert stats.strata(np.array([0, 0, 0, 3, 3, 5])).tolist() == [1, 1, 1, 0, 0, 0]  # a single one joins the smallest
    assert stats.strata(np.array([4])).tolist() == [0]


def test_percentile_interval_equals_numpy_of_the_finite_replicates_unless_they_are_few():
    x = np.random.default_rng(0).normal(size=(3, 1000))
    low, high = stats.percentile_interval(x)
    assert np.stack([low, high]) == pytest.approx(np.quantile(x, [0.025, 0.975], axis=1))
    x[1, 5], x[2, :51] = np.nan, np.inf
    low, high = stats.percentile_interval(x)
    assert np.isnan(low).tolist() == [False, False, True]
    assert (low[1], high[1]) == pytest.approx(np.nanquantile(x[1], [0.025, 0.975]))


def test_bootstrap_p_is_one_without_difference_and_small_but_not_zero_for_a_clear_one():
    assert stats.bootstrap_p(np.zeros(999)) == 1
    assert stats.bootstrap_p(np.full(999, -3.0)) == pytest.approx(2 / 1000)
    assert stats.bootstrap_p(np.random.default_rng(0).normal(1, 1, 200_000)) == pytest.approx(2 * norm.sf(1), rel=0.02)
    assert stats.bootstrap_p(np.append(np.ones(99), np.nan)) == pytest.approx(2 / 100)
    assert np.isnan(stats.bootstrap_p(np.array([1.0, np.nan])))


@pytest.mark.parametrize(("k", "n"), [(0, 30), (30, 30), (7, 30), (1, 1)])
def test_wilson_equals_scipy_for_a_plain_share(k, n):
    v = k / n
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert stats.wilson(v, v * (1 - v) / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_few_values_takes_students_t():
    low, high = stats.wilson(0.5, 1e-6, 10**6, freedom=4)
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, 4) * 1e-3, rel=1e-3)


def test_holm_equals_the_definition_and_keeps_what_is_no_test():
    p = np.array([0.04, np.nan, 0.001, 0.03, 0.5])
    assert stats.holm(p) == pytest.approx([0.09, np.nan, 0.004, 0.09, 0.5], nan_ok=True)
    assert stats.holm([]).shape == (0,)


def test_one_value_has_no_variance():
    assert np.isnan(stats.variance_of_mean(np.array([1.0])))
