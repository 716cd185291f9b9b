"""Parquet files: one row per image, embeddings as lists or arrays of numbers, or as one column per coordinate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from reliquant.files.bounded import require
from reliquant.files.digests import DamagedFile
from reliquant.files.parquet_limits import check, check_footer, require_memory
from reliquant.images.formats import described, head_of
from reliquant.stored.column import Column
from reliquant.stored.frames import Frame, columns_of, damage_told, numbered_groups

COLUMNS = 100_000


def columns(path: Path, /) -> dict[str, Column]:
    """Return the columns of a parquet file; raise DamagedFile where it is none, TooMuch for a bomb."""
    check_footer(path)
    with damage_told(path):
        schema = dict(pl.read_parquet_schema(path))
    require(path, "columns", len(schema), COLUMNS)
    if not schema:
        raise DamagedFile(f"{path}: has no columns ({described(head_of(path))})")
    used = {name: kind for name, kind in schema.items() if not kind.is_nested() or isinstance(kind, pl.List | pl.Array)}
    used = {name: kind for name, kind in used.items() if kind != pl.Binary}
    check(path, used)
    lazy = pl.scan_parquet(path, glob=False)
    with damage_told(path):
        rows = int(lazy.select(pl.len()).collect().item())
    wide = sum(kind.size for kind in used.values() if isinstance(kind, pl.Array))
    require_memory(path, 4 * rows * wide, path.stat().st_size)
    numbers = [name for name, kind in used.items() if kind.is_float()]
    kinds = {name: "Binary" if kind == pl.Binary else "Struct" for name, kind in schema.items() if name not in used}
    unread = {name: Column((rows,), kind, None, lambda rows: np.empty(0)) for name, kind in kinds.items()}
    return columns_of(Frame(path, lazy, rows), used, numbered_groups(numbers)) | unread
