"""A folder that `reliquant export` wrote, as its readers find it: facts, the digest of each file, and rows of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl

from reliquant.files.artifacts import read_sealed_json
from reliquant.files.digests import DamagedFile
from reliquant.files.stored_frames import read_rows

FACTS, ROWS = "export.json", "rows.parquet"  # in an exported folder
FILES = "files"  # the word of the facts that says of each file, by name, its sha256
AGAIN = "export it again"


def sha256_of_file(path: Path, /) -> str:
    """Return the sha256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_exported(folder: Path, name: str, /) -> Path:
    """Return a file of an exported folder; raise DamagedFile unless it is the one whose sha256 the folder's facts say.

    Raises FileNotFoundError for a folder that is no export, or that has no such file.
    """
    facts, file = folder / FACTS, folder / name
    if not facts.is_file():
        raise FileNotFoundError(f"{folder}: is a folder without {FACTS}, so no export; name a file, or an export")
    files = read_sealed_json(facts, needed=False).get(FILES)
    if not isinstance(files, dict):
        raise DamagedFile(f"{facts}: has no {FILES!r} that names the sha256 of each file: damaged; {AGAIN}")
    if not file.is_file():
        raise FileNotFoundError(f"{folder}: has no {name}" + ("; nothing was measured of it" if name == ROWS else ""))
    if name not in files:
        raise DamagedFile(f"{facts}: does not name {name}, which lies beside it: it is of no export; {AGAIN}")
    if sha256_of_file(file) != files[name]:
        raise DamagedFile(f"{file}: does not match the sha256 in {FACTS}: altered, or of another export; {AGAIN}")
    return file


def rows_of(path: Path, /) -> pl.DataFrame:
    """Read a table of rows, or that of an exported folder; what is read is as it was written, or refused by name."""
    return read_rows(require_exported(path, ROWS) if path.is_dir() else path)
