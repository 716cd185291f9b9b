"""Text tables (CSV, TSV) with a header: a line an image, embeddings as a column for each of their coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.images.listed import separator_of
from reliquant.stored.column import Column, Rows
from reliquant.stored.frames import Frame, columns_of, damage_told, numbered_groups

LOOKED_AT = 100  # lines that say whether numbered columns hold numbers


def columns(path: Path, /) -> dict[str, Column]:
    """Return the columns of a text table; raise ValueError where it is none, TooMuch where it has too many cells.

    A column of whole numbers is one of class numbers or ids, one of other numbers of floats, and any other of words.
    """
    separator = separator_of(path)
    with damage_told(path):
        first = pl.read_csv(path, separator=separator, infer_schema=False, glob=False, n_rows=LOOKED_AT)
    if twice := [name for name in first.columns if name.endswith("_duplicated_0")]:
        raise ValueError(f"{path}: has two columns {twice[0].removesuffix('_duplicated_0')!r} in its first line")
    groups = {}
    for name, members in numbered_groups(first.columns).items():
        numbers = first.select(pl.col(members).str.strip_chars().cast(pl.Float64, strict=False))
        if not sum(numbers.null_count().row(0)):
            groups[name] = members
    grouped = {name for members in groups.values() for name in members}
    schema: dict[str, Any] = {name: pl.Float64 if name in grouped else pl.String for name in first.columns}
    lazy = pl.scan_csv(path, separator=separator, schema=schema, glob=False)
    with damage_told(path):
        rows = int(lazy.select(pl.len()).collect().item())
    if not rows:
        raise ValueError(f"{path}: has no lines but the first")
    found = columns_of(Frame(path, lazy, rows), schema, groups)
    return {name.strip(): column if name in groups else _typed(column) for name, column in found.items()}


def _typed(column: Column) -> Column:
    """Return a column of words as one of numbers, where all its words are."""
    words = pl.Series(column[:].tolist(), dtype=pl.String).str.strip_chars()
    for kind in (pl.Int64, pl.Float64):
        numbers = words.cast(kind, strict=False)
        if numbers.null_count() == words.null_count() == 0:
            return _held(column, numbers.to_numpy(), numbers.to_numpy().dtype)
    return _held(column, np.array([*words.to_list(), None], object)[:-1], np.dtype(object))


def _held(column: Column, values: NDArray[Any], given: np.dtype[Any]) -> Column:
    def read(rows: Rows) -> NDArray[Any]:
        return values[rows]

    return Column(column.shape, str(given), given, read)
