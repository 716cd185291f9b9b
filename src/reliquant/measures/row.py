"""A measured value as it becomes a row: with interval, p-value, images and replicates; free of torch."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.files.artifacts import REPLICATES
from reliquant.measures.stats import mostly_finite


class Row(TypedDict):
    """A measured value with its 95 % interval, p-value and number of images; None where a number is undefined.

    `replicates` are its values in the resamples of `resampling.weights`, (KEPT,); None where none are kept.
    """

    measure: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    replicates: NDArray[np.float32] | None


def row(
    measure: str,
    value: float,
    low: float,
    high: float,
    p: float,
    n: int,
    kept: NDArray[np.floating] | None = None,
    /,
) -> Row:
    """Return a row; numbers that are not finite become None, and so do replicates unless `mostly_finite`.

    An interval of which one end is not known is none.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        low = high = np.nan
    numbers = {"value": value, "low": low, "high": high, "p": p}
    known = {name: float(number) if np.isfinite(number) else None for name, number in numbers.items()}
    usable = kept is not None and known["low"] is not None and bool(mostly_finite(kept))
    found = np.asarray(kept, np.float32) if usable else None
    return Row(
        measure=measure, value=known["value"], low=known["low"], high=known["high"], p=known["p"], n=n, replicates=found
    )


def as_column(table: NDArray[np.floating], known: NDArray[np.bool_], /) -> pl.Series:
    """Return the column `replicates` of rows, from a line of a table (rows, KEPT) each; null where it is not known."""
    kept = pl.Series("replicates", np.asarray(table, np.float32), dtype=REPLICATES)
    return pl.select(pl.when(pl.Series(known)).then(kept)).to_series()
