"""Average precision over a whole gallery, where right answers are too many for a list of the nearest; free of torch."""

from __future__ import annotations

from collections.abc import Iterator

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
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(task.gallery) + 1))])
    found = np.empty(len(task.query))
    for at, block, right in _blocks(task, first):
        for i, row, of_row in zip(at, block, right, strict=True):
            found[i] = _of_row(row, row[of_row], harmonic)
    return found


def moved_by_answers(task: Task, first: tuple[Ints, Floats] | None = None, /) -> Floats:
    """Return for each item of the gallery how far the average precisions rise, in sum, if it is not there, (g,).

    Without a wrong item all right ones behind it move up by a place; without a right one there is one right answer
    less. Equal similarities count in the order of the gallery. A query with one right answer does not lose it.
    """
    moved = np.zeros(len(task.gallery))
    rank = np.arange(1, len(task.gallery) + 1)
    step = 1 / (rank * np.maximum(rank - 1, 1))
    for _, block, right in _blocks(task, first):
        order = np.argsort(-block, axis=1, kind="stable")
        r = np.take_along_axis(right, order, 1)
        count, number = np.cumsum(r, axis=1), r.sum(axis=1, keepdims=True)
        precision = count / rank
        total = (precision * r).sum(axis=1, keepdims=True)
        without_wrong = _behind(r * count * step) / number
        left = (total - precision + _behind(r * (count - rank) * step)) / np.maximum(number - 1, 1) - total / number
        change = np.where(r, np.where(number > 1, left, 0.0), without_wrong)
        moved += np.bincount(order.ravel(), change.ravel(), len(moved))
    return moved


def _behind(values: Floats) -> Floats:
    """Return the sum of what stands behind each place of each row."""
    return values.sum(axis=1, keepdims=True) - np.cumsum(values, axis=1)


def _blocks(task: Task, first: tuple[Ints, Floats] | None) -> Iterator[tuple[Ints, Floats, NDArray[np.bool_]]]:
    """Yield queries, their similarities to all items, and whether these are right; minus infinity to the query."""
    plain = np.ascontiguousarray(task.gallery + np.float32(0))  # of -0 and 0 the bytes would differ
    rows = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    _, one, number = np.unique(rows, return_index=True, return_inverse=True)
    distinct = plain[one].astype(float).T
    for low in range(0, len(task.query), QUERIES):
        at = np.arange(low, min(low + QUERIES, len(task.query)))
        block = (task.query[at].astype(float) @ distinct)[:, number]
        right = task.gallery_key == task.query_key[at][:, None]
        if first is not None:
            np.put_along_axis(block, first[0][at], first[1][at] + 2 * np.abs(block).max() + np.abs(first[1]).max(), 1)
        if task.itself is not None:
            np.put_along_axis(block, task.itself[at][:, None], -np.inf, 1)
            np.put_along_axis(right, task.itself[at][:, None], False, 1)
        yield at, block, right


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
