"""What a query's answers are worth, one number a query; equal similarities in their expected order; free of torch.

Where items are as near as one another, every order of them is as likely, and a measure is its mean over all orders
(McSherry and Najork 2008, "Computing information retrieval performance measures efficiently in the presence of tied
scores"). Without equal similarities these are the measures as usually computed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.search import Found

Floats = NDArray[np.float64]


def recall(found: Found, /, *, k: int) -> Floats:
    """Return the chance, (q,), that any right answer is among the k nearest: 0 or 1 unless similarities are equal.

    Over several right answers this is the Recall@k of image-text retrieval: one is enough (Karpathy and Fei-Fei 2015,
    and CLIP_benchmark). Of `level` items of which r are right, j are drawn for the places left: 1 - C(level - r, j) /
    C(level, j).
    """
    left = np.maximum(_within(found, k) - found.above, 0)
    missed, wrong = np.ones(len(left)), found.level - found.level_right
    for i in range(int(min(k, left.max(initial=0)))):
        drawn = (i < left) & (i < found.level)
        missed *= np.where(drawn, np.maximum(wrong - i, 0) / np.maximum(found.level - i, 1), 1.0)
    return 1 - missed


def first_rank(found: Found, /) -> Floats:
    """Return the expected rank of the first right answer, (q,), from 1: above + (level + 1) / (r + 1)."""
    return found.above + (found.level + 1) / (found.level_right + 1)


def precision(found: Found, /, *, k: int) -> Floats:
    """Return the share of right answers among the k nearest, (q,)."""
    return Places(found).right[:, : _within(found, k)].mean(axis=1)


def ndcg(found: Found, /, *, k: int = 10) -> Floats:
    """Return nDCG@k of answers that are right or wrong, (q,): each counts 1 / log2(rank + 1).

    Järvelin and Kekäläinen (2002), with the discount of Burges et al. (2005); the ideal list has all right answers
    first.
    """
    k = _within(found, k)
    discount = 1 / np.log2(np.arange(k) + 2)
    ideal = np.cumsum(discount)[np.minimum(found.answers, k) - 1]
    return Places(found).right[:, :k] @ discount / ideal


def map_at_r(found: Found, /) -> Floats:
    """Return mAP@R of each query, (q,): (1 / R) sum over ranks i to R of P(i) where i is right, else 0.

    Musgrave, Belongie and Lim (2020), "A metric learning reality check"; R is the number of right answers. With one
    right answer it is Recall@1. ValueError where fewer than R places were searched.
    """
    most = int(found.answers.max())
    if most > found.top.shape[1]:
        raise ValueError(f"a query has {most} right answers, and only {found.top.shape[1]} places were searched")
    rank = np.arange(1, most + 1)
    counted = rank <= found.answers[:, None]
    return (Places(found).right_and_before[:, :most] / rank * counted).sum(axis=1) / found.answers


def margin(found: Found, /) -> Floats:
    """Return the similarity of the best right answer less that of the best wrong one, (q,).

    NaN where no wrong answer is among the places that were searched: ask for more places than there are right answers.
    """
    wrong = ~found.right
    first = np.argmax(wrong, axis=1)
    best_wrong = np.take_along_axis(found.similarity, first[:, None], axis=1)[:, 0]
    return np.where(wrong.any(axis=1), found.best - best_wrong, np.nan)


def _within(found: Found, k: int) -> int:
    """Return k; ValueError where it is above the places that were searched, or the gallery."""
    if not 1 <= k <= found.top.shape[1]:
        raise ValueError(f"k is {k}; {found.top.shape[1]} places were searched, all that the gallery has or was asked")
    return k


class Places:
    """Hold what stands at each of the k places of each query, (q, k), in expectation over orders of equal items.

    `right` is the chance that a right answer stands there; `right_and_before` the mean, where a right answer stands
    there and 0 elsewhere, of the number of right answers up to there.
    """

    def __init__(self, found: Found, /) -> None:
        q, k = found.top.shape
        new = np.ones((q, k), bool)
        new[:, 1:] = found.similarity[:, 1:] != found.similarity[:, :-1]
        group = np.cumsum(new.ravel()) - 1  # a number for each run of equal similarities of one query
        last = group.reshape(q, k)[:, -1]
        size = np.bincount(group).astype(float)
        right = np.bincount(group, found.right.ravel()).astype(float)
        size[last] += found.beyond
        right[last] += found.beyond_right
        start = np.flatnonzero(new.ravel())
        upto = np.cumsum(right) - right  # right answers in all earlier groups, of earlier queries too
        before = upto - np.repeat(upto[np.append(0, last[:-1] + 1)], np.diff(np.append(-1, last)))
        within = np.arange(q * k) - start[group]
        share, others = (right / size)[group], ((right - 1) / np.maximum(size - 1, 1))[group]
        self.right = share.reshape(q, k)
        self.right_and_before = (share * (before[group] + 1 + within * others)).reshape(q, k)
