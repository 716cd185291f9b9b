"""Embeddings stored as 8-bit whole numbers with a range for each dimension."""

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.index import Index


def index(library: NDArray[np.float32], /) -> Index:
    """Cut the range of each dimension in the library into 255 equal steps: d bytes a vector, and 8 d for all together.

    The ends are the least and largest value in the library itself, as in a uniform scalar quantizer that is trained on
    what it stores. A dimension that never varies has a step of 0 and is stored exactly.
    """
    low = library.min(axis=0)
    step = (library.max(axis=0) - low) / np.float32(255)
    codes = np.rint((library - low) / np.where(step > 0, step, np.float32(1))).astype(np.uint8)
    return Index((codes, low, step), codes * step + low)
