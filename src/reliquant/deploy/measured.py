"""The rows of what is checked or told: a table of rows, or the one in an exported folder."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from reliquant.deploy.folder import AGAIN, FACTS, ROWS, read_export
from reliquant.files.artifacts import DamagedFile
from reliquant.files.stored_frames import read_rows


def rows_of(path: Path, /) -> pl.DataFrame:
    """Read a table of rows, or that of an exported folder all of whose files are those that were written.

    So the figures are of the very towers beside them. Raises FileNotFoundError or DamagedFile naming the file that is
    missing, changed or of another export, and FileNotFoundError for a folder of which nothing was measured.
    """
    return read_rows(table_of(path))


def table_of(path: Path, /) -> Path:
    """Return the file of the rows: the path itself, or that of an exported folder, which is checked."""
    if not path.is_dir():
        return path
    files = read_export(path)["files"]
    if ROWS in files:
        return path / ROWS
    if (path / ROWS).is_file():
        raise DamagedFile(f"{path / FACTS}: does not name {ROWS}, which lies beside it: it is of no export; {AGAIN}")
    raise FileNotFoundError(f"{path}: has no {ROWS}: nothing was measured of this export")
