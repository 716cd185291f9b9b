import numpy as np
import pytest

from reliquant.measures.query_means import Asked, weighted_medians


def asked(of, stratum=None, resamples=400):
    """Make queries of photographs whose keys are their numbers."""
    of = np.asarray(of)
    stratum = np.zeros(len(of), np.int64) if stratum is None else np.asarray(stratum)
    return Asked(of.astype(np.uint64), stratum, np.random.default_rng(0), resamples)


def test_the_variance_is_that_of_drawing_images_with_all_their_queries():
    rng = np.random.default_rng(1)
    of = np.repeat(np.arange(200), rng.integers(1, 7, 200))
    values = (rng.normal(size=200)[of] + rng.normal(size=len(of)) > 0.3).astype(float)
    one = asked(of)
    mean = one.mean(values)
    assert mean.value == values.mean()
    assert mean.parts.sum() == pytest.approx(0, abs=1e-12)
    sums, counts = np.bincount(of, values), np.bincount(of)
    drawn = rng.integers(0, 200, (20_000, 200))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    assert one.variance(mean.parts) == pytest.approx(means.var(), rel=0.05)
    alone = asked(np.arange(len(of)))
    assert one.variance(mean.parts) > 1.3 * alone.variance(alone.mean(values).parts)
    assert np.var(one.kept(mean.value, mean.parts)) == pytest.approx(means.var(), rel=0.3)  # of 200


def test_images_are_drawn_within_their_classes():
    of, stratum = np.arange(60), np.arange(60) % 3
    values = stratum + np.arange(60) / 1000
    one = asked(of, stratum)
    within = sum(np.var(values[stratum == s], ddof=1) / 20 / 9 for s in range(3))
    assert one.variance(one.mean(values).parts) == pytest.approx(within)


def test_queries_for_which_a_value_is_undefined_are_left_out():
    one = asked([0, 0, 1, 2])
    mean = one.mean(np.array([1.0, np.nan, 0.5, np.nan]))
    assert (mean.value, mean.number) == (0.75, 2)
    assert np.isnan(one.mean(np.full(4, np.nan)).value)


def test_a_share_without_a_miss_is_not_certain_and_keeps_no_replicates():
    one = asked(np.arange(300))
    row = one.share_row("recall_at_1", one.mean(np.ones(300)))
    assert (row["value"], row["high"], row["replicates"]) == (1, 1, None)
    assert row["low"] == pytest.approx(0.9874, abs=1e-4)


def test_a_share_that_adds_up_to_nearly_1_is_1():
    one = asked(np.arange(7))
    row = one.share_row("ndcg_at_10", one.mean(np.full(7, 1 - 2.0**-52)))
    assert (row["value"], row["high"], row["replicates"]) == (1, 1, None)
    assert row["low"] < 0.7


def test_where_hardly_any_value_is_not_1_others_may_be_worse():
    one, values = asked(np.arange(200)), np.ones(200)
    values[3] = 0.99
    row = one.share_row("ndcg_at_10", one.mean(values))
    assert row["low"] < 0.985
    values[:100] = 0.99
    assert one.share_row("ndcg_at_10", one.mean(values))["low"] > 0.99


def test_a_change_of_nothing_may_be_one_query_either_way():
    one = asked(np.repeat(np.arange(100), 5))
    mean = one.mean(np.ones(500))
    row = one.change_row("recall_at_1_change", mean, mean)
    assert (row["value"], row["p"]) == (0, 1)
    assert -row["low"] == row["high"] > 1.9 / 500
    assert np.std(row["replicates"]) == pytest.approx(1 / 500, rel=0.3)


def test_a_weighted_median_is_that_of_queries_repeated():
    rng = np.random.default_rng(2)
    of = rng.integers(0, 30, 77)
    of[:30] = np.arange(30)
    values, weight = rng.integers(1, 9, 77).astype(float), rng.integers(0, 4, (50, 30)).astype(np.float32)
    weight[:, 0] = 1
    expected = [np.median(np.repeat(values, w[of].astype(int))) for w in weight]
    np.testing.assert_allclose(weighted_medians(values, of, weight)[0], expected)


def test_the_interval_of_a_median_is_that_of_resampled_images():
    rng = np.random.default_rng(3)
    of = np.repeat(np.arange(150), 5)
    rank = np.ceil(np.exp(rng.normal(size=150))[of] * np.exp(1 + rng.normal(size=750)))
    one = asked(of, resamples=2000)
    row = one.median_row("median_rank", one.median(rank))
    drawn = rng.integers(0, 150, (2000, 150))
    medians = [np.median(rank.reshape(150, 5)[d]) for d in drawn]
    assert row["value"] == np.median(rank)
    np.testing.assert_allclose([row["low"], row["high"]], np.percentile(medians, [2.5, 97.5]), atol=1)


def test_a_change_of_the_median_uses_the_same_images_on_both_sides():
    rng = np.random.default_rng(4)
    rank = np.ceil(np.exp(3 + rng.normal(size=400)))
    one = asked(np.arange(400), resamples=1000)
    row = one.median_row("median_rank_change", one.median(rank + 2), one.median(rank))
    assert (row["value"], row["low"], row["high"]) == (2, 2, 2)
    assert row["p"] < 0.01
