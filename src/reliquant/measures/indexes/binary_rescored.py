"""Embeddings stored as one bit a dimension, whose nearest are ordered anew by the query as it is."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from reliquant.measures.index import Index, signs

TOP = 10  # the places for which the shortlist is made


def index(library: NDArray[np.float32], /, *, over: Annotated[int, Field(ge=1, le=200)] = 4) -> Index:
    """Search by signs as `binary` does for `over` x 10 items, and order these by query times signs: d / 8 bytes.

    Nothing but the signs is stored: the float32 query meets the stored signs (Yamada, Asai and Hajishirzi 2021, BPR,
    section 3.2). Of items as near as the last of the shortlist the first in the library are taken, as an index does.
    """
    stored = np.packbits(library >= 0, axis=1)
    return Index((stored,), signs(library), signs, whole=True, shortlist=over * TOP)
