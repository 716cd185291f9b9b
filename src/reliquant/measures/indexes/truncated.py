"""The first dimensions of embeddings alone."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from reliquant.measures.index import Index


def index(library: NDArray[np.float32], /, *, dimensions: Annotated[int, Field(ge=1)]) -> Index:
    """Keep the first numbers of each vector, queries' too, divided by their length: 4 bytes a dimension.

    This is how embeddings of Matryoshka representation learning (Kusupati et al. 2022) are shortened. It says something
    only of a model that was trained so: in others the first dimensions are no better than any
    others, and it shows what leaving dimensions out costs. ValueError where the vectors have fewer dimensions, or where
    a shortened vector is zero.
    """
    if dimensions > library.shape[1]:
        raise ValueError(f"truncated: dimensions {dimensions}: the embeddings have {library.shape[1]}")

    def shortened(rows: NDArray[np.float32], /) -> NDArray[np.float32]:
        first = rows[:, :dimensions]
        length = np.sqrt(np.einsum("nd,nd->n", first, first))
        if not length.all():
            raise ValueError(
                f"truncated: row {int(np.argmin(length))} has only zeros in its first {dimensions} dimensions"
            )
        return first / length[:, None]

    kept = shortened(library)
    return Index((kept,), kept, shortened)
