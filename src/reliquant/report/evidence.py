"""What runs prove: their mean with its interval, one-sided tests of each, differences of pairs; free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from reliquant.files.artifacts import KEPT
from reliquant.measures.stats import Z95, holm
from reliquant.report import frames
from reliquant.report.averages import replicated, spread, table_of
from reliquant.report.common_sets import some_of
from reliquant.report.frames import VARIANT

FREEDOM = KEPT - 1  # of a spread that is itself estimated, from so many resamples
LEVEL = 0.05


class Mean(NamedTuple):
    """Hold the mean of runs, its 95 % interval, and counts: runs, and images of a set."""

    value: float
    low: float
    high: float
    freedom: float
    runs: int
    images: int


def known(runs: pl.DataFrame, /) -> tuple[pl.DataFrame, str]:
    """Return the runs that have an interval, and in words how many have none and which, and what was `left` out before.

    >>> lines = {"scheme": ["rtn", "lsq"], "value": [0.1, 0.2], "low": [None, 0.1], "high": [None, 0.3]}
    >>> known(pl.DataFrame(lines))[1]
    '1 of 2 runs left out, without an interval: rtn'
    """
    inside = (pl.col("low") < pl.col("high")).fill_null(False)
    kept, without = runs.filter(inside), runs.filter(~inside)
    left = runs["left"].unique(maintain_order=True).to_list() if "left" in runs.columns else []
    if without.height:
        names = [str(" ".join(str(word) for word in line)) for line in without.select(_names(without)).rows()]
        left.append(f"{len(names)} of {runs.height} runs left out, without an interval: {some_of(names)}")
    return kept, "; ".join(filter(None, left))


def mean(runs: pl.DataFrame, /) -> Mean:
    """Return the mean over runs that all have intervals; its interval is over images and seeds."""
    whole = frames.mean_of_runs(runs.with_columns(all=pl.lit(0)), ["all"]).row(0, named=True)
    low, high = (np.nan if whole[end] is None else whole[end] for end in ("low", "high"))
    return Mean(whole["value"], low, high, whole["freedom"], runs.height, int(whole["n"] or 0))


def scores(runs: pl.DataFrame, sign: int = 1, /, *, column: str = "value", beyond: float = 0.0) -> NDArray[np.float64]:
    """Return how many standard errors each run lies beyond a bound on one side; NaN where it has no interval.

    Of a skewed interval the side towards the bound counts, so that 1.96 of them are where the interval ends.
    `column` names the value; its ends are `low` and `high`, or `<column>_low` and `<column>_high`.
    """
    low, high = ("low", "high") if column == "value" else (f"{column}_low", f"{column}_high")
    value, end = runs[column].to_numpy(), runs[low if sign > 0 else high].cast(pl.Float64).to_numpy()
    error = (value - end) * sign / Z95
    error = np.where(error > 0, error, np.nan)
    return (value - beyond) * sign / error


def one_sided(z: NDArray[np.floating], /) -> NDArray[np.float64]:
    """Return the p-value of standard errors beyond a bound; the error is estimated from `KEPT` resamples."""
    return stdtr(FREEDOM, -z)


def proven(z: NDArray[np.floating], /) -> NDArray[np.bool_]:
    """Return which runs lie beyond the bound: half of 5 % for this side, corrected for their number (Holm 1979)."""
    return np.nan_to_num(holm(one_sided(z)), nan=1.0) <= LEVEL / 2


def reach(tests: int, /, *, power: float) -> float:
    """Return how many standard errors an effect must measure to be proven with this chance, one of so many tests.

    >>> round(reach(1, power=0.8), 2)
    2.82
    """
    return float(stdtrit(FREEDOM, 1 - LEVEL / 2 / max(tests, 1)) + stdtrit(FREEDOM, power))


def paired(first: pl.DataFrame, second: pl.DataFrame, on: Sequence[str], /) -> pl.DataFrame:
    """Return `first` minus `second` where they agree in the columns `on`: value, low, high, n, replicates.

    Both are runs as of `frames.mean_of_sets`, of one set each: pairs are made before sets are averaged, since means of
    different sets are no pair (ValueError). What the two share moves them together in each resample, so the interval
    is that of pairs. Where one keeps no replicates, half-widths are added, which holds under any dependence.
    """
    both = first.join(second, on=list(on), how="inner", suffix="_less", maintain_order="left")
    if "sets_less" in both.columns and (both["sets"] != both["sets_less"]).any():
        raise ValueError("means of different sets are no pair: pair them by set first")
    replicates = table_of(both) - table_of(both.select(replicates="replicates_less"))
    wide = (pl.col("high") - pl.col("low") + pl.col("high_less") - pl.col("low_less")) / 2
    half = pl.Series(Z95 * spread(replicates), dtype=pl.Float64).fill_nan(None)
    gap = both.select(*on, wide=wide, n="n", value=pl.col("value") - pl.col("value_less"))
    gap = gap.with_columns(replicated(replicates), half=pl.coalesce(half, "wide"))
    ends = {"low": pl.col("value") - pl.col("half"), "high": pl.col("value") + pl.col("half")}
    return gap.with_columns(**ends).drop("half", "wide")


def needed(images: int, half: float, distance: float, /, *, power: float) -> int | None:
    """Return how many `images` a set would narrow an interval of this half-width so that `distance` is told."""
    if not (images and half > 0 and distance > 0):
        return None
    return more_images(images, distance / (half / Z95) / reach(1, power=power))


def more_images(images: int, reached: float, /) -> int | None:
    """Return the images, two digits, that are needed where a share of the standard errors that it takes is reached.

    The errors fall with the root of the number. None where no number would do.
    """
    if not (images and reached > 0):
        return None
    return int(float(f"{max(images / reached**2, images + 1):.1e}"))


def _names(runs: pl.DataFrame) -> list[str]:
    """Return the columns that tell these runs apart."""
    words = [c for c in (*VARIANT, "dataset") if c in runs.columns]
    told = [c for c in words if c not in ("family", "source", "proxy")]
    return told or words
