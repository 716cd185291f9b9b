"""Which files a dataset's, a lexicon's or a model's entry may read that people have put in place; free of torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reliquant import plugins
from reliquant.files.parquet_limits import check, check_footer

BESIDE = ("classes.json", "classnames.txt")  # what readers look for beside the files that an entry names
TABLES = (".csv", ".tsv", ".txt")
LISTS = {"label", "caption", "image"}  # words of plugins that read tables, which may name images
TRIED = 200  # lines of a table that are looked at to tell a column of paths
LONGEST_LINE = 2**20
LOCAL = "local-dir:"


def of_dataset(family: str, entry: Mapping[str, Any], root: Path, /) -> Iterator[tuple[str, Path]]:
    """Yield the files that an entry may read, with their names below the root; those in tables wherever they lie."""
    place = plugins.place(family, entry[family])
    if place is None:
        return
    words = plugins.words(plugins.source(family, entry[family]), family)
    if isinstance(entry.get("files"), list):
        names = [str(file) for file in entry["files"]]
        names += [Path(name).name for name in names]  # where a fetched one lies
        tables = [name for name in dict.fromkeys(names) if is_file(root / name)]
        beside = [os.path.join(os.path.dirname(name), other) for name in ["", *tables] for other in BESIDE]
        yield from ((name, root / name) for name in (*tables, *beside) if is_file(root / name))
    else:
        files = dict(below(root / place.format(**{word: entry.get(word, value[1]) for word, value in words.items()})))
        yield from files.items()
        tables = [name for name, path in files.items() if path.parent == root and _may_be_table(path)]
    for table in tables if LISTS & set(words) else ():
        folder = os.path.dirname(table)
        yield from ((os.path.join(folder, name), root / folder / name) for name in _paths_in(root / table))


def named_by_words(entry: Mapping[str, Any], family: str, /) -> Iterator[tuple[str, Path]]:
    """Yield the files that words of an entry name; a folder, and all below it, where the word says that it is one."""
    for word, value in sorted(entry.items()):
        if word in (family, "cache") or not isinstance(value, str) or "\0" in value:
            continue
        path = Path(value.removeprefix(LOCAL)).expanduser()
        with suppress(OSError):  # a word that is too long for a path
            if path.is_file():
                yield word, path
            elif "/" in value or value.startswith(LOCAL):
                yield from ((f"{word}/{name}", file) for name, file in below(path))


def below(folder: Path, /, name: str = "", above: tuple[tuple[int, int], ...] = ()) -> Iterator[tuple[str, Path]]:
    """Yield all files of a folder and those in it; links are followed, not in circles, and what is hidden is no data.

    A folder in it that is empty counts, too, as a name that ends in /. A missing folder has none.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        own = os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    if (own.st_dev, own.st_ino) in above:
        return
    shown = [entry for entry in entries if not entry.name.startswith(".")]
    if name and not shown:
        yield name, folder
    for entry in shown:
        if entry.is_dir():
            yield from below(Path(entry.path), f"{name}{entry.name}/", (*above, (own.st_dev, own.st_ino)))
        else:
            yield name + entry.name, Path(entry.path)


def _may_be_table(path: Path) -> bool:
    """Whether a file that no entry names is looked at as a table: by its suffix, or as parquet by its content."""
    return path.suffix.lower() in TABLES or _is_parquet(path)


def _is_parquet(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return path.is_file() and file.read(4) == b"PAR1"
    except OSError:
        return False


def _paths_in(table: Path) -> list[str]:
    """Return the files that a table names, relative to its folder; none where it is no table.

    Whoever reads the images says what is wrong with it.
    """
    import polars as pl

    names: list[str] = []
    with suppress(OSError, ValueError, pl.exceptions.PolarsError):
        for column in _columns_of_parquet(table) if _is_parquet(table) else _columns_of_text(table):
            values = [name.strip() for name in column if name]
            values = [name if is_file(table.parent / name) else name.replace("\\", "/") for name in values]
            if any(is_file(table.parent / name) for name in values[:TRIED]):
                names += values
    return names


def _columns_of_text(table: Path) -> Iterator[list[str | None]]:
    import polars as pl

    with open(table, encoding="utf-8-sig") as file:
        first = file.readline(LONGEST_LINE)
    separator = max(",\t;", key=first.count)
    read = pl.read_csv(table, separator=separator, infer_schema=False, glob=False)
    yield from (column.to_list() for column in read.iter_columns())


def _columns_of_parquet(table: Path) -> Iterator[list[str | None]]:
    """Yield the columns of texts, and the paths in those of images, in which one of the first rows names a file."""
    import polars as pl

    check_footer(table)
    scan = pl.scan_parquet(table, glob=False)
    for name, kind in pl.read_parquet_schema(table).items():
        values = pl.col(name)
        if isinstance(kind, pl.Struct) and "path" in {field.name for field in kind.fields}:
            values = values.struct.field("path")
        elif kind not in (pl.String, pl.Categorical, pl.Enum):
            continue
        check(table, {name})
        column = scan.select(values.cast(pl.String))
        first = column.head(TRIED).collect().to_series().drop_nulls()
        if any(is_file(table.parent / path.strip().replace("\\", "/")) for path in first):
            yield column.collect().to_series().to_list()


def is_file(path: Path, /) -> bool:
    """Whether there is a file of this name; no file can have some of them."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
