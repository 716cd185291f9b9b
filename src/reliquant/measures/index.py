"""What a library of embeddings is stored as, and how a query is compared with it; free of torch.

A form of index is one file in `measures/indexes/`, a function of the library's embeddings, (g, d) float32 of length 1,
that returns an `Index`. It sees the library alone: ranges are fitted on what is stored, never on what will be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


def as_asked(query: Rows, /) -> Rows:
    """Return queries as they are: float32."""
    return query


def signs(rows: Rows, /) -> Rows:
    """Return 1 for each number that is at least 0, and -1 for each other."""
    return np.where(rows >= 0, np.float32(1), np.float32(-1))


@dataclass(frozen=True)
class Index:
    """Hold a stored library of g vectors.

    `stored` is all that is kept for it: codes, and scales and offsets where there are any. The similarity of a query
    to it is the inner product of `asked(query)`, (q, k), and `library`, (g, k), what the codes stand for. `whole` says
    that both hold small whole numbers, whose products are exact. With a `shortlist` the nearest so many are ordered
    anew by the product of the query itself with `library`; all others stay behind them, in their order.
    """

    stored: tuple[NDArray[np.generic], ...]
    library: Rows
    asked: Callable[[Rows], Rows] = as_asked
    whole: bool = False
    shortlist: int = 0

    @property
    def bytes_a_vector(self) -> float:
        """Bytes of all that is stored, scales included, by the number of vectors."""
        return sum(part.nbytes for part in self.stored) / len(self.library)


def float32(library: Rows, /) -> Index:
    """Return the library as the model made it."""
    return Index((library,), library)
