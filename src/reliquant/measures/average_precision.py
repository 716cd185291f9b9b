"""Average precision over a whole gallery, where right answers are too many for a list of the nearest; free of torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.retrieval import Task

QUERIES = 128  # of a block of float64 similarities
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def average_precisions(task: Task, first: tuple[Ints, Floats] | None = None, /) -> Floats:
    """Return the average precision of each query over all of its gallery, (q,), equal similarities in expected order.

    The mean over right answers of the precision at their ranks, without interpolation. Similarities are float64
    products; equal rows of the gallery are multiplied once, so that theirs are equal. `first` (q, k) are items that
    come before all others, with the similarities that order them. Time grows with q g log g.
    """
    plain = np.ascontiguousarray(task.gallery + np.float32(0))  # of -0 and 0 the bytes would differ
    rows = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    _, one, number = np.unique(rows, return_index=True, return_inverse=True)
    distinct = plain[one].astype(float).T
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(plain) + 1))])
    found = np.empty(len(task.query))
    for low in range(0, len(found), QUERIES):
        at = np.arange(low, min(low + QUERIES, len(found)))
        block = (task.query[at].astype(float) @ distinct)[:, number]
        if first is not None:
            np.put_along_axis(block, first[0][at], first[1][at] + 2 * np.abs(block).max() + np.abs(first[1]).max(), 1)
        for i, row in zip(at, block, strict=True):
            right = task.gallery_key == task.query_key[i]
            if task.itself is not None:
                row[task.itself[i]], right[task.itself[i]] = -np.inf, False
            found[i] = _of_row(row, row[right], harmonic)
    return found


def _of_row(similarity: Floats, right: Floats, harmonic: Floats) -> float:
    """Return the average precision of one query from the similarities of all items, which are sorted, and of the right.

    Of n equal items of which r are right, after a items with b right answers, place j from 0 adds (r / n) (b + 1 + j
    (r - 1) / (n - 1)) / (a + 1 + j) in expectation (McSherry and Najork 2008); its sum over j is written with
    harmonic numbers.
    """
    similarity.sort()
    value, r = np.unique(right, return_counts=True)
    value, r = value[::-1], r[::-1]
    upto = np.searchsorted(similarity, value, side="right")
    above, n = len(similarity) - upto, upto - np.searchsorted(similarity, value, side="left")
    before = np.cumsum(r) - r
    inverse = harmonic[above + n] - harmonic[above]  # sum over j of 1 / (above + 1 + j)
    more = (r - 1) / np.maximum(n - 1, 1)
    return float(np.sum(r / n * ((before + 1) * inverse + more * (n - (above + 1) * inverse))) / len(right))
