import zlib

import numpy as np
import polars as pl
import pytest

from reliquant.measures.resampling import keys, linear, unseen, weights

FIXED = [[0.2493, 2.2784, 0.0919, 1.3804], [2.3009, 0.0009, 1.8926, -0.1944]]
STATE = np.arange(600, dtype=np.uint64)


def test_a_photograph_weighs_the_same_wherever_it_is_measured():
    whole = weights(STATE, np.zeros(600, int))
    shuffled = np.random.default_rng(0).permutation(600)
    assert weights(STATE[shuffled], np.zeros(600, int)) == pytest.approx(whole[:, shuffled], rel=1e-5)
    classes = STATE.astype(int) % 3
    part = classes == 1  # a set of one class alone, such as imagenet-200 in imagenet
    assert weights(STATE[part], np.zeros(200, int)) == pytest.approx(weights(STATE, classes)[:, part], rel=1e-5)


def test_overlapping_sets_give_correlated_means():
    x = np.random.default_rng(0).normal(size=900)
    first, second = STATE, STATE + np.uint64(300)  # half of each is in the other
    a = linear(0.0, x[:600] - x[:600].mean(), weights(first, np.zeros(600, int), resamples=4000))
    b = linear(0.0, x[300:] - x[300:].mean(), weights(second, np.zeros(600, int), resamples=4000))
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("m", [2, 3, 5, 600])
def test_means_vary_as_much_as_an_unbiased_estimate_says(m):
    x = np.random.default_rng(1).exponential(size=600)
    stratum = np.repeat(np.arange(600 // m), m)
    found = weights(STATE, stratum, resamples=20_000) @ x.astype(np.float32) / 600
    expected = (x.reshape(-1, m).var(axis=1, ddof=1) * m).sum() / 600**2
    assert found.var() == pytest.approx(expected, rel=0.05)
    assert found.mean() == pytest.approx(x.mean(), abs=4 * (expected / 20_000) ** 0.5)


def test_weights_of_a_stratum_sum_to_its_size_and_a_single_image_weighs_one():
    found = weights(STATE[:7], np.array([0, 1, 1, 1, 2, 2, 2]))
    assert (found[:, 0] == 1).all()
    assert found[:, 1:4].sum(axis=1) == pytest.approx(3, abs=1e-4)


def test_weights_never_change_between_versions():
    """Rows of two studies are compared by these; whoever changes them makes all earlier rows incomparable."""
    found = weights(np.array([1, 2, 3, 2**63], np.uint64), np.zeros(4, int), resamples=2)
    assert found == pytest.approx(np.array(FIXED), abs=1e-4)


def test_keys_are_the_photographs_or_else_dataset_and_index():
    records = pl.DataFrame({"dataset": ["a", "b"], "index": [3, 3]})
    assert keys(records).tolist() == [(zlib.crc32(name) << 32) | 3 for name in (b"a", b"b")]
    assert keys(records.with_columns(photograph=pl.Series([9, 2**64 - 1], dtype=pl.UInt64))).tolist() == [9, 2**64 - 1]


def test_what_flips_unseen_is_the_same_for_the_variants_of_a_model_and_another_for_another_model():
    answer = np.arange(600) % 7
    one, order = unseen(STATE, answer, resamples=20_000), np.random.default_rng(0).permutation(600)
    assert unseen(STATE[order], answer[order], resamples=20_000).tolist() == one.tolist()
    other = unseen(STATE, np.where(np.arange(600) == 5, 9, answer), resamples=20_000)
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(0, abs=0.03)


def test_what_flips_unseen_is_the_same_for_a_set_in_any_order_and_another_for_another_set():
    one = unseen(STATE, resamples=20_000)
    assert unseen(STATE[::-1], resamples=20_000).tolist() == one.tolist()
    other = unseen(STATE[:599], resamples=20_000)
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(0, abs=0.03)
    assert (one.mean(), one.var()) == pytest.approx((0, 1), abs=0.05)
