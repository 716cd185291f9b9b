"""Labelled or captioned images in parquet files: a column of images or of their paths, and what describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from reliquant.files.bounded import parse_json, require
from reliquant.files.parquet_limits import COLUMN, EXPANSION, check, check_footer
from reliquant.images.columns import (
    Columns,
    choose_columns,
    located,
    open_image_of_row,
    read_all_captions,
    read_captions,
    read_labels,
)
from reliquant.images.dataset import Dataset
from reliquant.images.decoding import ImageFiles
from reliquant.images.formats import described, head_of
from reliquant.images.numbering import odd_names
from reliquant.images.reading import class_names

CHUNK_BYTES = 64 * 2**20  # how much of a file is held at a time
Reader = Callable[[int], bytes | Path | None]  # row of a file -> its encoded image, or where that lies


def read_parquet(
    paths: list[Path],
    /,
    *,
    image: str | None = None,
    label: str | None = "label",
    name: str | None = None,
    caption: str | None = None,
    classes: list[str] | None = None,
    templates: list[str],
    several: bool = False,
) -> Dataset:
    """Read images from a binary column, from a struct column as Hugging Face writes them, or by their paths.

    A struct has the field `bytes`, or `path` for images beside the file. `image` and `caption` name columns, else they
    are found by name and type (`choose_columns`); `label` names a column of numbers or class names (None: no labels).
    Names of images come from the column `name`, else they are file and row. Class names: `classes`, else those in the
    files' own Hugging Face header, else `classes.json` beside them. `several`: of a list of captions all are kept, not
    the first alone. Raises ValueError naming a missing column (and those that are there), a column of another type, and
    files that do not fit together.
    """
    schemas = [_schema(path) for path in paths]
    columns = choose_columns(schemas[0], str(paths[0]), image=image, label=label, caption=caption)
    parts = [_without_images(path, schema, columns, name) for path, schema in zip(paths, schemas, strict=True)]
    table = _joined(paths, parts)
    if table.is_empty():
        raise ValueError(f"{paths[0]}: has no rows")
    names = _names(table, name, paths, parts)
    known = classes or _header_classes(paths, columns.label) or class_names(paths[0].parent, None)
    labels = read_labels(table, columns, known, names)
    captions, first_of_several = read_captions(table, columns)
    every = read_all_captions(table, columns) if several else None
    if every is not None:
        captions, first_of_several = [texts[0] for texts in every], ()
    readers = [
        _reader(path, columns.image, part.height, schema[columns.image])
        for path, part, schema in zip(paths, parts, schemas, strict=True)
    ]
    return Dataset(
        classes=labels.classes,
        templates=templates,
        labels=labels.numbers,
        read=ImageFiles(_over_files(readers, [part.height for part in parts], names)),
        names=names,
        captions=captions,
        all_captions=every,
        label_problem=labels.problem,
        caption_problem=columns.caption_problem,
        assumed=columns.assumed + first_of_several + odd_names(labels.classes),
    )


def _over_files(readers: list[Reader], heights: list[int], names: list[str]) -> Callable[[int], Image.Image]:
    """Return a function that opens image i, counted over all files; `heights` are their numbers of rows."""
    ends = np.cumsum(heights)

    def open_image(i: int) -> Image.Image:
        file = int(np.searchsorted(ends, i, side="right"))
        row = i - int(ends[file - 1]) if file else i
        return open_image_of_row(readers[file](row), names[i])

    return open_image


def _schema(path: Path) -> pl.Schema:
    check_footer(path)
    with _named_damage(path, f"not a parquet file, or truncated ({described(head_of(path))})"):
        return pl.Schema(pl.read_parquet_schema(path))


@contextmanager
def _named_damage(path: Path, what: str) -> Iterator[None]:
    """Turn all that polars raises over a damaged file into a ValueError that names it; its panics are no Exceptions."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"{path}: {what}: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"{path}: {what}: {error}") from error


def _without_images(path: Path, schema: pl.Schema, columns: Columns, name: str | None) -> pl.DataFrame:
    """Read all columns but the images; where there is no other, a column of row numbers."""
    others = [column for column in (columns.label, name, columns.caption) if column is not None]
    for column in (columns.image, *others):
        if column not in schema:
            raise ValueError(f"{path}: has no column {column!r}; there are {', '.join(schema)}")
    check(path, {columns.image, *others})
    scan = pl.scan_parquet(path, glob=False)
    with _named_damage(path, "damaged"):
        if others:
            table = scan.select(list(dict.fromkeys(others))).collect()
            _check_texts(path, table)
            return table
        return pl.DataFrame({"row": range(scan.select(pl.len()).collect().item())})


def _check_texts(path: Path, table: pl.DataFrame) -> None:
    """Raise TooMuch for texts that are held once in a file, for many rows, and would be copied for each."""
    for column in table.get_columns():
        texts = column
        while isinstance(texts.dtype, pl.List | pl.Array):
            texts = texts.explode()
        if texts.dtype in (pl.String, pl.Categorical, pl.Enum):
            size = int(texts.cast(pl.String).str.len_bytes().cast(pl.Int64).sum())
            require(path, f"bytes in column {column.name!r}", size, max(COLUMN, EXPANSION * path.stat().st_size))


def _joined(paths: list[Path], parts: list[pl.DataFrame]) -> pl.DataFrame:
    try:
        return pl.concat(parts, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        names = ", ".join(path.name for path in paths)
        raise ValueError(f"{paths[0].parent}: columns of {names} differ in type ({error})") from error


def _names(table: pl.DataFrame, name: str | None, paths: list[Path], parts: list[pl.DataFrame]) -> list[str]:
    if name is not None:
        return [str(value) for value in table[name]]
    return [f"{path.name} row {row}" for path, part in zip(paths, parts, strict=True) for row in range(part.height)]


def _header_classes(paths: list[Path], label: str | None) -> list[str] | None:
    """Return the class names that Hugging Face's datasets library keeps in the files' metadata.

    Raises ValueError naming a file whose names are others than those of the first: its numbers mean something else.
    """
    first, *others = [_names_in_header(path, label) for path in paths]
    for path, names in zip(paths[1:], others, strict=True):
        if names != first:
            raise ValueError(f"{path}: its header names other classes than that of {paths[0].name}")
    return first


def _names_in_header(path: Path, label: str | None) -> list[str] | None:
    try:
        header: Any = parse_json(pl.read_parquet_metadata(path).get("huggingface", "{}"), f"{path}:")
        return header["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):  # a header of another library, or without classes
        return None


def _reader(path: Path, image: str, rows: int, kind: pl.DataType) -> Reader:
    """Return a function row -> encoded image or path that holds at most two chunks of the file."""
    size = max(1, path.stat().st_size)
    chunk = max(1, min(rows, rows * CHUNK_BYTES // size))
    fields = {field.name for field in kind.fields} if isinstance(kind, pl.Struct) else set()
    column = pl.col(image)
    parts = [column.struct.field(field).alias(field) for field in ("bytes", "path") if field in fields]
    if not parts:
        parts = [column.alias("bytes") if kind == pl.Binary else column.cast(pl.String).alias("path")]
    lock = Lock()

    @lru_cache(maxsize=2)
    def load(start: int) -> pl.DataFrame:
        return pl.scan_parquet(path, glob=False).slice(start, chunk).select(parts).collect()

    def read(row: int) -> bytes | Path | None:
        with lock, _named_damage(path, f"damaged near row {row}"):
            held = load(row - row % chunk).row(row % chunk, named=True)
        if held.get("bytes") is not None:
            return held["bytes"]
        return None if held.get("path") is None else located(path.parent, held["path"])

    return read
