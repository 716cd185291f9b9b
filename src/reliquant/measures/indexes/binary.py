"""Embeddings stored as one bit a dimension."""

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.index import Index, signs


def index(library: NDArray[np.float32], /) -> Index:
    """Keep the sign of each number, queries' too, and compare by Hamming distance: d / 8 bytes a vector.

    0 counts as positive. The similarity is d - 2 x distance, the product of the signs, so that many items are equally
    near: their order is expected, see `ranked`.
    """
    return Index((np.packbits(library >= 0, axis=1),), signs(library), signs, whole=True)
