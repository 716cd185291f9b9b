"""What changed between two searches by the same queries, one number a query: overlap and order; free of torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from reliquant.measures.ranked import first_rank
from reliquant.measures.search import Found

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PERSISTENCE = 0.9  # of rank-biased overlap: the first ten places have 86 % of its weight (Webber et al. 2010, eq. 21)


def jaccard(one: Ints, other: Ints, /) -> Floats:
    """Return |A and B| / |A or B| of two lists of items of each query, (q, k) each, (q,).

    >>> jaccard(np.array([[1, 2, 3]]), np.array([[3, 4, 1]])).tolist()
    [0.5]
    """
    both = _common(one, other)[:, -1]
    return both / (one.shape[1] + other.shape[1] - both)


def rank_biased_overlap(one: Ints, other: Ints, /, *, persistence: float = PERSISTENCE) -> Floats:
    """Return the extrapolated rank-biased overlap of two lists of the same length k, (q, k) each, (q,).

    Webber, Moffat and Zobel (2010), RBO_ext, eq. 23: X_k / k p^k + (1 - p) / p sum over depths d of X_d / d p^d, where
    X_d items are among the first d of both: what the lists would agree in to infinite depth if they went on as they do
    at depth k. 1 for equal lists, 0 for lists without a common item.

    >>> rank_biased_overlap(np.array([[1, 2]]), np.array([[2, 1]]), persistence=0.5).round(3).tolist()
    [0.5]
    """
    k = one.shape[1]
    depth = np.arange(1, k + 1)
    agreement, weight = _common(one, other) / depth, persistence**depth
    return agreement[:, -1] * weight[-1] + (1 - persistence) / persistence * (agreement @ weight)


def _common(one: Ints, other: Ints) -> Ints:
    """Return how many items are among the first d of both lists, (q, k), for each d from 1 to k."""
    (q, k), queries = one.shape, 1024  # of a block
    met = np.zeros((q, k), np.int64)
    for low in range(0, q, queries):
        part = slice(low, low + queries)
        row, place, other_place = np.nonzero(one[part, :, None] == other[part, None, :])
        deeper = row * k + np.maximum(place, other_place)
        met[part] = np.bincount(deeper, minlength=len(met[part]) * k).reshape(-1, k)
    return np.cumsum(met, axis=1)


OVERLAPS = (jaccard, rank_biased_overlap)


def of_lists(overlap: Callable[[Ints, Ints], Floats], k: int, one: Found, other: Found, /) -> Floats:
    """Return an overlap of the first k places of two searches by the same queries, (q,)."""
    return overlap(one.top[:, :k], other.top[:, :k])


def rank_correlation(one: Floats, other: Floats, /) -> Floats:
    """Return Spearman's correlation of two similarities of the same items to each query, (q, k) each, (q,).

    Equal similarities have the mean of their ranks. NaN where all of either are equal, or there are fewer than two.
    """
    ranks = [rankdata(side, axis=1) for side in (one, other)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), size, out=np.full(len(size), np.nan), where=size > 0)


def rank_correlation_without(one: Floats, other: Floats, row: Ints, out: Ints, /) -> Floats:
    """Return Spearman's correlation, (p,), of the similarities of query `row` (p,) without the places `out` (p, m).

    `one` and `other` are (q, k); a place of k is none. A rank less the mean rank is half the sum of the signs of the
    differences to all items, of which those to what is left out are taken off: so it costs k additions, not a sort.
    """
    k, left = one.shape[1], []
    for side in (one, other):
        sign = np.zeros((len(side), k + 1, k + 1), np.float32)  # sums of signs are whole, and exact
        np.sign(side[:, None, :] - side[:, :, None], out=sign[:, :k, :k])
        rank = sign.sum(axis=1)[row]
        for place in out.T:
            rank -= sign[row, place]
        np.put_along_axis(rank, out, 0, 1)
        left.append(rank)
    a, b = left
    size = np.sqrt(np.einsum("pk,pk->p", a, a).astype(float) * np.einsum("pk,pk->p", b, b))
    return np.divide(np.einsum("pk,pk->p", a, b), size, out=np.full(len(size), np.nan), where=size > 0)


def right_answer_moved(found: Found, before: Found, /) -> Floats:
    """Return how far the first right answer moved, (q,): |log2 rank - log2 rank before|, in doublings of its rank.

    From rank 1 to 2 is as far as from 50 to 100, or back.
    """
    return np.abs(np.log2(first_rank(found)) - np.log2(first_rank(before)))
