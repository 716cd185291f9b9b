"""What searches would have found without a photograph, all its images and captions: a jackknife; free of torch.

What stands behind an item that goes moves up. Queries of the photograph itself go with it, and are no part of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.answering import Answering, added
from reliquant.measures.search import Found
from reliquant.measures.search_shift import rank_correlation_without

QUERIES, PLACES = 1024, 500_000  # of a block: queries, and places of lists, some 50 MB
CORRELATED = 64  # queries of a block whose items are all compared with one another
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Truth = NDArray[np.bool_]
Measure = Callable[..., Floats]


def first_places(found: Found, k: int, /) -> Found:
    """Return what was found with the first k places of each list alone, as if no more had been asked for."""
    if k >= found.top.shape[1]:
        return found
    level = found.similarity == found.similarity[:, k - 1 : k]
    behind, through = level[:, k:], level[:, -1]
    return replace(
        found,
        top=found.top[:, :k],
        similarity=found.similarity[:, :k],
        right=found.right[:, :k],
        beyond=behind.sum(axis=1) + through * found.beyond,
        beyond_right=(behind & found.right[:, k:]).sum(axis=1) + through * found.beyond_right,
    )


def upto_right(found: Found, /) -> Truth:
    """Say of each place, (q, k), whether what stands there can move a right answer: all up to the last one listed."""
    last = np.where(found.right, found.similarity, np.inf).min(axis=1)
    return found.similarity >= np.where(found.beyond_right > 0, -np.inf, last)[:, None]


def upto_best(found: Found, /) -> Truth:
    """Say of each place, (q, k), whether what stands there can move the first right answer."""
    return found.similarity >= found.best[:, None]


def best_wrong(found: Found, /) -> Truth:
    """Say of each place, (q, k), whether the first wrong answer stands there."""
    return ~found.right & (np.cumsum(~found.right, axis=1) == 1)


@dataclass(frozen=True)
class LeftOut:
    """Know the photograph of each query, (q,), and of each item of a gallery, (g,): 0 to `number` - 1, -1 for none.

    What has none, as an image without a caption, asks nothing and is never left out.
    """

    query: Ints
    item: Ints
    number: int

    @cached_property
    def most(self) -> int:
        """How many items of the gallery a photograph has at most: so many places move up at most."""
        return int(np.bincount(self.item[self.item >= 0], minlength=1).max())

    def rises(
        self,
        lists: Sequence[Found],
        matters: Sequence[Truth],
        measures: Mapping[str, Measure],
        values: Mapping[str, Floats],
        /,
    ) -> dict[str, Answering]:
        """Return for each measure how far its sum over queries rises without each photograph.

        `lists` are searches by the same queries, `matters` says which of their places, (q, k) each, may change
        anything. A measure is a function of the lists, of which `most` fewer places are left, and has `values` (q,)
        with all photographs there. A query whose value becomes undefined does not count.
        """
        moved = {name: Rises(self) for name in measures}
        for who, photograph in self.pairs([one.top for one in lists], matters):
            less = [self._without(one, who, photograph) for one in lists]
            for name, measure in measures.items():
                moved[name].add(who, photograph, measure(*less) - values[name][who])
        return {name: rises.all() for name, rises in moved.items()}

    def correlations(self, top: Ints, one: Floats, other: Floats, values: Floats, k: int, /) -> Answering:
        """Return how far the sum of rank correlations of the first k items rises without each photograph.

        `top` (q, k and more) are items, of which as many move up as there are, `one` and `other` their similarities,
        `values` (q,) the correlations with all.
        """
        moved, places = Rises(self), np.arange(top.shape[1])
        first = np.broadcast_to(places < k, top.shape)
        for who, photograph in self.pairs([top], [first], queries=CORRELATED):
            asks, row = np.unique(who, return_inverse=True)
            gone = self.item[top[who]] == photograph[:, None]
            out = gone | (np.cumsum(~gone, axis=1) > k)
            place = np.sort(np.where(out, places, len(places)), axis=1)[:, : out.sum(axis=1).max()]
            moved.add(who, photograph, rank_correlation_without(one[asks], other[asks], row, place) - values[who])
        return moved.all()

    def pairs(
        self, tops: Sequence[Ints], matters: Sequence[Truth], /, *, queries: int = QUERIES
    ) -> Iterator[tuple[Ints, Ints]]:
        """Yield some queries and photographs that stand in lists of theirs, at places that matter, (p,) each."""
        step = max(1, PLACES // sum(top.shape[1] for top in tops))
        order = np.argsort(self.query, kind="stable")  # queries of one photograph together
        for low in range(0, len(order), queries):
            rows, codes = order[low : low + queries], []
            for top, matter in zip(tops, matters, strict=True):
                row, place = np.nonzero(matter[rows])
                photograph = self.item[top[rows[row], place]]
                other = (photograph >= 0) & (photograph != self.query[rows[row]])
                codes.append(row[other] * self.number + photograph[other])
            row, photograph = np.divmod(np.unique(np.concatenate(codes)), self.number)
            for first in range(0, len(row), step):
                yield rows[row[first : first + step]], photograph[first : first + step]

    def _without(self, found: Found, who: Ints, photograph: Ints) -> Found:
        """Return what some queries, (p,), found without a photograph each, `most` places fewer.

        Of equal items behind the last place that was listed all stay.
        """
        top, similarity, right = found.top[who], found.similarity[who], found.right[who]
        gone = self.item[top] == photograph[:, None]
        kept = np.argsort(gone, axis=1, kind="stable")[:, : max(1, top.shape[1] - self.most)]
        near, near_right = np.take_along_axis(similarity, kept, 1), np.take_along_axis(right, kept, 1)
        last = near[:, -1:]
        level, listed, through = ~gone & (similarity == last), near == last, similarity[:, -1] == last[:, 0]
        beyond, beyond_right = found.beyond[who] * through, found.beyond_right[who] * through
        return Found(
            np.take_along_axis(top, kept, 1),
            near,
            near_right,
            beyond + level.sum(axis=1) - listed.sum(axis=1),
            beyond_right + (level & right).sum(axis=1) - (listed & near_right).sum(axis=1),
            *_best_without(found, who, gone),
            found.answers[who],
        )


class Rises:
    """Gather how far queries rise without photographs."""

    def __init__(self, left: LeftOut, /) -> None:
        self.left, self.rise, self.parts = left, np.zeros(left.number), [(np.zeros(0, np.int64), np.zeros(0))]

    def add(self, who: Ints, photograph: Ints, rise: Floats, /) -> None:
        """Add how far some queries rise without a photograph each, (p,); what is not finite does not count."""
        some = np.isfinite(rise) & (rise != 0)
        mine, other, rise = self.left.query[who[some]], photograph[some], rise[some]
        self.rise += np.bincount(other, rise, self.left.number)
        pair = np.minimum(mine, other) * self.left.number + np.maximum(mine, other)
        self.parts.append(added([(pair, rise)]))

    def all(self) -> Answering:
        """Return what was gathered."""
        return Answering(self.rise, *added(self.parts))


def _best_without(found: Found, who: Ints, gone: Truth) -> tuple[Floats, Ints, Ints, Ints]:
    """Return `best`, `above`, `level` and `level_right` of some queries, (p,), of whose places (p, k) some are gone.

    If the best right answers are gone, the next is the best, just behind the list where it is not on it.
    """
    similarity, right, best = found.similarity[who], found.right[who], found.best[who]
    above, equal = gone & (similarity > best[:, None]), gone & (similarity == best[:, None])
    stays = [found.above[who] - above.sum(axis=1), found.level[who] - equal.sum(axis=1)]
    stays.append(found.level_right[who] - (equal & right).sum(axis=1))
    lost = stays[2] == 0
    if not lost.any():
        return best, stays[0], stays[1], stays[2]
    follows = np.where(right & ~gone, similarity, -np.inf).max(axis=1)
    listed, level = np.isfinite(follows), ~gone & (similarity == follows[:, None])
    through = similarity[:, -1] == follows
    anew = [
        (~gone & (similarity > follows[:, None])).sum(axis=1),
        np.where(listed, level.sum(axis=1) + through * found.beyond[who], 1),
        np.where(listed, (level & right).sum(axis=1) + through * found.beyond_right[who], 1),
    ]
    above, level, level_right = (np.where(lost, new, old) for new, old in zip(anew, stays, strict=True))
    return np.where(lost, follows, best), above, level, level_right
