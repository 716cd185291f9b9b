"""Similarities of single pairs of rows, which do not depend on what else is computed; free of torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def similarities(query: NDArray[np.float32], gallery: NDArray[np.float32], rows: Ints, items: Ints, /) -> Floats:
    """Return the similarity of each of some pairs, (p,), in float64: the same for equal rows, whatever the pairs."""
    found = np.empty(len(rows))
    step = max(1, 130_000 // query.shape[1])  # of float64 rows that stay in the cache
    for low in range(0, len(rows), step):
        at = slice(low, low + step)
        np.einsum("pd,pd->p", query[rows[at]].astype(float), gallery[items[at]].astype(float), out=found[at])
    return found
