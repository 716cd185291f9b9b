"""Columns of a polars frame: numbers, words, and embeddings as lists or as a column for each of their coordinates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from reliquant.files.digests import DamagedFile
from reliquant.files.stored_frames import AGAIN, TEXTS, damage_named, first_line
from reliquant.images.formats import head_of
from reliquant.stored.column import Column, Rows
from reliquant.stored.spilled import spilled
from reliquant.stored.text_lines import wrong_line

NUMBERED = re.compile(r"^(.*?)[_.\- ]?(\d+)$")
BLOCK = 2**21  # numbers that are unpacked at a time


@dataclass(frozen=True)
class Frame:
    """Hold a frame that was not read yet, the file that it is of, and its number of rows."""

    path: Path
    lazy: pl.LazyFrame
    rows: int


@contextmanager
def damage_told(path: Path, /) -> Iterator[None]:
    """Turn what polars raises over somebody's file, parquet or a text table, into DamagedFile."""
    try:
        with damage_named(path):
            yield
    except DamagedFile as error:
        if isinstance(error.__cause__, PolarsError) and not head_of(path).startswith(b"PAR1"):
            raise DamagedFile(f"{path}: {wrong_line(path, first_line(error.__cause__))}") from error
        raise DamagedFile(str(error).removesuffix(f"; {AGAIN}")) from error


def numbered_groups(names: Sequence[str], /) -> dict[str, list[str]]:
    """Return the columns that hold one coordinate each, by what their names begin with, in the order of their numbers.

    Numbers must go on from 0 or 1, without a gap; columns that are called by numbers alone are named by the two ends.

    >>> numbered_groups(["id", "img_emb_0", "img_emb_1", "top1", "0", "1"])
    {'img_emb': ['img_emb_0', 'img_emb_1'], '0..1': ['0', '1']}
    """
    found: dict[str, dict[int, str]] = {}
    for name in names:
        if (match := NUMBERED.match(name)) and len(match[2]) < 7:
            found.setdefault(match[1], {})[int(match[2])] = name
    groups = {}
    for start, by_number in found.items():
        numbers = sorted(by_number)
        if len(numbers) < 2 or numbers[0] > 1 or numbers[-1] - numbers[0] + 1 != len(numbers):
            continue
        columns = [by_number[number] for number in numbers]
        whole = f"{columns[0]}..{columns[-1]}"
        groups[whole if not start or start in names else start] = columns
    return groups


def columns_of(frame: Frame, schema: Mapping[str, Any], groups: Mapping[str, list[str]], /) -> dict[str, Column]:
    """Return the columns of a frame, and those of its groups of columns of numbers, each a matrix."""
    apart = {name for members in groups.values() for name in members}
    found = {name: _column(frame, name, kind) for name, kind in schema.items() if name not in apart}
    for name, members in groups.items():
        wide = all(schema[member] in (pl.Float32, pl.Float16) for member in members)
        kind: np.dtype[Any] = np.dtype(np.float32 if wide else np.float64)
        shape = (frame.rows, len(members))
        found[name] = spilled(f"{frame.path}: {name}", shape, kind, str(kind), _side_by_side(frame, members, kind))
    return found


def _column(frame: Frame, name: str, kind: Any) -> Column:
    if isinstance(kind, pl.List | pl.Array):
        return _of_lists(frame, name, kind)
    if kind in TEXTS:
        return Column((frame.rows,), str(kind), np.dtype(object), _of_values(frame, name, pl.String))
    if kind.is_float() or kind.is_decimal():
        wanted: Any = pl.Float32 if kind in (pl.Float32, pl.Float16) else pl.Float64
    elif kind.is_integer() or kind == pl.Boolean:
        wanted = kind
    else:
        return Column((frame.rows,), str(kind), None, lambda rows: np.empty(0))
    given = pl.Series([], dtype=wanted).to_numpy().dtype
    return Column((frame.rows,), str(kind), given, _of_values(frame, name, wanted))


def _of_values(frame: Frame, name: str, wanted: Any) -> Any:
    @cache
    def values() -> NDArray[Any]:
        with damage_told(frame.path):
            series = frame.lazy.select(pl.col(name).cast(wanted)).collect().to_series()
        if wanted != pl.String and series.null_count():
            row = int(series.is_null().arg_max() or 0)
            raise ValueError(f"{frame.path}: row {row} has no {name}: {series.null_count():,} such rows")
        return series.to_numpy() if wanted != pl.String else np.array([*series.to_list(), None], object)[:-1]

    def read(rows: Rows) -> NDArray[Any]:
        return values()[rows]

    return read


def _of_lists(frame: Frame, name: str, kind: Any) -> Column:
    """Return a column of lists of equally many numbers as a matrix; raise ValueError naming the first that differs."""
    inner = kind.inner
    if not (inner.is_float() or inner.is_integer()):
        return Column((frame.rows,), str(kind), None, lambda rows: np.empty(0))
    length = pl.col(name).arr.len() if isinstance(kind, pl.Array) else pl.col(name).list.len()
    with damage_told(frame.path):
        lengths = frame.lazy.select(length.fill_null(0)).collect().to_series()
    width = int(lengths[0]) if frame.rows else 0
    if not (lengths == width).all():
        row = int((lengths != width).arg_max() or 0)
        told = f"{lengths[row]} numbers, and row 0 {width}"
        raise ValueError(f"{frame.path}: {name} of row {row} has {told}; embeddings have one width")
    wanted = pl.Float64 if inner == pl.Float64 else pl.Float32 if inner.is_float() else pl.Int64
    given = pl.Series([], dtype=wanted).to_numpy().dtype
    column = pl.col(name).cast(pl.List(wanted) if isinstance(kind, pl.List) else pl.Array(wanted, kind.size))

    def blocks() -> Iterator[NDArray[Any]]:
        for block in _batches(frame, frame.lazy.select(column), width):
            flat = block.to_series().explode().fill_null(np.nan) if given.kind == "f" else block.to_series().explode()
            yield flat.to_numpy().reshape(-1, width)

    return spilled(f"{frame.path}: {name}", (frame.rows, width), given, str(kind), blocks)


def _side_by_side(frame: Frame, members: list[str], kind: np.dtype[Any]) -> Any:
    wanted = pl.Float32 if kind == np.float32 else pl.Float64

    def blocks() -> Iterator[NDArray[Any]]:
        chosen = frame.lazy.select(pl.col(members).cast(wanted).fill_null(np.nan))
        for block in _batches(frame, chosen, len(members)):
            yield block.to_numpy()

    return blocks


def _batches(frame: Frame, lazy: pl.LazyFrame, width: int) -> Iterator[pl.DataFrame]:
    with damage_told(frame.path):
        yield from lazy.collect_batches(chunk_size=max(1, BLOCK // max(1, width)), maintain_order=True)
