"""Values that are undefined, not a number or infinite: which, where and how many."""

from __future__ import annotations

import polars as pl

from reliquant.report import frames
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Values that are not finite"
QUESTION, PLACE = "more", 9
READ = (
    "Rows whose value is null (undefined: the confidence of flipped predictions where none flipped, say), NaN or "
    "infinite, counted by suite, measure and set, with one variant that has it. Figures, tables and means leave them "
    "out; the rows keep them."
)


def table(rows: Rows, /) -> pl.DataFrame:
    """Count the values that are not finite; raise NothingToDraw when all are finite."""
    value = pl.col("value")
    bad = rows.lazy().filter(frames.UNDEFINED).collect(engine="streaming")
    if bad.is_empty():
        raise NothingToDraw("every value is finite")
    frames.noted(rows, ("undefined",), bad)
    missing = pl.when(value.is_null()).then(pl.lit("null")).when(value.is_nan()).then(pl.lit("NaN"))
    said = missing.when(value > 0).then(pl.lit("inf")).otherwise(pl.lit("-inf"))
    keys = ["suite", "measure", "dataset", "value"]
    one = pl.concat_str([pl.col(name).cast(pl.String) for name in frames.VARIANT], separator=" ", ignore_nulls=True)
    named = bad.with_columns(value=said, example=one)
    counted = named.group_by(keys).agg(rows=pl.len(), example=pl.col("example").min())
    return counted.with_columns(pl.col(pl.Categorical).cast(pl.String)).sort(keys)
