"""Search a gallery exactly, in blocks: the nearest items and the rank of the right answer; free of torch.

Similarities are inner products of float32 rows, compared as if computed in float64. A block is one float32 matrix
product; only what lies within its rounding error of a right answer, or of the last place that counts, is computed again
in float64, in an order of additions that does not depend on the block. So equal rows have equal similarities, wherever
they stand, and what ranks say does not depend on the size of blocks or on the library that multiplies matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.nearest import Nearest
from reliquant.measures.pair_products import similarities
from reliquant.measures.retrieval import Task, right_answers

QUERIES, ITEMS = 1536, 2040  # of a block of similarities, 12 MiB; items are 255 words of 8 (`_count`)
GROUP = 4  # blocks of queries that meet the same items while these are in the cache
FACTOR = 4.0  # times d^(1/2) units in the last place: the error of a float32 product (Higham and Mary 2019)
CROWDED = 16  # items of a block that are nearer than the right answer: beyond so many they are counted, not looked at
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """Hold what each of q queries found in a gallery; k is how many places were asked for, or the gallery's size.

    `top` (q, k) are the nearest items, of equal ones the first in the gallery, and `similarity` (q, k) is theirs;
    `right` (q, k) says which are right answers. `beyond` (q,) counts the items that equal the last of these and are not
    among them, `beyond_right` (q,) the right answers of those. Of the best right answer, (q,) each: `best` is its
    similarity, `above` how many items are nearer, `level` how many are as near, itself included, and `level_right` how
    many of those are right answers. `answers` (q,) is how many right answers there are.
    """

    top: Ints
    similarity: Floats
    right: NDArray[np.bool_]
    beyond: Ints
    beyond_right: Ints
    best: Floats
    above: Ints
    level: Ints
    level_right: Ints
    answers: Ints


def searched(task: Task, /, *, k: int = 10, whole: bool = False) -> Found:
    """Search the gallery of a task by each of its queries for the `k` nearest items and for the right answers.

    `whole` says that all numbers are whole and products below 2**24, so that float32 holds them exactly. Peak memory
    beside the task is about 100 MiB and 20 k + 60 bytes a query. Raises ValueError for k below 1 or above 2,040, for
    a query without a right answer, and for numbers that are not finite.
    """
    if not 1 <= k <= ITEMS:
        raise ValueError(f"k is {k}; from 1 to {ITEMS} places can be asked for")
    if task.candidates < 1:
        raise ValueError("the gallery holds nothing but the query: there is nothing to find")
    right = right_answers(task)
    if not right.all():
        raise ValueError(f"query {int(np.argmin(right))} has no right answer in the gallery")
    answers = _Answers(task)
    near = 0.0 if whole else _error(task.query, task.gallery)
    number, k, parts = len(task.query), min(k, task.candidates), []
    room = np.empty((min(QUERIES, number), min(ITEMS, -(-len(task.gallery) // 8) * 8)), np.float32)
    for first in range(0, number, GROUP * QUERIES):
        lows = range(first, min(first + GROUP * QUERIES, number), QUERIES)
        blocks = [_Block(task, answers, np.arange(low, min(low + QUERIES, number)), k, near, whole) for low in lows]
        for start in range(0, len(task.gallery), ITEMS):
            for block in blocks:
                block.take(start, room)
        parts += [block.found() for block in blocks]
    return Found(*(np.concatenate([getattr(part, name) for part in parts]) for name in Found.__dataclass_fields__))


class _Answers:
    """Know the right answers of each query, which are too many to hold at once where classes are large."""

    def __init__(self, task: Task, /) -> None:
        self.task, self.order = task, np.argsort(task.gallery_key, kind="stable")
        keys = task.gallery_key[self.order]
        self.first, last = (np.searchsorted(keys, task.query_key, side=side) for side in ("left", "right"))
        self.number = np.where(task.query_key < 0, 0, last - self.first)

    def of(self, rows: Ints, /) -> tuple[Ints, Floats]:
        """Return for each right answer to some queries its query's place among them, and its similarity."""
        number = self.number[rows]
        place = np.repeat(np.arange(len(rows)), number)
        within = np.arange(len(place)) - np.repeat(np.cumsum(number) - number, number)
        item = self.order[self.first[rows][place] + within]
        if self.task.itself is not None:
            other = item != self.task.itself[rows][place]
            place, item = place[other], item[other]
        return place, similarities(self.task.query, self.task.gallery, rows[place], item)


def _error(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> float:
    """Return how far a float32 product may lie from the exact one; ValueError where a number is not finite."""
    lengths = []
    for name, rows in (("queries", query), ("the gallery", gallery)):
        square = np.einsum("nd,nd->n", rows, rows)
        if not np.isfinite(square).all():
            raise ValueError(f"row {int(np.argmin(np.isfinite(square)))} of {name} holds a number that is not finite")
        lengths.append(float(np.sqrt(square.max())))
    return FACTOR * query.shape[1] ** 0.5 * 2.0**-24 * lengths[0] * lengths[1]


class _Block:
    """Search by some queries, a block of the gallery after the other."""

    def __init__(self, task: Task, answers: _Answers, rows: Ints, k: int, near: float, whole: bool, /) -> None:
        self.task, self.query, self.key = task, task.query[rows], task.query_key[rows]
        self.itself = None if task.itself is None else task.itself[rows]
        self.place, self.right_at = answers.of(rows)
        self.best = np.full(len(rows), -np.inf)
        np.maximum.at(self.best, self.place, self.right_at)
        self.nearest = Nearest(self.query, task.gallery, k, near, whole)
        self.ranks = _Ranks(self.query, task.gallery, self.best, near, whole)
        self.often = True  # whether most queries found something in the last block

    def take(self, start: int, room: NDArray[np.float32], /) -> None:
        """Search the items of the gallery from a place on; their products are written to `room` (queries, ITEMS)."""
        products = self._products(start, room[: len(self.query)])
        self.nearest.prepare(products)
        self.ranks.count(products, start)
        least = np.maximum(np.minimum(self.nearest.least, self.ranks.least), np.finfo(np.float32).min)
        who, item = self._reaching(products, least)
        value = products[who, item]
        item += start
        if start:  # of the first block all are counted
            self.ranks.look(who, item, value)
        self.nearest.add(who, item, value)

    def _reaching(self, products: NDArray[np.float32], least: NDArray[np.float32]) -> tuple[Ints, Ints]:
        """Return queries and items, in order, whose products are no less than the query's `least`.

        Where few queries have any, as deep in a gallery, their largest products tell which: half the time of comparing.
        """
        if self.often:
            who, item = np.divmod(np.flatnonzero(products >= least[:, None]), products.shape[1])
        else:
            rows = np.flatnonzero(products.max(axis=1) >= least)
            place, item = np.divmod(np.flatnonzero(products[rows] >= least[rows, None]), products.shape[1])
            who = rows[place]
        self.often = len(who) > len(least) / 2
        return who, item

    def _products(self, start: int, room: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the similarities (queries, items) from a place of the gallery on, minus infinity to the query itself.

        Items are a multiple of 8; those that the gallery lacks have minus infinity.
        """
        items = self.task.gallery[start : start + ITEMS]
        products = room[:, : -(-len(items) // 8) * 8]
        if len(items) == products.shape[1]:
            np.matmul(self.query, items.T, out=products)
        else:
            products[:, : len(items)] = self.query @ items.T
            products[:, len(items) :] = -np.inf
        if self.itself is not None:
            own = np.flatnonzero((self.itself >= start) & (self.itself < start + len(items)))
            products[own, self.itself[own] - start] = -np.inf
        return products

    def found(self) -> Found:
        """Return what was found once the whole gallery has been searched."""
        top, similarity, beyond = self.nearest.final()
        right = (self.task.gallery_key[top] == self.key[:, None]) & (self.key >= 0)[:, None]
        number, level_right, last_right = (
            np.bincount(self.place[of], minlength=len(self.key))
            for of in (slice(None), self.right_at == self.best[self.place], self.right_at == similarity[self.place, -1])
        )
        beyond_right = last_right - (right & (similarity == similarity[:, -1:])).sum(axis=1)
        above, level = self.ranks.above, self.ranks.level
        return Found(top, similarity, right, beyond, beyond_right, self.best, above, level, level_right, number)


class _Ranks:
    """Count for each query the items that are nearer than its best right answer, and as near.

    Where they are few each is looked at, with those that may be among the nearest; where they are many they are
    counted, and only what a float32 product cannot tell from the right answer is looked at.
    """

    def __init__(
        self, query: NDArray[np.float32], gallery: NDArray[np.float32], best: Floats, near: float, whole: bool, /
    ) -> None:
        self.query, self.gallery, self.best, self.whole = query, gallery, best, whole
        self.low, self.high = ((best + side * near).astype(np.float32) for side in (-1, 1))
        self.above, self.level = np.zeros(len(query), np.int64), np.zeros(len(query), np.int64)
        self.many = np.arange(len(query))  # queries whose items are counted: at first all
        self.least = np.full(len(query), np.inf, np.float32)  # of those that are looked at; infinity where counted

    def count(self, block: NDArray[np.float32], start: int, /) -> None:
        """Count in a block of similarities, whose first item is `start`, for queries with many nearer items."""
        many = self.many
        if not len(many):
            return
        part = block if len(many) == len(block) else block[many]
        higher, no_lower = part > self.high[many, None], part >= self.low[many, None]
        nearer, upto = _count(higher), _count(no_lower)
        self.above[many] += nearer
        unsure = np.flatnonzero(upto != nearer)
        who, item = np.nonzero(no_lower[unsure] & ~higher[unsure])
        self._told_apart(many[unsure[who]], item + start)
        if start == 0:
            self.many = np.flatnonzero(upto > CROWDED)
            few = upto <= CROWDED
            self.least[few] = self.low[few]

    def look(self, who: Ints, item: Ints, value: NDArray[np.float32], /) -> None:
        """Look at items of a block that are at least as near as `least`, and may be nearer than the right answer."""
        nearer = value >= self.least[who]
        who, item, higher = who[nearer], item[nearer], value[nearer] > self.high[who[nearer]]
        self.above += np.bincount(who[higher], minlength=len(self.above))
        self._told_apart(who[~higher], item[~higher])

    def _told_apart(self, who: Ints, item: Ints) -> None:
        """Count items whose float32 product is within the error of that of the right answer."""
        if self.whole:
            self.level += np.bincount(who, minlength=len(self.level))
            return
        again = similarities(self.query, self.gallery, who, item)
        self.above += np.bincount(who[again > self.best[who]], minlength=len(self.above))
        self.level += np.bincount(who[again == self.best[who]], minlength=len(self.level))


def _count(truth: NDArray[np.bool_]) -> Ints:
    """Return how many of each row, (queries, items), are true: bytes are summed eight at once, 255 without overflow."""
    words = np.ascontiguousarray(truth).view(np.uint64).sum(axis=1, dtype=np.uint64)
    return words.view(np.uint8).reshape(len(truth), 8).sum(axis=1, dtype=np.int64)
