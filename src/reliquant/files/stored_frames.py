"""Parquet files of rows and records, read as what they must be: the same values, or a refusal that names the file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import polars as pl
from polars.datatypes import DataTypeClass
from polars.exceptions import PolarsError

from reliquant.files.artifacts import ROW_SCHEMA
from reliquant.files.digests import DamagedFile, require_parquet
from reliquant.files.parquet_limits import check_whole, require_memory
from reliquant.progress import ADVICE, say

NUMBERS = ("value", "low", "high", "p", "n", "replicates")  # of a row; all other columns say what it is about
OPEN = ("iteration", "severity", *NUMBERS)  # may be null
KEYS = tuple(name for name in ROW_SCHEMA if name not in ("study", "source", "family", *NUMBERS))
AGAIN = "fetch it again, or make it again with this version of reliquant"
TEXTS = (pl.String, pl.Categorical, pl.Enum)
BYTES: dict[object, int] = {pl.Float32: 4, pl.UInt32: 4, pl.UInt16: 2}  # of a number in an array; 16 of any other value


@contextmanager
def damage_named(path: Path, /) -> Iterator[None]:
    """Turn what polars raises over a file's bytes into DamagedFile; its panics are no Exceptions."""
    try:
        with _quiet_panics():
            yield
    except (PolarsError, OSError, MemoryError, OverflowError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        for number in ADVICE:  # the system's fault, not the file's
            if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number), str(path)) from error
        raise DamagedFile(f"{path}: truncated, damaged or not parquet ({first_line(error)}); {AGAIN}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise DamagedFile(f"{path}: damaged parquet ({first_line(error)}); {AGAIN}") from error


@contextmanager
def _quiet_panics() -> Iterator[None]:
    """Hold back what is written to stderr; drop it if polars panics, whose pages of traces say nothing to people."""
    sys.stderr.flush()
    with TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        panicked = False
        try:
            yield
        except BaseException as error:
            panicked = type(error).__name__ == "PanicException"
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            if not panicked and (said := held.read()):
                os.write(2, said)


@contextmanager
def errors_named(path: Path, /) -> Iterator[None]:
    """Put a file's name before the message of a ValueError that does not have it."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error


def first_line(error: BaseException, /) -> str:
    """Return the start of what a library says, without the pages that may follow."""
    return (str(error).strip().split("\n")[0] or type(error).__name__)[:200]


def read_rows(path: Path | str, /) -> pl.DataFrame:
    """Read the rows of a study (see ROW_SCHEMA).

    Texts may be dictionary-encoded and whole numbers of any width; the values are the same. Columns that are unknown
    are left out, and said. Raises FileNotFoundError; DamagedFile naming the file where it is no parquet, a column is
    missing or of another type, an entry is null that must not be, or two rows are of the same variant, set and measure.
    """
    file = Path(path)
    return checked_rows(read_frame(file, ROW_SCHEMA), file)


def read_parquet(path: Path, /) -> pl.DataFrame:
    """Read a parquet file as it is; raise FileNotFoundError, DamagedFile or TooMuch, which name it."""
    require_file(path)
    require_bounded(path)
    require_unchanged(path)
    with damage_named(path):
        frame = pl.read_parquet(path, glob=False)
    require_short_texts(frame.lazy(), path)
    return frame


def require_bounded(path: Path, /) -> dict[str, pl.DataType]:
    """Return the schema of a parquet file; raise TooMuch for one that would take more memory than rows and records do.

    Nothing is unpacked for it. An array whose entry is null takes as much as one that has values, and only the schema
    says how long it is.
    """
    rows, size = check_whole(path), path.stat().st_size
    with damage_named(path):
        schema = dict(pl.read_parquet_schema(path))
    require_memory(path, rows * sum(map(_bytes_of, schema.values())), size)
    return schema


def require_short_texts(rows: pl.LazyFrame, path: Path, /) -> None:
    """Raise TooMuch where texts, which a file may hold once and repeat in each row, are too many bytes together."""
    texts = rows.select(pl.sum_horizontal(pl.col(pl.String).str.len_bytes().cast(pl.UInt64).sum()))
    if pl.String in rows.collect_schema().dtypes():
        require_memory(path, texts.collect(engine="streaming").item(), path.stat().st_size)


def _bytes_of(kind: pl.DataType | DataTypeClass) -> int:
    """Return the bytes of an array, whether null or not; 0 for what is no array."""
    if not isinstance(kind, pl.Array):
        return 0
    return kind.size * (_bytes_of(kind.inner) or BYTES.get(kind.inner, 16))


def require_unchanged(path: Path, /) -> None:
    """Raise DamagedFile unless a parquet file is as this project wrote it; say so of one that others wrote."""
    if require_parquet(path):
        return
    with damage_named(path):
        ours = "reliquant" in pl.read_parquet_metadata(path)
    if ours:
        raise DamagedFile(f"{path}: has no digest: damaged, or of an earlier version; {AGAIN}")
    say(str(path), "written by another program: without a digest, changes of its bytes may go unseen")


def require_file(path: Path, what: str = "file", /) -> None:
    """Raise FileNotFoundError, saying what there is, unless a path is that of a file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'is a folder, not a parquet file' if path.is_dir() else f'no such {what}'}")


def read_frame(path: Path, schema: Mapping[str, pl.DataType], /) -> pl.DataFrame:
    """Read a parquet file in the columns and types of a schema; raise as `read_rows` does."""
    frame = read_parquet(path)
    unknown = [name for name in frame.columns if name not in schema]
    frame = conformed(frame, schema, path)
    if unknown:
        say(str(path), f"columns that are unknown here are left out: {', '.join(unknown)[:200]}")
    return frame


def scan_rows(path: Path, /) -> pl.LazyFrame:
    """Return the rows of a study, lazily where their types are the very ones; raise as `read_rows` does.

    What is null is checked here, in one pass; `require_once` may follow on the part that is used.
    """
    require_file(path, "rows")
    same = require_bounded(path) == dict(ROW_SCHEMA)
    require_unchanged(path)
    rows = pl.scan_parquet(path, glob=False, use_statistics=False) if same else read_frame(path, ROW_SCHEMA).lazy()
    with damage_named(path):
        require_short_texts(rows, path)
        require_full(rows, path)
    return rows


def checked_rows(rows: pl.DataFrame, path: Path, /) -> pl.DataFrame:
    """Return rows as they are; raise DamagedFile for nulls where none may be, and for rows that come twice."""
    require_full(rows.lazy(), path)
    valueless = pl.col("value").is_null() & (pl.col("low").is_not_null() | pl.col("p").is_not_null())
    refuse_nulls({"value": rows.select(valueless.sum()).item()}, path)
    require_once(rows, path)
    return rows


def require_once(rows: pl.DataFrame, path: Path, /) -> None:
    """Raise DamagedFile where two rows are of the same variant, set and measure."""
    twice = rows.select(KEYS).is_duplicated().arg_true()
    if len(twice):
        row = rows.row(twice[0], named=True)
        where = ", ".join(f"{key} {row[key]}" for key in ("model", "scheme", "precision", "dataset", "measure"))
        raise DamagedFile(f"{path}: {len(twice)} rows hold the same variant, set and measure as others, first: {where}")


def require_full(rows: pl.LazyFrame, path: Path, /) -> None:
    """Raise DamagedFile where a key of rows is null, or one end of an interval."""
    of_variant = pl.col("suite") == ""  # bytes and shares are of no images
    counts = {name: pl.col(name).is_null().sum() for name in ROW_SCHEMA if name not in OPEN}
    counts |= {name: (pl.col(name).is_null() & ~of_variant).sum() for name in ("severity", "n")}
    counts["low or high"] = (pl.col("low").is_null() != pl.col("high").is_null()).sum()
    refuse_nulls(rows.select(**counts).collect(engine="streaming").row(0, named=True), path)


def refuse_nulls(counts: Mapping[str, int | None], path: Path, /) -> None:
    """Raise DamagedFile for the first column with nulls where none may be."""
    for name, count in counts.items():
        if count:
            raise DamagedFile(f"{path}: {name} is null in {count} rows where it must not be; {AGAIN}")


def conformed(frame: pl.DataFrame, schema: Mapping[str, pl.DataType], path: Path, /) -> pl.DataFrame:
    """Return the columns of a schema in its types; raise DamagedFile unless every value stays what it is."""
    problems, columns = [], []
    for name, kind in schema.items():
        column = _as(frame[name], kind) if name in frame.columns else None
        if column is not None:
            columns.append(column)
        elif name == "replicates" and name not in frame.columns:  # rows of versions before 0.2 keep none
            columns.append(pl.Series(name, [None] * frame.height, dtype=kind))
        elif name in frame.columns:
            problems.append(f"{name!r} is {frame.schema[name]}, not {kind}")
        else:
            problems.append(f"has no column {name!r}")
    refuse(problems, path)
    return pl.DataFrame(columns)


def refuse(problems: Iterable[str], path: Path, /) -> None:
    """Raise DamagedFile with all that is wrong with the columns of a file, if anything is."""
    if told := "; ".join(problems):
        raise DamagedFile(f"{path}: {told[:1000]}; {AGAIN}")


def _as(column: pl.Series, kind: pl.DataType) -> pl.Series | None:
    """Return a column in another type, None where that would change a value or invent digits."""
    if column.dtype == kind or column.dtype == pl.Null:
        return column.cast(kind)
    if not _may_become(column.dtype, kind):
        return None
    try:
        other = column.cast(kind)
        same = column.dtype in TEXTS or other.cast(column.dtype).equals(column, null_equal=True)
    except PolarsError:  # a number that does not fit, a list of another length
        return None
    return other if same else None


def _may_become(given: pl.DataType | DataTypeClass, kind: pl.DataType | DataTypeClass) -> bool:
    """Whether a type may hold the values of another: not single precision in place of double."""
    if isinstance(kind, pl.Array):
        inner = given.inner if isinstance(given, pl.Array | pl.List) else None
        return inner is not None and (inner == kind.inner or _may_become(inner, kind.inner))
    if kind == pl.String:
        return given in TEXTS
    if kind.is_float():
        return kind == pl.Float32 and given == pl.Float64
    return given.is_integer() or given == pl.Float64
