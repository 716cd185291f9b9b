"""Images that a text table names: a CSV or TSV file with a header, such as `path,label`, beside them or above them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from reliquant.files.bounded import require
from reliquant.images.columns import (
    IMAGES,
    PATHS,
    choose_columns,
    located,
    open_image_of_row,
    read_captions,
    read_labels,
)
from reliquant.images.dataset import Dataset
from reliquant.images.decoding import ImageFiles
from reliquant.images.formats import described, head_of
from reliquant.images.numbering import odd_names
from reliquant.images.reading import class_names

SEPARATORS = ",\t;"
COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")  # what polars unpacks unasked
LONGEST_LINE, COLUMNS, CELLS = 2**20, 10_000, 1_000_000
LONGEST = 80  # letters of a table's first line in a message


def read_listed(
    paths: list[Path],
    /,
    *,
    image: str | None = None,
    label: str | None = "label",
    caption: str | None = None,
    classes: list[str] | None = None,
    templates: list[str],
) -> Dataset:
    """Read the images whose paths stand in text tables, relative to the table's folder; names of images are the paths.

    Each table begins with the names of its columns, separated by commas, tabs or semicolons as in the other lines.
    `image` (the paths), `label` and `caption` name columns, else they are found by name (`choose_columns`). Labels are
    class names, or numbers whose meaning `classes` or `classes.json` beside the table says. Raises ValueError naming a
    file that is no such table, and a missing column with those that are there.
    """
    tables = [_table(path, image) for path in paths]
    columns = choose_columns(tables[0].schema, str(paths[0]), image=image, label=label, caption=caption)
    files: list[Path | None] = []
    names: list[str] = []
    for path, table in zip(paths, tables, strict=True):
        if table.columns != tables[0].columns:
            raise ValueError(f"{path}: its columns are {', '.join(table.columns)}, not those of {paths[0].name}")
        for row, name in enumerate(table[columns.image]):
            names.append(name or f"{path.name} row {row}")
            files.append(located(path.parent, name) if name else None)
    table = pl.concat(tables)
    labels = read_labels(table, columns, classes or class_names(paths[0].parent, None), names)
    captions, first_of_several = read_captions(table, columns)
    return Dataset(
        classes=labels.classes,
        templates=templates,
        labels=labels.numbers,
        read=ImageFiles(lambda i: open_image_of_row(files[i], names[i])),
        names=names,
        captions=captions,
        label_problem=labels.problem,
        caption_problem=columns.caption_problem,
        assumed=columns.assumed + first_of_several + odd_names(labels.classes),
    )


def separator_of(path: Path, /) -> str:
    """Return what separates the cells of a text table; raise ValueError for one that is compressed, or no text.

    Raises TooMuch where it has more cells than its size lets expect.
    """
    if head_of(path).startswith(COMPRESSED):
        raise ValueError(f"{path}: is compressed: unpack it")
    try:
        with open(path, encoding="utf-8-sig") as file:
            first = file.readline(LONGEST_LINE).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no text in UTF-8 ({error.reason}): save it as UTF-8") from error
    require(path, "letters in its first line, or more", len(first), LONGEST_LINE - 1)
    separator = max(SEPARATORS, key=first.count)
    _check_cells(path, first.count(separator) + 1)
    return separator


def _check_cells(path: Path, columns: int) -> None:
    """Raise TooMuch for a table with more cells than its size lets expect: short lines are filled with empty ones."""
    require(path, "columns", columns, COLUMNS)
    lines = 0
    with open(path, "rb") as file:
        while block := file.read(2**20):
            lines += block.count(b"\n")
    require(path, "cells, most of them empty", columns * lines, CELLS + 2 * path.stat().st_size)


def _table(path: Path, image: str | None) -> pl.DataFrame:
    """Read a text table, all columns as text without spaces around it."""
    separator = separator_of(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            first = file.readline(LONGEST_LINE).rstrip("\r\n")
        table = pl.read_csv(path, separator=separator, infer_schema=False, glob=False)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no text in UTF-8 ({error.reason}): save it as UTF-8") from error
    except pl.exceptions.PolarsError as error:
        what = described(head_of(path))
        raise ValueError(f"{path}: no text table ({what}): {str(error).splitlines()[0]}") from error
    table = table.rename(lambda name: name.strip().removeprefix("\ufeff"))
    if twice := [name for name in table.columns if name.endswith("_duplicated_0")]:
        raise ValueError(f"{path}: has two columns {twice[0].removesuffix('_duplicated_0')!r} in its first line")
    table = table.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines
    if table.is_empty():
        raise ValueError(f"{path}: has no lines but the first, {first[:LONGEST]!r}")
    if image is None and not {name.lower() for name in table.columns} & {*PATHS, *IMAGES}:
        raise ValueError(
            f"{path}: has no column of paths ({', '.join(PATHS[:4])}, ...) in its first line, {first[:LONGEST]!r};"
            " begin it with a header such as path,label, separated by commas, tabs or semicolons"
        )
    return table.with_columns(pl.all().str.strip_chars())
