import numpy as np
import pytest
from scipy.stats import spearmanr

from reliquant.measures import search_shift
from reliquant.measures.retrieval import Task
from reliquant.measures.search import searched


def overlap_by_definition(one, other, p):
    """RBO_ext of two lists of one length, eq. 23 of Webber et al. (2010), with sets."""
    k = len(one)
    common = [len(set(one[:d]) & set(other[:d])) for d in range(1, k + 1)]
    tail = sum(x / d * p**d for d, x in enumerate(common, 1))
    return common[-1] / k * p**k + (1 - p) / p * tail


def test_overlap_is_that_of_sets():
    rng = np.random.default_rng(0)
    one, other = (np.stack([rng.permutation(15)[:10] for _ in range(40)]) for _ in range(2))
    shared = [len(set(a) & set(b)) for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    np.testing.assert_allclose(search_shift.jaccard(one, other), [x / (20 - x) for x in shared])
    expected = [overlap_by_definition(a, b, 0.9) for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    np.testing.assert_allclose(search_shift.rank_biased_overlap(one, other), expected)


def test_overlap_is_1_of_equal_and_0_of_disjoint_lists_and_the_first_places_weigh_most():
    one = np.arange(10)[None]
    assert search_shift.rank_biased_overlap(one, one) == pytest.approx([1])
    assert search_shift.rank_biased_overlap(one, one + 10).tolist() == [0]
    front, back = one.copy(), one.copy()
    front[0, [0, 1]], back[0, [8, 9]] = front[0, [1, 0]], back[0, [9, 8]]
    assert search_shift.rank_biased_overlap(one, front)[0] == pytest.approx(0.9)  # depth 1, of weight 1 - p
    assert search_shift.rank_biased_overlap(one, back)[0] == pytest.approx(1 - 0.1 * 0.9**8 / 9)


def test_the_order_is_compared_as_spearman_does_and_undefined_where_all_are_equal():
    rng = np.random.default_rng(1)
    one = rng.normal(size=(20, 30)).round(1)
    other = (one + rng.normal(size=one.shape)).round(1)
    expected = [spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(search_shift.rank_correlation(one, other), expected)
    other[3] = 0.5
    assert np.flatnonzero(np.isnan(search_shift.rank_correlation(one, other))).tolist() == [3]


def test_a_right_answer_moves_by_doublings_of_its_rank():
    angle = np.array([0.1, 0.2, 0.3, 0.4])
    gallery = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    ranks = []
    for right in (0, 3, 1):
        key = np.where(np.arange(4) == right, 0, -1)
        ranks.append(searched(Task(np.array([[1, 0]], np.float32), gallery, np.array([0]), key, np.array([0]))))
    first, fourth, second = ranks
    assert search_shift.right_answer_moved(fourth, first).tolist() == [2]
    assert search_shift.right_answer_moved(second, fourth).tolist() == [1]
