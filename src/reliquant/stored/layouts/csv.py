"""Text tables (CSV, TSV) with a header: a line for each image, embeddings as a column for each of their coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from reliquant.images.listed import separator_of
from reliquant.stored.column import Column
from reliquant.stored.frames import Frame, columns_of, damage_told, numbered_groups

COUNTED = "\0"  # a column that no text table has, as there may be no other than embeddings
LOOKED_AT = 100  # lines that say whether numbered columns hold numbers


def columns(path: Path, /) -> dict[str, Column]:
    """Return the columns of a text table; raise ValueError where it is none, TooMuch where it has too many cells.

    Embeddings are read as float32, so that those that were written from float32 are the same numbers again.
    A column of whole numbers is one of class numbers or ids, one of other numbers of floats, and any other of words.
    """
    separator = separator_of(path)
    with damage_told(path):
        first = pl.read_csv(path, separator=separator, infer_schema=False, glob=False, n_rows=LOOKED_AT)
    if twice := [name for name in first.columns if name.endswith("_duplicated_0")]:
        raise ValueError(f"{path}: has two columns {twice[0].removesuffix('_duplicated_0')!r} in its first line")
    numbered = numbered_groups(first.columns)
    groups = {name: members for name, members in numbered.items() if _are_numbers(first.select(members))}
    grouped = [name for members in groups.values() for name in members]
    others = [name for name in first.columns if name not in grouped]
    schema: dict[str, Any] = {name: pl.Float32 if name in grouped else pl.String for name in first.columns}
    lazy = pl.scan_csv(path, separator=separator, schema=schema, glob=False)
    lazy = lazy.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines
    with damage_told(path):
        rest = lazy.select(pl.first().is_null().alias(COUNTED), *others).collect()
    if rest.is_empty():
        raise ValueError(f"{path}: has no lines but the first")
    typed = pl.DataFrame([_typed(rest[name]).alias(name.strip()) for name in others])
    found = columns_of(Frame(path, typed.lazy(), rest.height), typed.schema, {})
    return found | columns_of(Frame(path, lazy, rest.height), {name: schema[name] for name in grouped}, groups)


def _are_numbers(words: pl.DataFrame) -> bool:
    """Whether every word that is there is a number."""
    numbers = words.select(pl.all().str.strip_chars().cast(pl.Float64, strict=False))
    return numbers.null_count().equals(words.null_count())


def _typed(words: pl.Series) -> pl.Series:
    """Return a column of words as one of numbers, where all that are there are numbers."""
    words = words.str.strip_chars()
    for kind in (pl.Int64, pl.Float64):
        numbers = words.cast(kind, strict=False)
        if numbers.null_count() == words.null_count() < len(words):
            return numbers
    return words
