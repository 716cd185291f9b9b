"""Labelled or captioned images in parquet files: a column of encoded images, and columns that describe them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.images.dataset import Dataset, UnreadableImage
from reliquant.images.reading import class_names, decode, number

CHUNK_BYTES = 64 * 2**20  # how much of a file is held at a time
Reader = Callable[[int], bytes | None]  # row of a file -> its encoded image


def read_parquet(
    paths: list[Path],
    /,
    *,
    image: str = "image",
    label: str | None = "label",
    name: str | None = None,
    caption: str | None = None,
    classes: list[str] | None = None,
    templates: list[str],
) -> Dataset:
    """Read images from a binary column, or a struct column with the field `bytes` as Hugging Face writes them.

    `label` names a column of numbers or class names (None: no labels). Names come from the column `name`, else from
    the struct's `path`, else file and row. Class names: `classes`, else those in the file's own Hugging Face header,
    else `classes.json` beside it. Raises ValueError naming a missing column (and those that are there), a column of
    another type, or a label outside the classes.
    """
    columns = [column for column in (image, label, name, caption) if column is not None]
    schemas = [_checked(path, columns, image, caption) for path in paths]
    parts = [_without_images(path, columns, image) for path in paths]
    table = pl.concat(parts, how="vertical_relaxed")
    names = _names(table, name, paths, parts)
    known = classes or _header_classes(paths[0], label) or class_names(paths[0].parent, None)
    if label is None:
        labels, known = np.full(table.height, -1, np.int64), known or []
    else:
        labels, known = number(table[label].to_list(), known, names)
    readers = [
        _reader(path, image, part.height, schema[image])
        for path, part, schema in zip(paths, parts, schemas, strict=True)
    ]
    read = _over_files(readers, [part.height for part in parts], names)
    captions = None if caption is None else ["" if text is None else text for text in table[caption]]
    return Dataset(known, templates, labels, read, names, captions)


def _over_files(readers: list[Reader], heights: list[int], names: list[str]) -> Callable[[int], NDArray[np.uint8]]:
    """Return a function that decodes image i, counted over all files; `heights` are their numbers of rows."""
    ends = np.cumsum(heights)

    def read(i: int) -> NDArray[np.uint8]:
        file = int(np.searchsorted(ends, i, side="right"))
        row = i - int(ends[file - 1]) if file else i
        data = readers[file](row)
        if data is None:
            raise UnreadableImage(f"{names[i]}: has no image")
        return decode(data, names[i])

    return read


def _checked(path: Path, columns: list[str], image: str, caption: str | None) -> pl.Schema:
    try:
        schema = pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"{path}: not a parquet file, or truncated ({error})") from error
    for column in columns:
        if column not in schema:
            raise ValueError(f"{path}: has no column {column!r}; there are {', '.join(schema)}")
    kind = schema[image]
    if kind != pl.Binary and not (isinstance(kind, pl.Struct) and {"bytes"} <= {f.name for f in kind.fields}):
        raise ValueError(f"{path}: column {image!r} is {kind}; images are binary, or a struct with the field bytes")
    if caption is not None and schema[caption] != pl.String:
        raise ValueError(f"{path}: column {caption!r} is {schema[caption]}; captions are strings")
    return pl.Schema(schema)


def _without_images(path: Path, columns: list[str], image: str) -> pl.DataFrame:
    """Read all columns but the images; where there is no other, a column of row numbers."""
    scan = pl.scan_parquet(path)
    others = [column for column in columns if column != image]
    if others:
        return scan.select(others).collect()
    height = scan.select(pl.len()).collect().item()
    return pl.DataFrame({"row": range(height)})


def _names(table: pl.DataFrame, name: str | None, paths: list[Path], parts: list[pl.DataFrame]) -> list[str]:
    if name is not None:
        return [str(value) for value in table[name]]
    return [f"{path.name} row {row}" for path, part in zip(paths, parts, strict=True) for row in range(part.height)]


def _header_classes(path: Path, label: str | None) -> list[str] | None:
    """Return the class names that Hugging Face's datasets library keeps in a parquet file's metadata."""
    header: dict[str, Any] = json.loads(pl.read_parquet_metadata(path).get("huggingface", "{}"))
    feature = header.get("info", {}).get("features", {}).get(label, {})
    return feature.get("names") if isinstance(feature, dict) else None


def _reader(path: Path, image: str, rows: int, kind: pl.DataType) -> Reader:
    """Return a function row -> encoded image that holds at most two chunks of the file."""
    size = max(1, path.stat().st_size)
    chunk = max(1, min(rows, rows * CHUNK_BYTES // size))
    column = pl.col(image) if kind == pl.Binary else pl.col(image).struct.field("bytes")
    lock = Lock()

    @lru_cache(maxsize=2)
    def load(start: int) -> pl.Series:
        return pl.scan_parquet(path).slice(start, chunk).select(column.alias("bytes")).collect()["bytes"]

    def read(row: int) -> bytes | None:
        with lock:
            return load(row - row % chunk)[row % chunk]

    return read
