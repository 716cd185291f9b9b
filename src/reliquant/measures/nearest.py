"""The k nearest items of queries while blocks of similarities go by; free of torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.pair_products import Floats, Ints, similarities

SPARE = 64  # places that equal similarities may take before they are only counted
WAITING = 16  # items a query that wait before the nearest of them are chosen


class Nearest:
    """Keep the k nearest items of each of q queries, and how many more equal the last of them.

    `least` (q,) is the product below which nothing counts. What a float32 product, which may be off by `near`, cannot
    tell from the last place stays until it is computed in float64. With `whole` products are exact.
    """

    def __init__(
        self, query: NDArray[np.float32], gallery: NDArray[np.float32], k: int, near: float, whole: bool, /
    ) -> None:
        self.query, self.gallery, self.k, self.near, self.whole = query, gallery, k, np.float32(near), whole
        self.least = np.full(len(query), -np.inf, np.float32)
        none = np.zeros(0, np.int64)
        self.kept = (none, none, np.zeros(0, np.float32))  # query, item, product
        self.new: list[tuple[Ints, Ints, NDArray[np.float32]]] = []
        self.waiting, self.first = 0, True
        self.beyond, self.level = np.zeros(len(query), np.int64), np.full(len(query), np.nan)

    def prepare(self, block: NDArray[np.float32], /) -> None:
        """Learn from the first block, (q, items), what is too far to be among the nearest."""
        if self.first and block.shape[1] >= self.k:
            at = block.shape[1] - self.k
            self.least = np.partition(block, at, axis=1)[:, at] - 2 * self.near
        self.first = False

    def add(self, who: Ints, item: Ints, product: NDArray[np.float32], /) -> None:
        """Take what may be among the nearest: queries, items and their products, (p,) each."""
        near = product >= self.least[who]
        self.new.append((who[near], item[near], product[near]))
        self.waiting += int(near.sum())
        if self.waiting > WAITING * len(self.least):
            self._narrow()

    def final(self) -> tuple[Ints, Floats, Ints]:
        """Return the nearest items (q, k), their similarities, and how many more equal the last, (q,)."""
        self._narrow()
        similarity = self._settled()
        shape = (len(self.least), self.k)
        return self.kept[1].reshape(shape), similarity.reshape(shape), self.beyond

    def _narrow(self) -> None:
        """Drop what is farther than the k nearest so far; count what equals the last, where there is much of it."""
        who, item, product = (np.concatenate([part[i] for part in (self.kept, *self.new)]) for i in range(3))
        self.new, self.waiting = [], 0
        apart = 4 * float(np.abs(product).max(initial=1.0))
        order = np.argsort(who * apart - product)  # by query, then the largest product first
        who, item, product = who[order], item[order], product[order]
        number = np.bincount(who, minlength=len(self.least))
        full = number >= self.k
        self.least[full] = product[(np.cumsum(number) - number)[full] + self.k - 1] - 2 * self.near
        keep = product >= self.least[who]
        self.kept = (who[keep], item[keep], product[keep])
        if (np.bincount(self.kept[0], minlength=len(self.least)) > self.k + SPARE).any():
            self._settled()

    def _settled(self) -> Floats:
        """Keep just k items a query by float64; return their similarities in the order in which they are kept."""
        who, item, product = self.kept
        similarity = product.astype(float) if self.whole else similarities(self.query, self.gallery, who, item)
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
