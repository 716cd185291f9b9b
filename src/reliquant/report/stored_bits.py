"""What a quantized weight really takes, beside every table of schemes and precisions; free of torch.

`stored_bits` counts codes with their share of scales, zero points and spared columns, and 32 bits for each weight of
a layer that the scheme keeps in floating point, so that `w4a8` of one method can
be seen to store more than `w4a8` of another. Rows from before it was measured have none: their cells are empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from reliquant.report import frames
from reliquant.report.frames import Rows

COLUMN = "stored bits"
FEWEST = pl.col(COLUMN).str.extract(r"^([\d.]+)").cast(pl.Float64)  # to sort by


def beside(shown: pl.DataFrame, rows: Rows, keys: Sequence[str], /) -> pl.DataFrame:
    """Add the column `stored bits` after the keys of a table: of the variants with the same, a range where they differ.

    Keys that say nothing of a variant, such as a test set, do not count. Precisions are those of rows, in lower case.
    """
    of = [key for key in keys if key in frames.VARIANT]
    written = _written(rows, of)
    joined = shown.join(written, on=of, how="left", maintain_order="left", nulls_equal=True)
    return joined.select(*keys, pl.col(COLUMN).fill_null(""), pl.exclude(*keys, COLUMN))


def by_precision(rows: Rows, /) -> dict[str, str]:
    """Return the title of each precision's column, such as `W4A8 (4.02 to 5.22 bits)`, by the precision of rows."""
    written = _written(rows, ["precision"])
    return {precision: f"{precision.upper()} ({bits} bits)" for precision, bits in written.iter_rows()}


def precision_of(title: str, /) -> str:
    """Return the precision of rows that a title of `by_precision` names.

    >>> precision_of("W4A8 (4.02 to 5.22 bits)")
    'w4a8'
    """
    return title.partition(" (")[0].lower()


def _written(rows: Rows, by: list[str]) -> pl.DataFrame:
    known = frames.quantized(frames.select(rows, "stored_bits", suite=""))
    ends = known.group_by(by).agg(low=pl.col("value").min(), high=pl.col("value").max())
    cells = [_range(low, high) for low, high in ends.select("low", "high").iter_rows()]
    return ends.select(*by, pl.Series(COLUMN, cells, dtype=pl.String))


def _range(low: float, high: float) -> str:
    first, second = f"{low:.2f}", f"{high:.2f}"
    return first if first == second else f"{first} to {second}"
