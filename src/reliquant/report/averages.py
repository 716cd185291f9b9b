"""Means of rows with intervals that hold, because what shares images shares resamples; free of torch.

Rows that keep `replicates` have them in the same resamples of the same photographs (`measures/resampling.py`). The mean
of the replicates of several rows is the replicate of their mean, so its spread is right whatever the rows share:
images, in-distribution sets, a baseline, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from reliquant.files.artifacts import KEPT, REPLICATES, take_space
from reliquant.measures.row import as_column
from reliquant.measures.stats import Z95, mostly_finite

INTERVAL = ("low", "high")
IN_CACHE = 1_000  # lines of replicates, of 0.8 MB
AT_ONCE = 100_000  # rows whose replicates are in memory together, where they stand in a file


def table_of(frame: pl.DataFrame, /) -> NDArray[np.float32]:
    """Return the replicates of a frame, (rows, KEPT); NaN for rows that keep none, and where one is not finite.

    They stand in the column `replicates`, or in a file (`in_file`).
    """
    table = np.full((frame.height, KEPT), np.nan, np.float32)
    if "kept_in" in frame.columns and frame.height:
        known = frame["line"].is_not_null().to_numpy()
        table[known] = np.load(frame["kept_in"][0], mmap_mode="r")[frame["line"].drop_nulls().to_numpy()]
    elif "replicates" in frame.columns:
        known = frame["replicates"].is_not_null().to_numpy()
        table[known] = frame["replicates"].drop_nulls().to_numpy().reshape(-1, KEPT)
        table[~np.isfinite(table)] = np.nan  # signalling NaN of a damaged file, too
    return table


def averaged(frame: pl.DataFrame, keys: Sequence[str], /, **others: pl.Expr) -> pl.DataFrame:
    """Return for each group of `keys`, in their order, the mean value, its 95 % interval and its replicates.

    A single row keeps its own interval. Of several rows that all keep replicates, each side of the interval is made of
    the rows' own sides, as they are correlated in their replicates (as Zou and Donner 2008 do for two): so it stays
    skewed where theirs are. Where one of them keeps none, the ends are the means of their ends, which holds under any
    dependence and is too wide under most; where one has no interval, there is none. `others` are further columns of
    the groups.
    """
    if frame.height > AT_ONCE and "kept_in" in frame.columns:
        return pl.concat([_averaged(part, keys, **others) for part in in_parts(frame, keys)])
    return _averaged(frame, keys, **others)


def _averaged(frame: pl.DataFrame, keys: Sequence[str], /, **others: pl.Expr) -> pl.DataFrame:
    """Return what `averaged` does, of rows whose replicates are in memory together."""
    ordered = frame.sort(keys, maintain_order=True)
    groups = ordered.group_by(keys, maintain_order=True).agg(
        pl.col("value").mean(),
        *(pl.when(pl.col(end).is_not_null().all()).then(pl.col(end).mean()).alias(end) for end in INTERVAL),
        members=pl.len(),
        **others,
    )
    members = groups["members"].to_numpy().astype(np.int64)
    if not groups.height:
        return groups.drop("members").with_columns(pl.lit(None, REPLICATES).alias("replicates"))
    table = table_of(ordered)
    if members.max() == 1:
        return groups.drop("members").with_columns(replicated(table))
    value, own = groups["value"].to_numpy(), ordered["value"].to_numpy()
    ends = np.stack([ordered[end].cast(pl.Float64).to_numpy() for end in INTERVAL])
    gaps = np.array([[-1], [1]]) * (np.where(np.isfinite(ends), ends, np.nan) - own)
    means, halves = _together(table, gaps, members)
    made = [pl.lit(replicated(means))]
    for end, sign, half in zip(INTERVAL, (-1, 1), halves, strict=True):
        chosen = (members > 1) & np.isfinite(half)
        known = pl.lit(pl.Series(np.where(chosen, value + sign * half, np.nan)))
        several = pl.lit(pl.Series(chosen)) & pl.col(end).is_not_null()
        made.append(pl.when(several).then(known).otherwise(end).alias(end))
    return groups.drop("members").with_columns(made)


def _together(
    table: NDArray[np.float32], gaps: NDArray[np.float64], members: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the means of groups of lines, (groups, KEPT), and half-widths of the means on both sides, (2, groups).

    The first group are the first `members[0]` lines of the table, and so on; `gaps` (2, lines) are the half-widths of
    the lines. A few lines are worked on at a time, so that they stay in the processor's cache.
    """
    starts = np.cumsum(members) - members
    means, halves = np.empty((len(members), table.shape[1]), np.float32), np.empty((2, len(members)))
    first = 0
    while first < len(members):
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + IN_CACHE, side="right")) - 1)
        part = slice(starts[first], starts[last] if last < len(members) else len(table))
        lines, number, at = table[part], members[first:last, None], starts[first:last] - starts[first]
        wide = spread(lines)
        with np.errstate(invalid="ignore", over="ignore"):  # replicates may be NaN
            means[first:last] = np.add.reduceat(lines, at, axis=0) / number
            for gap, half in zip(gaps[:, part], halves, strict=True):
                still = np.where(gap == 0, 0.0, np.nan)  # of what cannot vary the side is 0
                side = np.divide(gap, wide, out=still, where=wide > 0).astype(np.float32)
                half[first:last] = spread(np.add.reduceat(lines * side[:, None], at, axis=0) / number)
        first = last
    return means, halves


def in_file(frame: pl.DataFrame, file: Path, /) -> pl.DataFrame:
    """Return rows with a column `line` that say in which file their replicates stand: they are read in parts."""
    return frame.with_columns(kept_in=pl.lit(str(file)))


def at_hand(frame: pl.DataFrame, /) -> pl.DataFrame:
    """Return rows with their replicates in memory, wherever they stand."""
    if "kept_in" not in frame.columns:
        return frame
    if frame.is_empty():
        return frame.drop("line", "kept_in").with_columns(pl.lit(None, REPLICATES).alias("replicates"))
    return with_replicates(frame.drop("kept_in"), Path(frame["kept_in"][0]))


def in_parts(frame: pl.DataFrame, keys: Sequence[str], /) -> Iterator[pl.DataFrame]:
    """Yield the rows in the order of `keys`, in parts of about `AT_ONCE` rows that do not cut a group of them."""
    ordered = frame.sort(keys, maintain_order=True)
    starts = ordered.select(pl.struct(keys).rle_id()).to_series().to_numpy()
    low = 0
    while low < ordered.height:
        high = min(low + AT_ONCE, ordered.height)
        high += int(np.searchsorted(starts[high:], starts[high - 1], side="right"))
        yield ordered[low:high]
        low = high


def spread(table: NDArray[np.floating], /) -> NDArray[np.float64]:
    """Return the standard deviation of the finite replicates of each line, (lines,); NaN where 5 % are not finite."""
    missing = ~np.isfinite(table)
    count = table.shape[-1] - missing.sum(axis=-1)
    values = table.astype(float)
    values[missing] = 0
    values -= (values.sum(axis=-1) / np.maximum(count, 1))[..., None]
    values[missing] = 0
    square = np.einsum("...i,...i->...", values, values) / np.maximum(count - 1, 1)
    return np.where(mostly_finite(table), np.sqrt(square), np.nan)


def replicated(table: NDArray[np.floating], /) -> pl.Series:
    """Return the column `replicates` of lines, (lines, KEPT); null for lines of which most are NaN."""
    return as_column(table, mostly_finite(table))


def with_replicates(frame: pl.DataFrame, file: Path, /) -> pl.DataFrame:
    """Turn a column `line` into the `replicates` that stand there in a file; null where the line is."""
    known = frame["line"].is_not_null().to_numpy()
    table = np.full((frame.height, KEPT), np.nan, np.float32)
    table[known] = np.load(file, mmap_mode="r")[frame["line"].drop_nulls().to_numpy()]
    return frame.drop("line").with_columns(replicated(table))


def moved_to(file: Path, kept: pl.LazyFrame, order: pl.DataFrame, /) -> pl.Series:
    """Write the replicates of rows into a file, sorted so that what is read together lies together; return each line.

    `order` holds in the order of the rows what they are sorted by, and `known`: whether they keep replicates. Only a
    small part of them is in memory at a time.
    """
    known = order["known"].to_numpy()
    some = order.filter("known").drop("known").with_row_index("row")
    by = some.sort(*order.drop("known").columns, maintain_order=True)["row"].to_numpy()
    line = np.empty(len(by), np.int64)
    line[by] = np.arange(len(by))
    start = np.lib.format.open_memmap(file, "w+", np.float32, (len(by), KEPT)).offset
    take_space(file)
    at = 0
    only = kept.select("replicates").filter(pl.col("replicates").is_not_null())
    with open(file, "r+b") as stream:  # pages that are written through a map stay in the process's memory
        for batch in only.collect_batches(chunk_size=AT_ONCE):
            _write_lines(stream, start, line[at : at + batch.height], batch["replicates"].to_numpy())
            at += batch.height
    places = np.full(len(known), -1)
    places[known] = line
    return pl.select(line=pl.when(pl.Series(places) >= 0).then(pl.Series(places))).to_series()


def _write_lines(stream: IO[bytes], start: int, lines: NDArray[np.int64], table: NDArray[np.float32]) -> None:
    """Write lines of a table to their places in a file whose line 0 begins at `start`: those that follow at once."""
    order = np.argsort(lines)
    for run in np.split(order, np.flatnonzero(np.diff(lines[order]) > 1) + 1):
        if len(run):
            stream.seek(start + int(lines[run[0]]) * table[run[0]].nbytes)
            stream.write(table[run].data)


def over_seeds(runs: pl.DataFrame, by: Sequence[str], /) -> pl.DataFrame:
    """Average runs that differ in their seed alone: value, low, high, replicates, seed_variance, _freedom, _images.

    The interval is that of the images alone. `seed_variance` is the variance of the mean that the seeds, a random
    effect, add: the variance between them (n - 1) by their number; `seed_freedom` is their number less 1, and null
    where there is but one. Images that one seed gets right and another wrong are in both; `seed_images` is that part.
    """
    counts = {"seed", "n", "sets", "runs", "replicates", "line", "kept_in"}
    keys = [c for c, kind in runs.schema.items() if c in by or (not kind.is_float() and c not in counts)]
    means = averaged(
        runs,
        keys,
        n=pl.col("n").max(),
        runs=pl.len().cast(pl.Int32),
        seed_variance=(pl.col("value").var() / pl.len()).fill_null(0.0),
    )
    apart = pl.Series(_apart(runs, keys, means["runs"].to_numpy()))
    return means.with_columns(seed_freedom=pl.when(pl.col("runs") > 1).then(pl.col("runs") - 1), seed_images=apart)


def with_lone_seeds(runs: pl.DataFrame, by: Sequence[str], /) -> pl.DataFrame:
    """Give runs of a single seed the variance that the seeds of their scheme's other runs in a mean have.

    `runs` are as of `over_seeds`. Where a scheme was trained with several seeds for some models and with one for
    others, those vary as much; a scheme of which every run has one seed has no variance that could be known.
    """
    group = [*by, *(["scheme"] if "scheme" in runs.columns and "scheme" not in by else [])]
    several = pl.col("runs") > 1
    of_one = pl.col("seed_variance").mul(pl.col("runs")).filter(several).mean().over(group)
    lone = ~several & of_one.is_not_null()
    shared = (pl.col("seed_freedom").filter(several).sum() / pl.len()).over(group)  # what is known of all of them
    return runs.with_columns(
        seed_variance=pl.when(lone).then(of_one).otherwise("seed_variance"),
        seed_freedom=pl.when(lone.any().over(group) & of_one.is_not_null()).then(shared).otherwise("seed_freedom"),
    )


def _apart(frame: pl.DataFrame, keys: Sequence[str], runs: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the variance of the mean of runs, (groups,), that images add by moving them apart; 0 without replicates.

    `runs` says how many lines of the frame are of each group of `keys`, in their order.
    """
    starts = np.cumsum(runs) - runs
    found = np.zeros(len(runs))
    several = np.flatnonzero(runs > 1)
    if not len(several):
        return found
    ordered = frame.sort(keys, maintain_order=True)
    for part in np.array_split(several, 1 + len(several) // 10_000):
        lines = np.concatenate([np.arange(starts[i], starts[i] + runs[i]) for i in part])
        table = table_of(ordered[lines]).astype(float)
        table -= table.mean(axis=1, keepdims=True)
        number = runs[part]
        first = np.cumsum(number) - number
        sums, squares = np.add.reduceat(table, first), np.add.reduceat(table**2, first)
        between = (squares - sums**2 / number[:, None]) / (number - 1)[:, None] / number[:, None]
        found[part] = np.nan_to_num(between.sum(axis=1) / (KEPT - 1))
    return found


def with_seeds(means: pl.DataFrame, /) -> pl.DataFrame:
    """Widen intervals by what seeds add: columns `seed_variance`, `seed_freedom` and `seed_images` become `freedom`.

    The part of the images that is in the spread of the seeds too counts once, there. The two parts of the half-width
    add in squares (Zou and Donner 2008); the seeds' is Student's t. `freedom` is that of the whole (Satterthwaite
    1946), infinite where seeds add nothing.
    """
    variance, freedom = means["seed_variance"].to_numpy(), means["seed_freedom"].cast(pl.Float64).to_numpy()
    some = (variance > 0) & np.isfinite(freedom)
    seeds = np.where(some, stdtrit(np.where(some, freedom, 1.0), 0.975) * np.sqrt(variance), 0.0)
    value, twice = means["value"].to_numpy(), np.where(some, means["seed_images"].to_numpy(), 0.0)
    ends = {}
    for end, sign in (("low", -1), ("high", 1)):
        own = means[end].cast(pl.Float64).to_numpy()
        images = np.sqrt(np.maximum((own - value) ** 2 - Z95**2 * twice, 0))
        moved = np.where(some, value + sign * np.hypot(images, seeds), own)
        ends[end] = pl.Series(moved, nan_to_null=True)
    images = (means["high"].cast(pl.Float64).to_numpy() - means["low"].cast(pl.Float64).to_numpy()) / 2 / Z95
    share = (np.maximum(images**2 - twice, 0) + variance) / np.where(some, variance, 1.0)
    whole = np.where(some, np.where(some, freedom, 1.0) * np.nan_to_num(share, nan=1.0) ** 2, np.inf)
    return means.with_columns(**ends, freedom=pl.Series(whole)).drop("seed_variance", "seed_freedom", "seed_images")
