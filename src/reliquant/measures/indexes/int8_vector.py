"""Embeddings stored as 8-bit whole numbers with a scale for each vector."""

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.index import Index


def index(library: NDArray[np.float32], /) -> Index:
    """Divide each vector by a 127th of its largest absolute value and round to -127 to 127: d + 4 bytes a vector.

    Halves are rounded to even. The scale is float32 and stored with the vector. The similarity is the product with
    codes times scale, whose length is no longer exactly 1.
    """
    scale = np.abs(library).max(axis=1, keepdims=True) / np.float32(127)
    codes = np.rint(library / scale).astype(np.int8)
    return Index((codes, scale), codes * scale)
