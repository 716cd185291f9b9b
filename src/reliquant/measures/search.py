"""Search a gallery exactly, in blocks: the nearest items and the rank of the right answer; free of torch.

Similarities are inner products of float32 rows, compared as if computed in float64. A block is one float32 matrix
product; only what lies within its rounding error of a right answer, or of the last place that counts, is computed again
in float64, in an order of additions that does not depend on the block. So equal rows have equal similarities, wherever
they stand, and what ranks say does not depend on the size of blocks or on the library that multiplies matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.retrieval import Task, right_answers

QUERIES, ITEMS = 512, 2040  # of a block of similarities, 4 MiB; items are 255 words of 8 (`_count`)
FACTOR = 8.0  # times d^(1/2) units in the last place: the error of a float32 product (Higham and Mary 2019)
SPARE = 64  # places that equal similarities may take before they are only counted
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
    beside the task is about 30 MiB and 100 (k + 20) bytes a query. Raises ValueError for k below 1 or above 2,040, for
    a query without a right answer, and for numbers that are not finite.
    """
    if not 1 <= k <= ITEMS:
        raise ValueError(f"k is {k}; from 1 to {ITEMS} places can be asked for")
    if task.candidates < 1:
        raise ValueError("the gallery holds nothing but the query: there is nothing to find")
    number = right_answers(task)
    if not number.all():
        raise ValueError(f"query {int(np.argmin(number))} has no right answer in the gallery")
    answers = _Answers(task)
    near = 0.0 if whole else _error(task.query, task.gallery)
    parts = []
    for low in range(0, len(task.query), QUERIES):
        rows = np.arange(low, min(low + QUERIES, len(task.query)))
        parts.append(_of_block(task, answers, rows, min(k, task.candidates), near, whole))
    return Found(*(np.concatenate([getattr(part, name) for part in parts]) for name in Found.__dataclass_fields__))


def similarities(query: NDArray[np.float32], gallery: NDArray[np.float32], rows: Ints, items: Ints, /) -> Floats:
    """Return the similarity of each of some pairs, (p,), in float64: the same for equal rows, whatever the pairs."""
    found = np.empty(len(rows))
    step = max(1, 2_000_000 // query.shape[1])
    for low in range(0, len(rows), step):
        at = slice(low, low + step)
        np.einsum("pd,pd->p", query[rows[at]].astype(float), gallery[items[at]].astype(float), out=found[at])
    return found


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


def _of_block(task: Task, answers: _Answers, rows: Ints, k: int, near: float, whole: bool) -> Found:
    """Search by some queries."""
    place, right_at = answers.of(rows)
    best = np.full(len(rows), -np.inf)
    np.maximum.at(best, place, right_at)
    level_right = np.bincount(place[right_at == best[place]], minlength=len(rows))
    query, places = task.query[rows], _Places(len(rows), k, near, whole)
    high, low = ((best + side * near).astype(np.float32)[:, None] for side in (1, -1))
    above, level = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    for start, block in _blocks(query, task.gallery, None if task.itself is None else task.itself[rows]):
        higher, no_lower = block > high, block >= low
        nearer = _count(higher)
        unsure = np.flatnonzero(_count(no_lower) != nearer)
        above += nearer
        who, item = np.nonzero(no_lower[unsure] & ~higher[unsure])
        who, item = unsure[who], item + start
        if whole:
            level += np.bincount(who, minlength=len(rows))
        else:
            again = similarities(query, task.gallery, who, item)
            above += np.bincount(who[again > best[who]], minlength=len(rows))
            level += np.bincount(who[again == best[who]], minlength=len(rows))
        places.add(block, start, query, task.gallery)
    top, similarity, beyond = places.final(query, task.gallery)
    right = (task.gallery_key[top] == task.query_key[rows][:, None]) & (task.query_key[rows] >= 0)[:, None]
    beyond_right = np.bincount(place[right_at == similarity[place, -1]], minlength=len(rows))
    number = np.bincount(place, minlength=len(rows))
    beyond_right -= (right & (similarity == similarity[:, -1:])).sum(axis=1)
    return Found(top, similarity, right, beyond, beyond_right, best, above, level, level_right, number)


def _blocks(
    query: NDArray[np.float32], gallery: NDArray[np.float32], itself: Ints | None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield similarities (queries, items) from a place of the gallery on; minus infinity of a query to itself.

    Items are a multiple of 8; those that the gallery lacks have minus infinity.
    """
    whole = np.empty((len(query), ITEMS), np.float32)
    for start in range(0, len(gallery), ITEMS):
        items = gallery[start : start + ITEMS]
        block = whole[:, : -(-len(items) // 8) * 8]
        if len(items) == ITEMS:
            np.matmul(query, items.T, out=block)
        else:
            block[:, : len(items)] = query @ items.T
            block[:, len(items) :] = -np.inf
        if itself is not None:
            own = np.flatnonzero((itself >= start) & (itself < start + len(items)))
            block[own, itself[own] - start] = -np.inf
        yield start, block


def _count(truth: NDArray[np.bool_]) -> Ints:
    """Return how many of each row, (queries, items), are true: bytes are summed eight at once, 255 without overflow."""
    words = np.ascontiguousarray(truth).view(np.uint64).sum(axis=1, dtype=np.uint64)
    return words.view(np.uint8).reshape(len(truth), 8).sum(axis=1, dtype=np.int64)


class _Places:
    """Keep the k nearest items of each query while blocks go by, and how many equal the last of them.

    What a float32 product cannot tell from the last place stays until `_settled` computes it in float64.
    """

    def __init__(self, queries: int, k: int, near: float, whole: bool) -> None:
        self.k, self.near, self.whole = k, near, whole
        self.least = np.full((queries, 1), -np.inf, np.float32)  # below it nothing counts
        self.kept = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))  # query, item, product
        self.new: list[tuple[Ints, Ints, NDArray[np.float32]]] = []
        self.beyond, self.level = np.zeros(queries, np.int64), np.full(queries, np.nan)

    def add(
        self, block: NDArray[np.float32], start: int, query: NDArray[np.float32], gallery: NDArray[np.float32]
    ) -> None:
        """Take what may be among the nearest from a block of similarities."""
        if np.isneginf(self.least[0, 0]) and block.shape[1] >= self.k:
            kth = np.partition(block, block.shape[1] - self.k, axis=1)[:, block.shape[1] - self.k]
            self.least = np.maximum(self.least, (kth - 2 * self.near)[:, None])
        flat = np.flatnonzero((block >= self.least) & (block > -np.inf) if self._open else block >= self.least)
        if len(flat):
            who, item = np.divmod(flat, block.shape[1])
            self.new.append((who, item + start, block.ravel()[flat] if block.flags.c_contiguous else block[who, item]))
        if sum(len(part[0]) for part in self.new) > SPARE // 4 * len(self.least):
            self._narrow(query, gallery)

    @property
    def _open(self) -> bool:
        return bool(np.isneginf(self.least).any())

    def _narrow(self, query: NDArray[np.float32], gallery: NDArray[np.float32]) -> None:
        """Drop what is farther than the k nearest so far; count what equals the last, where there is much of it."""
        who, item, product = (np.concatenate([part[i] for part in (self.kept, *self.new)]) for i in range(3))
        self.new = []
        order = np.lexsort((-product, who))
        who, item, product = who[order], item[order], product[order]
        number = np.bincount(who, minlength=len(self.least))
        start = np.cumsum(number) - number
        full = number >= self.k
        self.least[full, 0] = product[start[full] + self.k - 1] - 2 * np.float32(self.near)
        keep = product >= self.least[who, 0]
        self.kept = (who[keep], item[keep], product[keep])
        if (np.bincount(self.kept[0], minlength=len(self.least)) > self.k + SPARE).any():
            self._settled(query, gallery)

    def _settled(self, query: NDArray[np.float32], gallery: NDArray[np.float32]) -> Floats:
        """Keep just k items a query by float64; return their similarities in the order in which they are kept."""
        who, item, product = self.kept
        similarity = product.astype(float) if self.whole else similarities(query, gallery, who, item)
        order = np.lexsort((item, -similarity, who))
        who, item, product, similarity = who[order], item[order], product[order], similarity[order]
        number = np.bincount(who, minlength=len(self.least))
        start = np.cumsum(number) - number
        last = similarity[start + np.minimum(number, self.k) - 1]
        keep = np.arange(len(who)) - start[who] < self.k
        dropped = np.bincount(who[~keep & (similarity == last[who])], minlength=len(self.least))
        self.beyond = np.where(last == self.level, self.beyond, 0) + dropped
        self.level = last
        self.kept = (who[keep], item[keep], product[keep])
        return similarity[keep]

    def final(self, query: NDArray[np.float32], gallery: NDArray[np.float32]) -> tuple[Ints, Floats, Ints]:
        """Return the nearest items (q, k), their similarities, and how many more equal the last, (q,)."""
        self._narrow(query, gallery)
        similarity = self._settled(query, gallery)
        shape = (len(self.least), self.k)
        return self.kept[1].reshape(shape), similarity.reshape(shape), self.beyond
