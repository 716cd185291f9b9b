"""Which runs and test sets make a mean over sets, so that no two means of different sets are compared; free of torch.

A mean over an easy set says nothing beside a mean over an easy and a hard one. Where runs (variants, seeds) were not
all measured on the same sets, because a study is not done yet or a value is undefined on a set, the means are made of
what is complete: sets that fewer than a quarter of the runs have are left out, then runs that lack one of the others.
What is left out is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

CELL = ("dataset", "reference", "group", "corruption", "severity", "score")  # what makes a cell of a set
SHOWN = 3  # runs or cells that are named in a sentence
RARE = 0.25  # a cell that a smaller share of the runs has is left out rather than the runs without it


class NothingInCommon(ValueError):
    """No run has all the cells that are common enough; the message names them."""


@dataclass(frozen=True)
class Common:
    """Rows of runs that were all measured on the same cells, and for each group what was left out, in words.

    `left` has the columns of the groups and `left`: a sentence without an end. Complete groups are not in it.
    """

    rows: pl.DataFrame
    left: pl.DataFrame


def common(frame: pl.DataFrame, runs: Sequence[str], by: Sequence[str], /, *, strict: bool = False) -> Common:
    """Keep of each group of `by` the runs that have every cell, and the cells that they all have.

    `runs` are the columns that tell one run from another. A cell is a set, or a part of one (a score, a corruption).
    Where no run has all cells, further cells are left out, or, if `strict`, NothingInCommon is raised: which set is
    left out then is chance, and with it what a mean says.
    """
    groups, who = list(by), [name for name in runs if name not in by]
    where = [name for name in CELL if name in frame.columns and name not in {*by, *runs}]
    if frame.is_empty() or not where or not who:
        return Common(frame, _none(frame, groups))
    counts = frame.group_by(groups or pl.lit(0), maintain_order=True).agg(
        runs=pl.struct(who).n_unique(), cells=pl.struct(where).n_unique(), both=pl.struct(*who, *where).n_unique()
    )
    uneven = counts.filter(pl.col("both") < pl.col("runs") * pl.col("cells"))
    if uneven.is_empty():
        return Common(frame, _none(frame, groups))
    parts, told = [], []
    for _, part in _within(frame, uneven, groups).group_by(groups or pl.lit(0), maintain_order=True):
        kept, said = _complete(part, who, where, strict)
        parts.append(kept.select(*groups, *who, *where))
        told.append({**{name: part[name][0] for name in groups}, "left": said})
    chosen = pl.concat([_others(frame, uneven, groups).select(*groups, *who, *where), *parts]).unique()
    rows = frame.join(chosen, on=chosen.columns, how="semi", nulls_equal=True, maintain_order="left")
    return Common(rows, pl.DataFrame(told, schema=_none(frame, groups).schema))


def named(runs: pl.DataFrame, /) -> list[str]:
    """Name runs by the columns in which they differ, or by all words where there is but one."""
    words = [name for name in runs.columns if name not in ("family", "source", "proxy")] or runs.columns
    apart = [name for name in words if runs[name].n_unique() > 1]
    return [
        " ".join(str(word) for word in line if word not in (None, "")) for line in runs.select(apart or words).rows()
    ]


def left_too(means: pl.DataFrame, said: str, /) -> pl.DataFrame:
    """Return means with one more sentence in their column `left`."""
    if not said:
        return means
    before = pl.when(pl.col("left") != "").then(pl.col("left") + "; ").otherwise(pl.lit(""))
    return means.with_columns(left=before + pl.lit(said))


def some_of(names: Sequence[str], /) -> str:
    """List the first names, and how many more there are.

    >>> some_of(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _complete(part: pl.DataFrame, who: list[str], where: list[str], strict: bool) -> tuple[pl.DataFrame, str]:
    """Return the rows of one group that make a complete table of runs and cells, and what was left out."""
    runs = part.select(who).unique(maintain_order=True).sort(who).with_row_index("run")
    cells = part.select(where).unique(maintain_order=True).sort(where).with_row_index("cell")
    placed = part.join(runs, on=who, how="left", nulls_equal=True, maintain_order="left")
    placed = placed.join(cells, on=where, how="left", nulls_equal=True, maintain_order="left")
    has = np.zeros((runs.height, cells.height), bool)
    has[placed["run"].to_numpy(), placed["cell"].to_numpy()] = True
    in_runs, in_cells = chosen(has)
    places = _places(cells)
    rare = has.mean(axis=0) < RARE
    if strict and not (in_cells | rare).all():
        raise NothingInCommon(f"no run was measured on all of {some_of([places[i] for i in np.flatnonzero(~rare)])}")
    inside = in_runs[placed["run"].to_numpy()] & in_cells[placed["cell"].to_numpy()]
    return part.filter(pl.Series(inside)), _said(has, in_runs, in_cells, named(runs.drop("run")), places)


def chosen(has: NDArray[np.bool_], /) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which runs and which cells of a table (runs, cells) stay: a complete part with at least one of each.

    Cells that hardly any run has are left out, rarest first, and more while no run is complete.
    """
    counts = has.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    number = max(int((counts >= RARE * len(has)).sum()), 1)
    while not has[:, order[:number]].all(axis=1).any():
        number -= 1
    cells = np.zeros(has.shape[1], bool)
    cells[order[:number]] = True
    return np.asarray(has[:, cells].all(axis=1)), cells


def _said(
    has: NDArray[np.bool_], runs: NDArray[np.bool_], cells: NDArray[np.bool_], who: list[str], places: list[str]
) -> str:
    """Say which cells and runs were left out, and what these lack."""
    said = []
    if not cells.all():
        without = [f"{places[i]} ({has[:, i].sum()} of {len(who)} runs have it)" for i in np.flatnonzero(~cells)]
        said.append(f"without {some_of(without)}")
    if not runs.all():
        lacking = np.flatnonzero(~runs)
        lack = [some_of([places[cell] for cell in np.flatnonzero(cells & ~has[run])]) for run in lacking]
        told = some_of([f"{who[run]} (lacks {what})" for run, what in zip(lacking, lack, strict=True)])
        said.append(f"{len(lack)} of {len(who)} runs left out, not measured on all sets: {told}")
    return "; ".join(said)


def _places(cells: pl.DataFrame) -> list[str]:
    """Name cells: a set, and what else tells them apart."""
    words = [name for name in cells.columns if name != "cell"]
    apart = [name for name in words if name == "dataset" or cells[name].n_unique() > 1]
    return _written(cells.select(apart))


def _written(words: pl.DataFrame) -> list[str]:
    """Write each line's words side by side, without those that are empty or said before."""
    return [" ".join(dict.fromkeys(str(word) for word in line if word not in (None, ""))) for line in words.rows()]


def _within(frame: pl.DataFrame, uneven: pl.DataFrame, groups: list[str]) -> pl.DataFrame:
    """Return the rows of groups that are not complete."""
    return frame.join(uneven, on=groups, how="semi", nulls_equal=True, maintain_order="left") if groups else frame


def _others(frame: pl.DataFrame, uneven: pl.DataFrame, groups: list[str]) -> pl.DataFrame:
    """Return the rows of groups that are complete."""
    return frame.join(uneven, on=groups, how="anti", nulls_equal=True) if groups else frame.clear()


def _none(frame: pl.DataFrame, groups: list[str]) -> pl.DataFrame:
    """Return a frame that says of no group that something was left out."""
    return frame.select(groups).clear().with_columns(pl.lit("", pl.String).alias("left"))
