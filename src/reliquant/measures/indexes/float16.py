"""Embeddings stored as float16."""

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.index import Index


def index(library: NDArray[np.float32], /) -> Index:
    """Round every number to float16 (IEEE 754 binary16): 2 d bytes a vector.

    Numbers below 6e-5 lose bits. The similarity is the product with what is stored, whose length is 1 to 3 digits.
    """
    codes = library.astype(np.float16)
    return Index((codes,), codes.astype(np.float32))
