import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from reliquant.measures import stats


def total(sums):
    return sums


@pytest.mark.parametrize("columns", [1, 60])  # the two ways the sums are taken
def test_bootstrap_of_a_mean_agrees_with_resampling_written_out(columns):
    rng = np.random.default_rng(0)
    label, x = rng.integers(0, 3, 90), rng.gamma(1.0, size=90) + rng.integers(0, 3, 90)
    table = np.repeat(x[:, None], columns, axis=1)
    found = stats.replicates(table, total, stats.strata(label), np.random.default_rng(1), resamples=4000)[0] / 90
    slow = [
        np.concatenate([rng.choice(x[label == k], (label == k).sum()) for k in range(3)]).mean() for _ in range(4000)
    ]
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
    assert (found == np.array(sizes)[:, None]).all()


@pytest.mark.parametrize("columns", [0, 60])
def test_strata_that_share_draws_are_independent_of_each_other(columns):
    stratum = np.repeat(np.arange(4), 30)
    x = np.tile(np.linspace(0, 1, 30), 4)  # equal values at equal places: shared draws would correlate fully
    table = np.zeros((120, 4 + columns))
    table[np.arange(120), stratum] = x
    found = stats.replicates(table, total, stratum, np.random.default_rng(0), resamples=10_000)[:4]
    assert np.abs(np.corrcoef(found) - np.eye(4)).max() < 0.04
    spread = np.sqrt(30) * x[:30].std()
    assert found.std(axis=1) == pytest.approx(spread, rel=0.03)
    assert found.sum(axis=0).std() == pytest.approx(2 * spread, rel=0.03)


def test_draws_are_multinomial():
    counts = stats.draws(7, np.random.default_rng(0), resamples=50_000)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean(axis=0) == pytest.approx(1, abs=0.02)
    assert counts.var(axis=0) == pytest.approx(6 / 7, abs=0.03)
    assert np.cov(counts[:, 0], counts[:, 1])[0, 1] == pytest.approx(-1 / 7, abs=0.02)


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


def test_rare_classes_share_a_stratum():
    found = stats.strata(np.array([0, 0, 0, 0, 0, 1, 2, 3, 4]))
    assert len(set(found[:5])) == 1
    assert len(set(found[5:])) == 1
    assert found[0] != found[5]


def test_percentile_interval_equals_numpy_and_an_undefined_replicate_undoes_it():
    x = np.random.default_rng(0).normal(size=(3, 1000))
    low, high = stats.percentile_interval(x)
    assert np.stack([low, high]) == pytest.approx(np.quantile(x, [0.025, 0.975], axis=1))
    x[1, 5] = np.nan
    assert np.isnan(stats.percentile_interval(x)[0]).tolist() == [False, True, False]


def test_bootstrap_p_is_one_without_difference_and_small_but_not_zero_for_a_clear_one():
    assert stats.bootstrap_p(np.zeros(999)) == 1
    assert stats.bootstrap_p(np.full(999, -3.0)) == pytest.approx(2 / 1000)
    assert stats.bootstrap_p(np.random.default_rng(0).normal(1, 1, 200_000)) == pytest.approx(2 * norm.sf(1), rel=0.02)
    assert np.isnan(stats.bootstrap_p(np.array([1.0, np.nan])))


@pytest.mark.parametrize(("k", "n"), [(0, 30), (30, 30), (7, 30), (1, 1)])
def test_wilson_equals_scipy_for_a_plain_share(k, n):
    v = k / n
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert stats.wilson(v, v * (1 - v) / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_holm_equals_the_definition_and_keeps_what_is_no_test():
    p = np.array([0.04, np.nan, 0.001, 0.03, 0.5])
    assert stats.holm(p) == pytest.approx([0.09, np.nan, 0.004, 0.09, 0.5], nan_ok=True)
    assert stats.holm([]).shape == (0,)


def test_one_value_has_no_variance():
    assert np.isnan(stats.variance_of_mean(np.array([1.0])))


def test_seeds_that_disagree_widen_the_interval_by_students_t():
    spread = 4.303 * 0.1 / 3**0.5  # three seeds, .4, .5 and .6; t of two degrees of freedom
    assert stats.half_over_seeds(0.04, 0.1, 3) == pytest.approx((0.04**2 + spread**2) ** 0.5, rel=1e-3)


def test_seeds_that_agree_and_a_single_one_leave_the_noise_of_images():
    assert stats.half_over_seeds([0.04, 0.04], [0.0, 0.0], [3, 1]) == pytest.approx([0.04] * 2)


@pytest.mark.parametrize(("between", "images"), [(0.02, 0.02), (0.02, 0.002), (0.0, 0.02)])
def test_intervals_over_seeds_hold_the_truth_in_95_of_100_studies(between, images):
    rng = np.random.default_rng(5)
    seeds = rng.normal(0, between, (20_000, 3)) + rng.normal(0, images, (20_000, 1))  # the seeds share their images
    half = stats.half_over_seeds(np.full(20_000, stats.Z95 * images), seeds.std(1, ddof=1), np.full(20_000, 3))
    assert (abs(seeds.mean(1)) <= half).mean() > 0.945
