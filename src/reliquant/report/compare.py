"""Two studies, or two commits of one, side by side: what changed significantly; free of torch."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from reliquant.artifacts import ROW_SCHEMA
from reliquant.report.frames import Rows
from reliquant.report.verdict import Z

VALUES = ("study", "source", "family", "value", "low", "high", "p", "n", "replicates")
KEYS = tuple(name for name in ROW_SCHEMA if name not in VALUES)


def compare(rows_a: Rows, rows_b: Rows, /, *, level: float = 0.05) -> pl.DataFrame:
    """Match rows by variant, set and measure; return those of either study with value_a, value_b and what changed.

    Columns: the keys, value_a, value_b, `difference` b - a, its `low` and `high` and `p` (normal approximation of both
    intervals taken as independent, which is cautious where the studies share images), `significant` at `level` after
    Benjamini-Hochberg over all matched rows, and `where` (both, a, b). Rows without intervals have no p: where their
    values differ at all, `significant` is null. Largest changes first. Raises ValueError for rows that repeat a key.
    """
    a, b = _side("a", rows_a), _side("b", rows_b)
    both = a.join(b, on=list(KEYS), how="full", coalesce=True, nulls_equal=True)
    one_side = pl.when("in_a").then(pl.lit("a")).otherwise(pl.lit("b"))
    where = pl.when(pl.col("in_a") & pl.col("in_b")).then(pl.lit("both")).otherwise(one_side)
    spread = ((pl.col("high_a") - pl.col("low_a")) ** 2 + (pl.col("high_b") - pl.col("low_b")) ** 2).sqrt() / 2
    both = both.with_columns(where=where, difference=pl.col("value_b") - pl.col("value_a"), half=spread)
    both = both.with_columns(low=pl.col("difference") - pl.col("half"), high=pl.col("difference") + pl.col("half"))
    change, error = (both[c].cast(pl.Float64).fill_null(np.nan).to_numpy() for c in ("difference", "half"))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(change == 0, 1.0, 2 * norm.sf(np.abs(change) / (error / Z)))
    p = np.where(np.isnan(error), np.nan, p)
    both = both.with_columns(
        p=pl.Series(p).fill_nan(None), significant=pl.Series(_rejected(p, level), dtype=pl.Boolean)
    )
    unknown = pl.col("p").is_null() & (pl.col("difference") != 0)
    both = both.with_columns(significant=pl.when(unknown).then(None).otherwise("significant"))
    shown = [*KEYS, "value_a", "value_b", "difference", "low", "high", "p", "significant", "where"]
    return both.select(shown).sort(
        pl.col("significant").fill_null(False),
        pl.col("difference").abs(),
        *KEYS,
        descending=[True, True] + [False] * len(KEYS),
        nulls_last=True,
    )


def _side(name: str, rows: Rows) -> pl.DataFrame:
    """Return the keys of one side's rows and their numbers, with the side's name as an ending."""
    keys = [pl.col(key).cast(ROW_SCHEMA[key]) for key in KEYS]
    numbers = {f"{number}_{name}": number for number in ("value", "low", "high")}
    side = rows.lazy().select(*keys, **numbers).collect()
    if side.select(KEYS).is_duplicated().any():
        raise ValueError(f"rows {name} hold the same variant, set and measure more than once")
    return side.with_columns(pl.lit(True).alias(f"in_{name}"))


def _rejected(p: NDArray[np.floating], level: float) -> NDArray[np.bool_]:
    """Return which hypotheses Benjamini and Hochberg (1995) reject; those of NaN never."""
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    below = np.flatnonzero(p[order] <= level * np.arange(1, len(order) + 1) / max(len(order), 1))
    rejected = np.zeros(len(p), bool)
    rejected[order[: below[-1] + 1 if len(below) else 0]] = True
    return rejected
