"""Arrays of NumPy: a .npy file holds one, whose meaning its name or `--names` says; memory-mapped, never unpickled."""

from __future__ import annotations

import os
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy

from reliquant.files.digests import DamagedFile
from reliquant.stored.column import Column, column_of, mapped

Order = Literal["C", "F"]
HEADER_ERRORS = (ValueError, TypeError, SyntaxError, TokenError, MemoryError, RecursionError, OverflowError)
LIMIT = 10_000  # letters of a header, as numpy's own limit
READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def columns(path: Path, /) -> dict[str, Column]:
    """Return the array of a .npy file by the name of the file; raise DamagedFile where it is none or truncated."""
    with open(path, "rb") as file:
        shape, order, kind = header_of(file, str(path))
        offset, size = file.tell(), os.fstat(file.fileno()).st_size
    return {path.stem: placed(path, path.stem, shape, order, kind, offset, size)}


def header_of(file: IO[bytes], about: str, /) -> tuple[tuple[int, ...], Order, np.dtype[Any]]:
    """Read the header of an array, up to its data; raise DamagedFile about it."""
    try:
        version = npy.read_magic(file)
        reader = READERS.get(version, npy.read_array_header_2_0)
        shape, fortran, kind = reader(file, max_header_size=LIMIT)
    except HEADER_ERRORS as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFile(f"{about}: truncated or no array of NumPy ({told:.200})") from error
    if any(length < 0 for length in shape):
        raise DamagedFile(f"{about}: declares the shape {shape}")
    return shape, "F" if fortran else "C", kind


def placed(
    path: Path, name: str, shape: tuple[int, ...], order: Order, kind: np.dtype[Any], offset: int, size: int, /
) -> Column:
    """Return the array whose data begin `offset` bytes from the start of a file and end by `size`.

    Words are read at once. An array of objects would be unpickled, so it has no type.
    """
    count = 1
    for length in shape:
        count *= length
    if kind.hasobject or kind.kind not in "fiubUS":
        return Column(shape, "object (pickled)" if kind.hasobject else str(kind), None, lambda rows: np.empty(0))
    if offset + count * kind.itemsize > size:
        raise DamagedFile(f"{path}: truncated: {name} declares {count * kind.itemsize:,} bytes from byte {offset:,} on")
    if kind.kind in "fiub":
        return mapped(path, name, shape, kind, offset=offset, order=order)
    if not count or not kind.itemsize:
        return column_of(np.full(shape, "", object))
    words = np.array(np.memmap(path, kind, "r", offset, shape, order))
    try:
        return column_of(np.char.decode(words, "utf-8") if kind.kind == "S" else words)
    except UnicodeDecodeError as error:
        raise DamagedFile(f"{path}: {name} holds bytes that are no words in UTF-8 ({error.reason})") from error
