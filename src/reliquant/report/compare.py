"""Two studies, or two commits of one, side by side: what changed significantly; free of torch."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr

from reliquant.files.artifacts import ROW_SCHEMA
from reliquant.files.stored_frames import KEYS
from reliquant.measures.stats import Z95
from reliquant.report import costs, evidence
from reliquant.report.averages import spread, table_of
from reliquant.report.frames import Rows

TOLERANCE = 1e-6  # between values of the same images: a difference of other machines' rounding
AT_ONCE = 50_000  # rows whose replicates are compared at a time
COUNTED = ("bytes_a_vector", "repeated_captions", "seen_images")  # of a suite of images, and exact none the less
ESTIMATED = ("seconds", "logit_scale")  # what is measured of a variant itself and is not counted
OF_ITSELF = (pl.col("suite") == "") & ~pl.col("measure").is_in(ESTIMATED)
OF_FILES = (pl.col("suite") == costs.DEPLOY) & pl.col("measure").is_in(costs.COUNTED)
EXACT = OF_ITSELF | OF_FILES | pl.col("measure").is_in(COUNTED)


def compare(rows_a: Rows, rows_b: Rows, /, *, level: float = 0.05) -> pl.DataFrame:
    """Match rows by variant, set and measure; return those of either study with value_a, value_b and what changed.

    Columns: the keys, value_a, value_b, `difference` b - a, its `low`, `high` and `p`, `significant` at `level` after
    Benjamini-Hochberg over all matched rows that have a p, `how`, and `where` (both, a, b). `how` is

    - `paired`: both keep replicates, of which those of photographs that the studies share move together;
    - `unpaired`: from the two intervals as if they were independent, which is cautious where studies share images;
    - `exact`: bytes, counts and shares of a variant, an index or a set itself, without chance: any difference is
      significant;
    - `no interval`: what differs, such as an ECE as published, can be chance; `significant` is null;
    - `undefined`: there is a value on one side alone; `significant` is null.

    Largest changes first. Raises ValueError for rows that repeat a key.
    """
    (a, kept_a), (b, kept_b) = _side("a", rows_a), _side("b", rows_b)
    both = a.join(b, on=list(KEYS), how="full", coalesce=True, nulls_equal=True)
    one_side = pl.when("in_a").then(pl.lit("a")).otherwise(pl.lit("b"))
    where = pl.when(pl.col("in_a") & pl.col("in_b")).then(pl.lit("both")).otherwise(one_side)
    both = both.with_columns(where=where, difference=pl.col("value_b") - pl.col("value_a"))
    both = both.with_columns(_halves(both, kept_a, kept_b))
    both = both.with_columns(how=_how(), low=pl.col("difference") - pl.col("half"))
    both = both.with_columns(high=pl.col("difference") + pl.col("half"))
    change, error = (both[c].cast(pl.Float64).fill_null(np.nan).to_numpy() for c in ("difference", "half"))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(change) / (error / Z95)
    of_pairs = np.minimum(1.0, 2 * evidence.one_sided(z))  # whose error is an estimate from few resamples
    pairs = both["pairs"].to_numpy()
    same = (change == 0) | (pairs & (np.abs(change) <= TOLERANCE))
    p = np.where(same, 1.0, np.where(pairs, of_pairs, 2 * ndtr(-z)))
    p = np.where(np.isnan(error), np.nan, p)
    both = both.with_columns(p=pl.Series(p).fill_nan(None), rejected=pl.Series(_rejected(p, level), dtype=pl.Boolean))
    differs = pl.col("difference") != 0
    counted = pl.when(pl.col("how") == "exact").then(differs)
    unknown = counted.when(((pl.col("how") == "no interval") & differs) | (pl.col("how") == "undefined")).then(None)
    both = both.with_columns(significant=unknown.otherwise("rejected"))
    shown = [*KEYS, "value_a", "value_b", "difference", "low", "high", "p", "significant", "how", "where"]
    return both.select(shown).sort(
        pl.col("significant").fill_null(False),
        pl.col("difference").abs(),
        *KEYS,
        descending=[True, True] + [False] * len(KEYS),
        nulls_last=True,
    )


def _side(name: str, rows: Rows) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the keys of one side's rows and their numbers, with the side's name as an ending, and their replicates.

    `line_<name>` says which replicates are a row's. A null among them would take as much memory as 200 numbers.
    """
    keys = [pl.col(key).cast(ROW_SCHEMA[key]) for key in KEYS]
    numbers = {f"{number}_{name}": number for number in ("value", "low", "high")}
    known = pl.col("replicates").is_not_null()
    line = pl.when(known).then(known.cum_sum().cast(pl.Int64) - 1)
    side = rows.lazy().select(*keys, **numbers, **{f"line_{name}": line}).collect()
    if side.select(KEYS).is_duplicated().any():
        raise ValueError(f"rows {name} hold the same variant, set and measure more than once")
    kept = rows.lazy().filter(known).select("replicates").collect()
    return side.with_columns(pl.lit(True).alias(f"in_{name}")), kept


def _halves(both: pl.DataFrame, kept_a: pl.DataFrame, kept_b: pl.DataFrame) -> list[pl.Series]:
    """Return half the width of each difference's interval, null where unknown, and whether it is that of pairs."""
    paired = np.full(both.height, np.nan)
    known = both.select(pl.col("line_a").is_not_null() & pl.col("line_b").is_not_null()).to_series().to_numpy()
    for at in np.array_split(np.flatnonzero(known), 1 + both.height // AT_ONCE):
        before, after = table_of(kept_a[both["line_a"][at]]), table_of(kept_b[both["line_b"][at]])
        paired[at] = Z95 * spread(after - before)
    wide = ((pl.col("high_a") - pl.col("low_a")) ** 2 + (pl.col("high_b") - pl.col("low_b")) ** 2).sqrt() / 2
    unpaired = both.select(wide.cast(pl.Float64)).to_series().fill_null(np.nan).to_numpy()
    found = np.isfinite(paired)
    half = np.where(found, paired, unpaired)
    return [pl.Series("half", half).fill_nan(None), pl.Series("pairs", found)]


def _how() -> pl.Expr:
    """Return how a difference is judged."""
    one_value = (pl.col("where") == "both") & (pl.col("value_a").is_null() != pl.col("value_b").is_null())
    known = pl.when(one_value).then(pl.lit("undefined")).when("pairs").then(pl.lit("paired"))
    known = known.when(pl.col("half").is_not_null()).then(pl.lit("unpaired"))
    known = known.when(pl.col("where") != "both").then(pl.lit(""))
    return known.when(EXACT).then(pl.lit("exact")).otherwise(pl.lit("no interval"))


def _rejected(p: NDArray[np.floating], level: float) -> NDArray[np.bool_]:
    """Return which hypotheses Benjamini and Hochberg (1995) reject; those of NaN never."""
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    below = np.flatnonzero(p[order] <= level * np.arange(1, len(order) + 1) / max(len(order), 1))
    rejected = np.zeros(len(p), bool)
    rejected[order[: below[-1] + 1 if len(below) else 0]] = True
    return rejected
