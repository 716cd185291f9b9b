"""What each template alone makes of images and classes whose features are there already; free of torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures.prompts import TEMPLATE

CHUNK = 4096  # images at a time
Floats = NDArray[np.float32]


def spread_over(n: int, k: int, /) -> list[int]:
    """Choose at most k of n templates, evenly spread over their list.

    >>> spread_over(80, 8), spread_over(3, 8), spread_over(3, 0)
    ([0, 11, 23, 34, 45, 56, 68, 79], [0, 1, 2], [])
    """
    return np.linspace(0, n - 1, min(n, k)).round().astype(int).tolist()


def right_by_template(image: Floats, label: NDArray[np.integer], heads: Mapping[str, Floats], /) -> list[pl.Series]:
    """Return for each template whether it tells each image right, as columns `template:<text>` of records.

    `image` (n, d) are unit features, `heads` the classes (c, d) by template. The first of equal classes wins.
    """
    columns = []
    for template, text in heads.items():
        told = [(image[i : i + CHUNK] @ text.T).argmax(axis=1) for i in range(0, len(image), CHUNK)]
        columns.append(pl.Series(f"{TEMPLATE}{template}", np.concatenate(told) == label))
    return columns
